"""Reading tensor bundles: `PREFIX.index`, a table of entries, and `PREFIX.data-SSSSS-of-NNNNN`, anonymous tensor bytes.

Follows tensorflow/core/util/tensor_bundle (tensor_bundle.cc, `BundleReader`). Everything an entry claims is checked
against its own shape and against the real size of the data file before memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.dtypes import BY_TF, STRING, DType
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.bundle_messages import BundleEntry, BundleHeader, decode_entry, decode_header
from ckptmigrate.wire.bundle_strings import check_variants, decode_strings
from ckptmigrate.wire.crc32c import mask
from ckptmigrate.wire.names import PROVENANCE_BLOCK, data_file, index_file
from ckptmigrate.wire.protobuf import MalformedError
from ckptmigrate.wire.reading import lacks, read_bytes
from ckptmigrate.wire.slices import Region, concrete, coverage_fault, index_of, slice_key
from ckptmigrate.wire.sstable import read_table

__all__ = ["Bundle", "BundleEntry", "ExtentInfo", "read_bundle", "read_tensor", "tensor_extents"]

_CONSUMER_VERSION = 1  # tensor_bundle.h, `kTensorBundleVersion`: what this reader understands


class Bundle(NamedTuple):
    """A bundle whose index has been read.

    Attributes:
        prefix: Path without `.index`.
        num_shards: Number of data files, as the header says.
        big_endian: Byte order of the data files.
        entries: Key -> entry, ascending by key; bytes that are not UTF-8 as surrogates.
        slice_entries: Raw key -> entry of each part of the partitioned tensors.
        shards: The data files' paths.
        missing: Those of them that don't exist, or of which only a Git LFS pointer does.
        provenance: What ckptmigrate wrote of the bundle's origin (JSON), or None.
    """

    prefix: Path
    num_shards: int
    big_endian: bool
    entries: Mapping[str, BundleEntry]
    slice_entries: Mapping[bytes, BundleEntry]
    shards: tuple[Path, ...]
    missing: tuple[Path, ...]
    provenance: bytes | None = None


class ExtentInfo(NamedTuple):
    """Raw bytes in a data file: of a whole tensor (`region` None) or of one part of it."""

    file: Path
    offset: int
    nbytes: int
    region: Region | None
    masked_crc: int
    big_endian: bool


def read_bundle(prefix: Path) -> Bundle:
    """Opens a bundle by its prefix; reads the index only.

    Raises:
        SourceError: No index file, or one for newer readers.
        DamagedError: The index is damaged or claims the impossible.
    """
    path = index_file(prefix)
    table = read_table(path)
    header: BundleHeader | None = None
    entries: dict[str, BundleEntry] = {}
    slice_entries: dict[bytes, BundleEntry] = {}
    for key, value in table.items():
        try:
            if header is None:
                header = _header(key, value, path)
            elif key[0]:
                entries[key.decode("utf-8", "surrogateescape")] = decode_entry(value)
            else:
                slice_entries[key] = decode_entry(value)
        except MalformedError as error:
            raise error.damaged(f"{path}, entry {key[:200]!r}") from error
    if header is None:
        raise DamagedError("an empty table; a bundle's index starts with a header", where=str(path))
    top = max((entry.shard for known in (entries, slice_entries) for entry in known.values()), default=-1)
    if top >= header.num_shards:
        raise DamagedError(f"an entry lies in shard {top}; the header says {header.num_shards} shards", where=str(path))
    shards = tuple(data_file(prefix, number, header.num_shards) for number in range(header.num_shards))
    missing = tuple(shard for shard in shards if lacks(shard))
    provenance = table.block(PROVENANCE_BLOCK)
    return Bundle(prefix, header.num_shards, header.big_endian, entries, slice_entries, shards, missing, provenance)


def _header(key: bytes, value: bytes, path: Path) -> BundleHeader:
    if key:
        raise DamagedError(f"no bundle header: the first key is {key[:80]!r}, expected the empty one", where=str(path))
    header = decode_header(value)
    if header.min_consumer > _CONSUMER_VERSION:
        raise SourceError(
            f"the bundle wants a reader of version {header.min_consumer}; this one is version {_CONSUMER_VERSION}",
            where=str(path),
        )
    return header


def tensor_extents(bundle: Bundle, key: str, *others: str) -> tuple[ExtentInfo, ...]:
    """Where a tensor's bytes lie: one extent, or one per part of a partitioned tensor.

    Args:
        bundle: The bundle.
        key: The tensor's key.
        others: Keys of the same shape that hold further parts of the same tensor.

    Raises:
        DamagedError: A size doesn't fit the shape, or parts are missing, overlap or disagree with the whole.
    """
    entry = _entry(bundle, key)
    if not entry.slices:
        return (_extent(bundle, key, entry, None),)
    found = [piece for name in (key, *others) for piece in _parts(bundle, name, entry)]
    regions = [region for region, _ in found]
    fault = coverage_fault(regions, entry.shape)
    if fault:
        raise DamagedError(f"shape {entry.shape}, {fault}", where=_where(bundle, key))
    return tuple(_extent(bundle, key, part, region) for region, part in found)


def read_tensor(bundle: Bundle, key: str, *others: str) -> np.ndarray[Any, Any]:
    """The elements of a tensor in native order, its checksums verified; keys as for `tensor_extents`.

    Returns:
        An array of the entry's shape; strings as an object array of bytes; variants as their stored bytes, flat uint8.

    Raises:
        SourceError: No such key, a missing data file, or too little memory.
        DamagedError: A wrong checksum, a truncated data file, or an entry that contradicts itself.
    """
    entry = _entry(bundle, key)
    dtype = BY_TF[entry.dtype]
    extents = tensor_extents(bundle, key, *others)
    if not entry.slices:
        return _read_extent(extents[0], dtype, entry.shape, key)
    if sum(extent.nbytes for extent in extents) > _bytes_on_disk(extents, key):
        raise DamagedError("the parts are larger than the files that hold them", where=_where(bundle, key))
    whole: np.ndarray[Any, Any] = np.empty(entry.shape, dtype.numpy)
    for extent in extents:
        region = extent.region or ()
        shape = tuple(length for _, length in region)
        whole[index_of(region)] = _read_extent(extent, dtype, shape, key)
    return whole


def _entry(bundle: Bundle, key: str) -> BundleEntry:
    try:
        return bundle.entries[key]
    except KeyError as error:
        raise SourceError(f"no entry {key!r}", where=str(index_file(bundle.prefix))) from error


def _where(bundle: Bundle, key: str) -> str:
    return f"{index_file(bundle.prefix)}, entry {key!r}"


def _extent(bundle: Bundle, key: str, entry: BundleEntry, region: Region | None) -> ExtentInfo:
    dtype = BY_TF[entry.dtype]
    if dtype.is_raw and entry.size != math.prod(entry.shape) * dtype.nbytes:
        raise DamagedError(
            f"{dtype} of shape {entry.shape} takes {math.prod(entry.shape) * dtype.nbytes} bytes, "
            f"the entry says {entry.size}",
            where=_where(bundle, key),
        )
    file = bundle.shards[entry.shard]
    return ExtentInfo(file, entry.offset, entry.size, region, entry.crc32c, bundle.big_endian)


def _parts(bundle: Bundle, key: str, whole: BundleEntry) -> Iterator[tuple[Region, BundleEntry]]:
    """The parts of a partitioned tensor that stand under this key: each one's region, spelled out, and its entry."""
    where = _where(bundle, key)
    name = key.encode("utf-8", "surrogateescape")
    for given in _entry(bundle, key).slices:
        region = concrete(given, whole.shape)
        if region is None:
            raise DamagedError(f"part {given} is not inside shape {whole.shape}", where=where)
        part = bundle.slice_entries.get(slice_key(name, given))
        if part is None:
            raise DamagedError(f"part {given} is missing", where=where)
        if part.shape != tuple(length for _, length in region) or part.dtype != whole.dtype:
            raise DamagedError(f"part {given} has shape {part.shape} and type {part.dtype}", where=where)
        yield region, part


