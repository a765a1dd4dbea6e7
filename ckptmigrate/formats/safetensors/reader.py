"""safetensors files and their sharded form, read lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.document.fields import Cursor, parse
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats.safetensors.header import MAX_HEADER_BYTES, Header, Place, read_header
from ckptmigrate.formats.safetensors.naming import DOCUMENT, FORMAT_ID, INDEX_SUFFIX, SUFFIX, stem
from ckptmigrate.formats.unpacking import Container, unpack
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Extent, Tensor
from ckptmigrate.wire.reading import lacks, read_bytes

_START = 9  # the length, and the brace that begins the header


def identify(path: Path) -> bool:
    """A file that is called so, or that begins like one. Text in a file of that name (Git LFS pointers) is not ours."""
    try:
        if not path.is_file():
            return False
        if path.name.endswith(INDEX_SUFFIX):
            return True
        with path.open("rb") as file:
            start = file.read(_START)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    if path.name.endswith(SUFFIX):
        return start != b"version h"
    return len(start) == _START and start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8


def read(path: Path) -> Checkpoint:
    """Opens a file or a shard index; a name under which there is no file, but an index, means the index.

    Raises:
        SourceError: It can't be read, or holds element types we don't know.
        DamagedError: It breaks a rule of the format.
    """
    index = path.with_name(stem(path.name) + INDEX_SUFFIX)
    is_sharded = path == index or (not path.exists() and index.exists())
    return _read_sharded(index) if is_sharded else _read_single(path)


def _read_single(path: Path) -> Checkpoint:
    header = read_header(path)
    told = {key: value for key, value in header.metadata.items() if key != DOCUMENT}
    return unpack(
        Container(
            path,
            FORMAT_ID,
            (path,),
            {name: _tensor(path, header, name) for name in header.places},
            header.metadata.get(DOCUMENT),
            {FORMAT_ID: told} if told else {},
        )
    )


def _read_sharded(path: Path) -> Checkpoint:
    index = _read_index(path)
    weight_map = index.child("weight_map")
    if weight_map is None:
        raise index.wrong("an object of tensor names and files", None, "weight_map")
    shards = {name: _shard_path(path, weight_map.field(name, str), weight_map) for name in weight_map.fields()}
    files = tuple(dict.fromkeys(shards.values()))
    headers = {file: read_header(file) for file in files if not lacks(file)}
    tensors = {
        name: _sharded_tensor(path, file, headers[file], name) for name, file in shards.items() if file in headers
    }
    metadata = index.child("metadata")
    document = metadata.optional(DOCUMENT, str) if metadata and metadata.fields() else None
    issues = [*_missing(shards, headers), *_unlisted(shards, headers)]
    if document is not None and len(headers) < len(files):
        raise SourceError(
            f"{len(files) - len(headers)} of {len(files)} shards are missing; the first is {issues[0].where}",
            where=str(path),
            hint="put all shards beside the index",
            issues=issues,
        )
    told = {key: value for header in headers.values() for key, value in header.metadata.items()}
    return unpack(
        Container(
            path,
            FORMAT_ID,
            (path, *headers),
            tensors,
            document,
            {FORMAT_ID: told} if told else {},
            tuple(issues),
        )
    )


def _read_index(path: Path) -> Cursor:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=str(path)) from error
    if len(data) > MAX_HEADER_BYTES:
        raise DamagedError(f"an index of more than {MAX_HEADER_BYTES} bytes", where=str(path))
    index = parse(data, str(path))
    index.fields()
    return index


def _shard_path(index: Path, name: str, weight_map: Cursor) -> Path:
    """A shard lies beside its index; a name that leads elsewhere is an attack."""
    if name in ("", ".", "..") or any(c in name for c in "/\\\0:"):
        raise weight_map.wrong("the name of a file beside the index", name)
    return index.with_name(name)


def _missing(shards: Mapping[str, Path], headers: Mapping[Path, Header]) -> list[Issue]:
    lost: dict[Path, list[str]] = {}
    for name, file in shards.items():
        if file not in headers:
            lost.setdefault(file, []).append(name)
    return [
        Issue("missing", "error", names[0], f"a shard with {len(names)} tensors {lacks(file)}", "", str(file))
        for file, names in lost.items()
    ]


def _unlisted(shards: Mapping[str, Path], headers: Mapping[Path, Header]) -> list[Issue]:
    return [
        Issue("unlisted", "warning", name, "not read: the index doesn't list it in this shard", "", str(file))
        for file, header in headers.items()
        for name in header.places
        if shards.get(name) != file
    ]


def _sharded_tensor(index: Path, file: Path, header: Header, name: str) -> Tensor:
    if name not in header.places:
        raise DamagedError(f"{name!r} isn't in {file.name}, where the index says it is", where=str(index))
    return _tensor(file, header, name)


def _tensor(path: Path, header: Header, name: str) -> Tensor:
    place = header.places[name]
    extent = Extent(path, header.start + place.begin, place.end - place.begin)
    return Tensor(place.shape, place.dtype, lambda: _load(extent, place, name), (extent,))


def _load(extent: Extent, place: Place, name: str) -> np.ndarray[Any, Any]:
    values, _ = read_bytes(extent.file, extent.offset, extent.nbytes, name)
    return values.view(place.dtype.numpy).reshape(place.shape)
