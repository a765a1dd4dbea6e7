"""The header of a safetensors file, checked before it is believed.

https://github.com/huggingface/safetensors, safetensors/src/tensor.rs at v0.5: eight bytes of length
(little-endian), JSON, then the tensors' bytes without gap, overlap or remainder.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptmigrate.document.fields import Cursor, parse
from ckptmigrate.dtypes import BY_SAFETENSORS, DType
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.issues import Issue
from ckptmigrate.wire.reading import stream

MAX_HEADER_BYTES = 100_000_000  # tensor.rs, MAX_HEADER_SIZE
METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's type, shape, and its bytes: begin and end, from the end of the header."""

    dtype: DType
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors by name in the header's order, the metadata, and where in the file the tensors' bytes begin."""

    places: Mapping[str, Place]
    metadata: Mapping[str, str]
    start: int


def read_header(path: Path) -> Header:
    """Reads and checks a header.

    Raises:
        SourceError: The file can't be read, or holds element types that we don't know.
        DamagedError: Anything that the format forbids, duplicate keys included.
    """
    try:
        with stream(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            text = file.read(length) if (length := _length(file.read(_LENGTH.size), size, path)) else b""
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=str(path)) from error
    start = _LENGTH.size + length
    top = parse(text, f"{path}, header")
    fields = top.fields()
    metadata = top.child(METADATA)
    strings = {key: metadata.field(key, str) for key in metadata.fields()} if metadata else {}
    entries = [(name, Cursor(value, top.where, f"$[{name!r}]")) for name, value in fields.items() if name != METADATA]
    _check_types(entries)
    places = {name: _place(entry) for name, entry in entries}
    _check_cover(places, size - start, path)
    return Header(places, strings, start)


def write_header(places: Mapping[str, Place], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON, padded with spaces so that the tensors begin at a multiple of eight."""
    fields: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    for name, place in places.items():
        fields[name] = {
            "dtype": place.dtype.safetensors,
            "shape": list(place.shape),
            "data_offsets": [place.begin, place.end],
        }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return _LENGTH.pack(len(text)) + text


def _length(data: bytes, size: int, path: Path) -> int:
    if len(data) < _LENGTH.size:
        raise DamagedError(f"{_LENGTH.size} bytes of header length expected, {len(data)} found", where=str(path))
    (length,) = _LENGTH.unpack(data)
    if length > MAX_HEADER_BYTES:
        raise DamagedError(
            f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are allowed", where=f"{path}, byte 0"
        )
    if length > size - _LENGTH.size:
        found = size - _LENGTH.size
        raise DamagedError(f"a header of {length} bytes expected, {found} found: truncated", where=f"{path}, byte 8")
    return int(length)


def _check_types(entries: list[tuple[str, Cursor]]) -> None:
    unknown = []
    for name, entry in entries:
        entry.fields("dtype", "shape", "data_offsets")
        if (dtype := entry.field("dtype", str)) not in BY_SAFETENSORS:
            message = f"element type {dtype!r} isn't supported"
            unknown.append(Issue("unsupported", "error", name, message, where=entry.where))
    if unknown:
        raise SourceError(
            f"{len(unknown)} tensors of unknown types; the first is {unknown[0].name!r}: {unknown[0].message}",
            where=unknown[0].where,
            hint=f"known are {', '.join(BY_SAFETENSORS)}",
            issues=unknown,
        )


def _place(entry: Cursor) -> Place:
    dtype = BY_SAFETENSORS[entry.field("dtype", str)]
    shape = entry.sizes("shape", dtype.nbytes)
    offsets = entry.child("data_offsets") or entry
    begin, end = offsets.record(int, int)
    nbytes = dtype.nbytes
    for length in shape:
        nbytes *= length
    if begin < 0 or end - begin != nbytes:
        raise entry.wrong(f"{nbytes} bytes for {dtype} {list(shape)}", [begin, end], "data_offsets")
    return Place(dtype, shape, begin, end)


def _check_cover(places: Mapping[str, Place], size: int, path: Path) -> None:
    at = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].begin, item[1].end)):
        if place.begin != at:
            what = "overlap" if place.begin < at else "leave a hole"
            raise DamagedError(f"tensors {what}: byte {at} expected, {place.begin} found", where=f"{path}, {name!r}")
        at = place.end
    if at != size:
        what = "truncated" if size < at else "bytes behind the last tensor"
        raise DamagedError(f"{at} bytes of tensors expected, {size} found: {what}", where=str(path))
