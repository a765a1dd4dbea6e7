"""Protocol buffers on the wire: reading a message as a list of (tag, value), and writing fields.

Follows https://protobuf.dev/programming-guides/encoding/. No schema compiler: the few messages a checkpoint holds are
read and written by hand in `messages.py` and `object_graph.py`. A tag is `field number << 3 | wire type`.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_MAX_VARINT = 10  # bytes of a 64-bit varint; a longer run of continuation bits is damage
_UINT64 = 0xFFFFFFFFFFFFFFFF
_SHORT = tuple(bytes([value]) for value in range(0x80))  # varints of one byte: most lengths and all tags
_FIXED = {FIXED32: struct.Struct("<I"), FIXED64: struct.Struct("<Q")}


class MalformedError(ValueError):
    """Bytes that don't parse, at an offset of the buffer at hand; the caller knows the file and says so."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset

    def damaged(self, where: str) -> DamagedError:
        """The same as the error that leaves the wire, with the place it was met."""
        return DamagedError(f"{self}, at byte {self.offset} of it", where=where)


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The unsigned 64-bit varint at `at`, and the offset behind it.

    Raises:
        MalformedError: It is cut off or longer than ten bytes.
    """
    value = shift = 0
    end = at + _MAX_VARINT
    try:
        for i in range(at, end):
            byte = data[i]
            if byte < 0x80:
                return (value | byte << shift) & _UINT64, i + 1
            value |= (byte & 0x7F) << shift
            shift += 7
    except IndexError:
        raise MalformedError("a varint is cut off", at) from None
    raise MalformedError("a varint is longer than 10 bytes", at)


def fields(data: bytes | memoryview) -> list[tuple[int, Any]]:
    """The message's fields in file order as (tag, value): unsigned integers, or bytes where the tag's wire type is 2;
    views into the data where that is a view.

    Raises:
        MalformedError: Anything that isn't a message. Groups, which no checkpoint holds, count as damage.

    >>> fields(bytes.fromhex("08 01 12 02 12 00"))
    [(8, 1), (18, b'\\x12\\x00')]
    """
    found: list[tuple[int, Any]] = []
    at, end = 0, len(data)
    while at < end:
        start = at
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = read_varint(data, start)
        kind = tag & 7
        if kind & 1:
            value, at = _fixed(data, at, kind, start)
            found.append((tag, value))
            continue
        value = data[at] if at < end else 0x80
        if value < 0x80:
            at += 1
        else:
            value, at = read_varint(data, at)
        if not kind:
            found.append((tag, value))
            continue
        if kind != BYTES:
            raise MalformedError(f"unknown wire type {kind}", start)
        behind = at + value
        if behind > end:
            raise MalformedError(f"a field of {value} bytes runs past the end, {end - at} are left", start)
        found.append((tag, data[at:behind]))
        at = behind
    return found


def _fixed(data: bytes | memoryview, at: int, kind: int, start: int) -> tuple[int, int]:
    """A fixed-width number at `at`, and the offset behind it."""
    layout = _FIXED.get(kind)
    if layout is None:
        raise MalformedError(f"unknown wire type {kind}", start)
    if at + layout.size > len(data):
        raise MalformedError("a fixed-width field is cut off", start)
    return layout.unpack_from(data, at)[0], at + layout.size


def packed_varints(data: bytes | memoryview) -> np.ndarray[Any, Any]:
    """The numbers of a packed field of varints, as uint64.

    Raises:
        MalformedError: One of them is cut off or longer than ten bytes.

    >>> packed_varints(bytes.fromhex("01 ac02 00")).tolist()
    [1, 300, 0]
    """
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    behind = int(ends[-1]) + 1 if len(ends) else 0
    if behind != len(raw):
        raise MalformedError("a packed varint is cut off", behind)
    starts = np.concatenate([np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1])
    lengths = ends - starts + 1
    values = np.zeros(len(ends), np.uint64)
    longest = int(lengths.max(initial=0))
    if longest > _MAX_VARINT:
        raise MalformedError("a varint is longer than 10 bytes", int(starts[lengths.argmax()]))
    for i in range(longest):
        reaches = np.flatnonzero(lengths > i)
        values[reaches] |= (raw[starts[reaches] + i] & 0x7F).astype(np.uint64) << np.uint64(7 * i)
    return values


def signed(value: int) -> int:
    """The int32 or int64 behind an unsigned varint.

    >>> signed(0xFFFFFFFFFFFFFFFF)
    -1
    """
    return value - (1 << 64) if value >> 63 else value


def text(value: bytes) -> str:
    """A string field; bytes that are not UTF-8 survive as surrogates."""
    return value.decode("utf-8", "surrogateescape")


def varint(value: int) -> bytes:
    """An unsigned varint; negative numbers as their 64-bit complement, as protobuf's int32 and int64 do.

    >>> varint(300).hex(), varint(0).hex()
    ('ac02', '00')
    """
    if 0 <= value < len(_SHORT):
        return _SHORT[value]
    value &= _UINT64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def integer(number: int, value: int) -> bytes:
    """An integer field; nothing for 0, as proto3 writes it."""
    return varint(number << 3) + varint(value) if value else b""


def fixed32(number: int, value: int) -> bytes:
    """A fixed32 field; nothing for 0."""
    return varint(number << 3 | FIXED32) + _FIXED[FIXED32].pack(value) if value else b""


def delimited(number: int, value: bytes) -> bytes:
    """A string, bytes or message field; written also when empty."""
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def string(number: int, value: str) -> bytes:
    """A string field; nothing for the empty string."""
    return delimited(number, value.encode("utf-8", "surrogateescape")) if value else b""
