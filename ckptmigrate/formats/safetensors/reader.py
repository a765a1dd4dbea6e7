"""safetensors files and their sharded form, read lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats.safetensors.header import Header, Place, read_header
from ckptmigrate.formats.safetensors.naming import DOCUMENT, FORMAT_ID, INDEX_SUFFIX, SUFFIX, stem
from ckptmigrate.formats.shard_index import beside, missing_shards, read_weight_map
from ckptmigrate.formats.unpacking import Container, unpack
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Extent, Tensor
from ckptmigrate.wire.reading import lacks, read_bytes, stream

_START = 9  # the length, and the brace that begins the header


def identify(path: Path) -> bool:
    """A file that is called so, or that begins like one. Text in a file of that name (Git LFS pointers) is not ours."""
    try:
        if not path.is_file():
            return False
        if path.name.endswith(INDEX_SUFFIX):
            return True
        with stream(path) as file:
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
    index, weight_map = read_weight_map(path, "tensor names and files")
    shards = {name: beside(path, weight_map, weight_map.field(name, str)) for name in weight_map.fields()}
    files = tuple(dict.fromkeys(shards.values()))
    headers = {file: read_header(file) for file in files if not lacks(file)}
    tensors = {
        name: _sharded_tensor(path, file, headers[file], name) for name, file in shards.items() if file in headers
    }
    metadata = index.child("metadata")
    document = metadata.optional(DOCUMENT, str) if metadata and metadata.fields() else None
    lost: dict[Path, list[str]] = {}
    for name, file in shards.items():
        if file not in headers:
            lost.setdefault(file, []).append(name)
    issues = [*missing_shards(lost, "tensors"), *_unlisted(shards, headers)]
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
