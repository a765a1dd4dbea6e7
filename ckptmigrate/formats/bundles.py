"""Tensor bundles as the name-based and the object-based format read and write them: lazy tensors, and bytes left alone.

Names live in a bundle's index; its data files are anonymous bytes with checksums in the index. A tensor that is
written as it was stored therefore needs no reading: its file is cloned, or its bytes are copied by the kernel.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from glob import escape as glob_escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ckptmigrate.dtypes import BY_TF, STRING, VARIANT
from ckptmigrate.errors import CkptMigrateError, SourceError, TargetError
from ckptmigrate.formats.format import NUMBER, WriteOptions, Written
from ckptmigrate.issues import Issue
from ckptmigrate.objects import GRAPH_KEY
from ckptmigrate.table import Extent, Stored, Tensor
from ckptmigrate.wire.bundle import Bundle, read_tensor, tensor_extents
from ckptmigrate.wire.names import index_file, index_name
from ckptmigrate.wire.output_file import write_file
from ckptmigrate.wire.reading import lacks
from ckptmigrate.wire.sstable import read_table
from ckptmigrate.wire.state_file import STATE_NAME, CheckpointState, encode_state

if TYPE_CHECKING:
    from ckptmigrate.wire.bundle_writer import BundleWriter

SMALLEST_CLONE = 1 << 20  # bytes; smaller data files are not worth a shard of their own
LARGEST_GAP = 0.01  # of a data file that is cloned although no tensor that is written claims it


def holds_graph(prefix: Path) -> bool | None:
    """Whether a bundle is object-based; None where there is no bundle. A damaged one counts as name-based."""
    if not prefix.name or not index_file(prefix).is_file():
        return None
    try:
        return read_table(index_file(prefix)).find(GRAPH_KEY.encode()) is not None
    except CkptMigrateError:
        return False


class MissingDataError(SourceError, LookupError):
    """A tensor lies in a data file that doesn't exist; for recognition, a value that it does without."""


def tensors_of(bundle: Bundle, joined: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, Tensor]:
    """Every tensor of a bundle by its key, the object graph left out.

    Args:
        bundle: The bundle.
        joined: The keys that hold one tensor together, by the one under which it is to stand.

    Raises:
        DamagedError: An entry contradicts itself.
    """
    groups = joined or {}
    others = {key for first, keys in groups.items() for key in keys if key != first}
    keys = (key for key in bundle.entries if key != GRAPH_KEY and key not in others)
    return {key: tensor_of(bundle, *groups.get(key, (key,))) for key in keys}


def tensor_of(bundle: Bundle, key: str, *others: str) -> Tensor:
    """One lazy tensor of a bundle, with the keys of its other parts where it has several."""
    entry = bundle.entries[key]
    dtype = BY_TF[entry.dtype]
    extents = _Extents(bundle, key, *others)
    if entry.slices or (dtype.is_raw and entry.size != math.prod(entry.shape) * dtype.nbytes):
        extents.found()  # says what is wrong
    load = partial(read_tensor, bundle, key, *others)
    if bundle.missing and (gone := next((e.file for e in extents if e.file in bundle.missing), None)):
        load = partial(_missing, gone, key)
    return Tensor(entry.shape, dtype, load, extents)


def _missing(file: Path, key: str) -> np.ndarray[Any, Any]:
    hint = "copy all data files of the checkpoint beside the index"
    raise MissingDataError(f"{key!r} lies in a data file that {lacks(file)}", where=str(file), hint=hint)


class _Extents(Sequence[Extent]):
    """Where a tensor's bytes lie, looked up on first use: listing ten thousand tensors needs none of it."""

    __slots__ = ("_bundle", "_found", "_keys")

    def __init__(self, bundle: Bundle, *keys: str) -> None:
        self._bundle = bundle
        self._keys = keys
        self._found: tuple[Extent, ...] | None = None

    def found(self) -> tuple[Extent, ...]:
        if self._found is None:
            self._found = tuple(
                Extent(e.file, e.offset, e.nbytes, e.region, e.masked_crc, e.big_endian)
                for e in tensor_extents(self._bundle, *self._keys)
            )
        return self._found

    def __len__(self) -> int:
        return len(self.found())

    @overload
    def __getitem__(self, index: int) -> Extent: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Extent, ...]: ...
    def __getitem__(self, index: int | slice) -> Extent | tuple[Extent, ...]:
        return self.found()[index]


def files_of(bundle: Bundle) -> tuple[Path, ...]:
    """The index and the data files that exist."""
    return (index_file(bundle.prefix), *(shard for shard in bundle.shards if shard not in bundle.missing))


def facts_of(bundle: Bundle) -> dict[str, Any]:
    """What the bundle says of itself."""
    facts: dict[str, Any] = {
        "num_shards": bundle.num_shards,
        "endianness": "big" if bundle.big_endian else "little",
    }
    if bundle.provenance is not None:
        try:
            facts["provenance"] = json.loads(bundle.provenance)
        except (ValueError, RecursionError):
            facts["provenance"] = None  # only a note of origin; the tensors don't depend on it
    return facts


def issues_of(bundle: Bundle) -> tuple[Issue, ...]:
    """An error for every data file that isn't there."""
    return tuple(
        Issue(
            "missing",
            "error",
            "",
            f"data file {shard.name} {lacks(shard)}, so its tensors can't be read",
            "copy all data files of the checkpoint beside the index",
            str(shard),
        )
        for shard in bundle.missing
    )