def _bytes_on_disk(extents: tuple[ExtentInfo, ...], key: str) -> int:
    try:
        return sum(file.stat().st_size for file in {extent.file for extent in extents})
    except OSError as error:
        raise SourceError(f"a data file of {key!r} is missing: {error.strerror}", where=str(error.filename)) from error


def _read_extent(extent: ExtentInfo, dtype: DType, shape: tuple[int, ...], key: str) -> np.ndarray[Any, Any]:
    stored, crc = read_bytes(extent.file, extent.offset, extent.nbytes, key)
    where = f"{extent.file}, {key!r} at byte {extent.offset}"
    if not dtype.is_raw:
        if dtype is STRING:
            return decode_strings(stored, shape, extent.masked_crc, where, big_endian=extent.big_endian)
        check_variants(stored, math.prod(shape), extent.masked_crc, where, big_endian=extent.big_endian)
        return stored
    if mask(crc) != extent.masked_crc:
        raise DamagedError(
            f"the checksum of {extent.nbytes} bytes is {mask(crc):#010x}, the entry says {extent.masked_crc:#010x}",
            where=where,
        )
    if extent.big_endian:
        component = dtype.nbytes // 2 if dtype.numpy.kind == "c" else dtype.nbytes
        stored.view(f"u{component}").byteswap(inplace=True)
    return stored.view(dtype.numpy).reshape(shape)
