"""String and variant tensors in a bundle's data files: variable lengths, and checksums with rules of their own.

Follows tensorflow/core/util/tensor_bundle/tensor_bundle.cc: `WriteStringTensor`, `WriteVariantTensor`, their readers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.protobuf import MalformedError, read_varint, varint

_UINT32_MAX = 0xFFFFFFFF


def decode_strings(
    stored: np.ndarray[Any, Any], shape: tuple[int, ...], masked_crc: int, where: str, *, big_endian: bool = False
) -> np.ndarray[Any, Any]:
    """The elements of a string tensor: lengths as varints, a checksum of the lengths, all bytes.

    Args:
        stored: The entry's bytes, flat uint8.
        shape: Of the tensor.
        masked_crc: The entry's checksum. It covers the lengths as fixed-width integers, not as the varints in the file.
        where: File, key and offset, for errors.
        big_endian: Byte order of the fixed-width integers.

    Returns:
        An object array of bytes.

    Raises:
        DamagedError: Lengths that don't add up to the entry's size, or a wrong checksum.
    """
    data = stored.tobytes()
    lengths, at = _lengths(data, math.prod(shape), where)
    total = sum(lengths)
    if at + 4 + total != len(data):
        raise DamagedError(f"{len(lengths)} strings of {total} bytes can't take {len(data)} bytes", where=where)
    order = ">" if big_endian else "<"
    crc = _length_crc(lengths, order)
    _check(struct.unpack_from(order + "I", data, at)[0], crc, "string lengths", where)
    crc = crc32c(memoryview(data)[at:], crc)
    _check(masked_crc, crc, "strings", where)
    flat = np.empty(len(lengths), object)
    at += 4
    for i, length in enumerate(lengths):
        flat[i] = data[at : at + length]
        at += length
    return flat.reshape(shape)


def encode_strings(values: Iterable[bytes]) -> tuple[bytes, int]:
    """The stored form of a string tensor's elements in C order, and its masked checksum.

    >>> encode_strings([])[0].hex()
    'd8ea82a2'
    """
    strings = list(values)
    lengths = [len(value) for value in strings]
    crc = _length_crc(lengths, "<")
    rest = struct.pack("<I", mask(crc)) + b"".join(strings)
    return b"".join(map(varint, lengths)) + rest, mask(crc32c(rest, crc))


def check_variants(
    stored: np.ndarray[Any, Any], count: int, masked_crc: int, where: str, *, big_endian: bool = False
) -> None:
    """Verifies the bytes of a variant tensor: per element a length, that many bytes, and the checksum so far.

    Raises:
        DamagedError: Lengths that don't add up, or a wrong checksum.
    """
    data = stored.tobytes()
    order = ">" if big_endian else "<"
    crc = at = 0
    for _ in range(count):
        (length,), behind = _lengths(data[at : at + 16], 1, where, spare=0)
        start, at = at + behind, at + behind + length + 4
        if at > len(data):
            raise DamagedError(f"a variant of {length} bytes runs past the entry's {len(data)} bytes", where=where)
        crc = crc32c(struct.pack(order + "Q", length), crc)
        crc = crc32c(memoryview(data)[start : at - 4], crc)
        _check(struct.unpack_from(order + "I", data, at - 4)[0], crc, "variant", where)
        crc = crc32c(memoryview(data)[at - 4 : at], crc)
    if at != len(data):
        raise DamagedError(f"{count} variants end at byte {at} of {len(data)}", where=where)
    _check(masked_crc, crc, "variants", where)


def _lengths(data: bytes, count: int, where: str, spare: int = 4) -> tuple[list[int], int]:
    if count > len(data) - spare:
        raise DamagedError(f"{count} elements can't lie in {len(data)} bytes", where=where)
    lengths, at = [], 0
    try:
        for _ in range(count):
            length, at = read_varint(data, at)
            lengths.append(length)
    except MalformedError as error:
        raise error.damaged(where) from error
    return lengths, at


def _length_crc(lengths: Sequence[int], order: str) -> int:
    """The checksum of the lengths as uint32 each, as uint64 where they are longer than that."""
    if max(lengths, default=0) <= _UINT32_MAX:
        return crc32c(struct.pack(f"{order}{len(lengths)}I", *lengths))
    return crc32c(b"".join(struct.pack(order + ("I" if n <= _UINT32_MAX else "Q"), n) for n in lengths))


def _check(expected: int, crc: int, what: str, where: str) -> None:
    if mask(crc) != expected:
        raise DamagedError(f"the checksum of the {what} is {mask(crc):#010x}, stored is {expected:#010x}", where=where)