def outputs(name: str) -> tuple[str, ...]:
    """The files that a bundle called `name` may consist of, as glob patterns, the index first."""
    plain = glob_escape(name)
    return (index_name(plain), f"{plain}.data-{NUMBER}-of-{NUMBER}")


def key_issues(stored: Sequence[Stored]) -> list[Issue]:
    """What a bundle can't hold: keys it reserves or that come twice, resources, variants without their checksum."""
    issues, seen = [], set()
    for item in stored:
        key, dtype = item.key, item.tensor.dtype
        if not key or key.startswith("\0"):
            issues.append(Issue("unholdable", "error", key, f"{key!r} is no legal key: bundles reserve it"))
        elif key in seen:
            issues.append(Issue("conflict", "error", key, "two tensors would stand under this key"))
        if not dtype.is_raw and dtype is not STRING and not (dtype is VARIANT and _is_copyable(item.tensor)):
            issues.append(Issue("unholdable", "note", key, f"a {dtype} that can't be copied from another bundle"))
        seen.add(key)
    return issues


def write_bundle(folder: Path, name: str, stored: Sequence[Stored], options: WriteOptions) -> Written:
    """Writes tensors under their keys, moving no bytes that can stay as they are.

    A large data file whose bytes are all wanted is cloned; other bytes that lie whole, with a checksum, are copied by
    the kernel; the rest goes by value, in the order given. Copies are entries that share the bytes.
    """
    provenance = _provenance(options.provenance)
    from ckptmigrate.wire.bundle_writer import BundleWriter

    with BundleWriter(
        folder, name, provenance=provenance, max_shard_bytes=options.max_shard_bytes, on_bytes=options.on_bytes
    ) as writer:
        copied = [item for item in stored if _is_copyable(item.tensor)]
        shards = {file: writer.add_shard(file) for file in _cloned(copied, options.max_shard_bytes)}
        for item in sorted(copied, key=lambda item: _place(item.tensor.extents[0])):
            _copy(writer, item, shards)
        for item in stored:
            if not _is_copyable(item.tensor):
                _write_values(writer, item)
            for key in item.copies:
                writer.add_same(key, item.key)
        files = writer.finish()
    if options.state_file:
        write_file(folder / STATE_NAME, encode_state(CheckpointState(name, (name,))))
        files = (*files[:-1], STATE_NAME, files[-1])
    return Written(files, files[-1], bytes_moved=writer.bytes_moved, bytes_cloned=writer.bytes_cloned)


def _provenance(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() if record else b""


def _is_copyable(tensor: Tensor) -> bool:
    """Whether the stored bytes serve as they are: one whole little-endian piece with a bundle's checksum."""
    if len(tensor.extents) != 1:
        return False
    extent = tensor.extents[0]
    fits = not tensor.dtype.is_raw or extent.nbytes == tensor.size * tensor.dtype.nbytes
    return extent.region is None and extent.checksum is not None and not extent.big_endian and fits


def _place(extent: Extent) -> tuple[str, int]:
    return str(extent.file), extent.offset


def _cloned(stored: Sequence[Stored], max_shard_bytes: int | None) -> list[Path]:
    """The data files to clone: large ones that hold next to nothing but what is wanted."""
    kept: dict[Path, set[tuple[int, int]]] = defaultdict(set)
    for item in stored:
        extent = item.tensor.extents[0]
        kept[extent.file].add((extent.offset, extent.nbytes))
    return [file for file, pieces in kept.items() if _is_cloned(file, pieces, max_shard_bytes)]


def _is_cloned(file: Path, pieces: set[tuple[int, int]], max_shard_bytes: int | None) -> bool:
    wanted = sum(nbytes for _, nbytes in pieces)
    end = max(offset + nbytes for offset, nbytes in pieces)
    if wanted < SMALLEST_CLONE:
        return False
    try:
        size = file.stat().st_size
    except OSError:
        return False  # the copy will say what is wrong with it
    fits = max_shard_bytes is None or size <= max_shard_bytes
    return fits and end <= size and wanted >= size * (1 - LARGEST_GAP)


def _copy(writer: BundleWriter, item: Stored, shards: Mapping[Path, int]) -> None:
    extent, tensor = item.tensor.extents[0], item.tensor
    assert extent.checksum is not None
    if extent.file in shards:
        place = shards[extent.file], extent.offset, extent.nbytes
        writer.add_placed(item.key, tensor.dtype.tf, tensor.shape, *place, extent.checksum)
    else:
        source = extent.file, extent.offset, extent.nbytes
        writer.add_copied(item.key, tensor.dtype.tf, tensor.shape, *source, extent.checksum)


def _write_values(writer: BundleWriter, item: Stored) -> None:
    if not item.tensor.dtype.is_raw and item.tensor.dtype is not STRING:
        raise TargetError(f"a {item.tensor.dtype} that can't be copied from another bundle", where=item.key)
    kind, raw = item.tensor.dtype.tf, item.tensor.raw
    if raw is not None and raw.nbytes:
        writer.add_raw(item.key, kind, item.tensor.shape, raw.file, raw.offset, raw.nbytes)
    else:
        writer.add_array(item.key, kind, item.tensor.read())
