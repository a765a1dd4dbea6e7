"""The messages inside a bundle's index: its header and the entry of one tensor.

Messages: tensorflow/core/protobuf/tensor_bundle.proto and, in tensorflow/core/framework, tensor_shape.proto,
tensor_slice.proto and versions.proto.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from ckptmigrate.dtypes import BY_TF, REF_OFFSET
from ckptmigrate.wire.protobuf import MalformedError, delimited, fields, fixed32, integer, signed, varint
from ckptmigrate.wire.slices import Region

MAX_RANK = 32  # what every numpy holds; TensorFlow allows 254, its kernels 8
MAX_SHARDS = 100_000  # file names count shards with five digits; a header that asks for more asks for memory

_INT64_MAX = (1 << 63) - 1
_MAX_ELEMENTS = 1 << 59  # of 16 bytes at most: their size stays below 2**63
_WHOLE = (1 << 64) - 1  # -1, as a varint gives it

# An entry behind its type and shape as TensorFlow writes it: fields in order, shortest varints, nothing else. A varint
# of nine bytes stays below 2**63.
_VARINT = rb"([\x80-\xff]{0,8}[\x01-\x7f])"
_PLACE = re.compile(rb"(?:\x18%b)?(?:\x20%b)?(?:\x28%b)?\x35(.{4})" % (_VARINT, _VARINT, _VARINT), re.DOTALL)


class BundleHeader(NamedTuple):
    """What the index says of the whole bundle."""

    num_shards: int
    big_endian: bool = False
    min_consumer: int = 0


class BundleEntry(NamedTuple):
    """Where a tensor lies and what it is.

    Attributes:
        dtype: TensorFlow's DataType number; reference types as their base type.
        shape: Of the whole tensor, or of the part in an entry of `slice_entries`.
        shard, offset, size: Data file, first byte, number of bytes.
        crc32c: Masked checksum, as stored.
        slices: The parts of a partitioned tensor, whose own entries say where they lie; empty otherwise.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: tuple[Region, ...] = ()


def decode_header(data: bytes) -> BundleHeader:
    """A BundleHeaderProto.

    Raises:
        MalformedError: It doesn't parse, or asks for an impossible number of shards.
    """
    num_shards = endianness = min_consumer = 0
    for tag, value in fields(data):
        if tag == 0x08:
            num_shards = signed(value)
        elif tag == 0x10:
            endianness = value
        elif tag == 0x1A:
            min_consumer = signed(dict(fields(value)).get(0x10, 0))
    if not 0 <= num_shards <= MAX_SHARDS:
        raise MalformedError(f"the header says {num_shards} shards; 0 to {MAX_SHARDS} can be", 0)
    if endianness not in (0, 1):
        raise MalformedError(f"the header says endianness {endianness}; 0 (little) and 1 (big) exist", 0)
    return BundleHeader(num_shards, bool(endianness), min_consumer)


def encode_header(num_shards: int) -> bytes:
    """The header of a little-endian bundle as TensorFlow writes it (producer 1)."""
    return integer(1, num_shards) + delimited(3, integer(1, 1))


def decode_entry(data: bytes) -> BundleEntry:
    """A BundleEntryProto.

    Raises:
        MalformedError: It doesn't parse, or its type, shape or place can't be.
    """
    if len(data) > 4 and data[0] == 0x08 and data[1] < 0x80 and data[2] == 0x12 and data[3] < 0x80:
        behind = 4 + data[3]
        found = _PLACE.fullmatch(data, behind)
        if found:
            shard, offset, size, crc = found.groups(b"")
            dtype, shape = _type_and_shape(data[:behind])
            return BundleEntry(
                dtype, shape, _short(shard), _number(offset), _short(size), int.from_bytes(crc, "little")
            )
    return _decode_any_entry(data)


@lru_cache(maxsize=1 << 14)
def _type_and_shape(data: bytes) -> tuple[int, tuple[int, ...]]:
    """The first two fields of an entry; few of them occur many times."""
    return _dtype(data[1]), decode_shape(data[4:])


def _number(digits: bytes) -> int:
    """The number that a whole varint holds; 0 for no bytes."""
    number = 0
    for digit in reversed(digits):
        number = number << 7 | digit & 0x7F
    return number


_short = lru_cache(maxsize=1 << 14)(_number)  # of fields that hold few numbers many times


def _dtype(number: int) -> int:
    dtype = number - REF_OFFSET if number > REF_OFFSET else number
    if dtype not in BY_TF:
        raise MalformedError(f"unknown element type {signed(dtype)}", 0)
    return dtype


def _decode_any_entry(data: bytes) -> BundleEntry:
    found = fields(data)
    last = dict(found)  # of a repeated field only the last; `slices` is the one that may repeat
    dtype = _dtype(last.get(0x08, 0))
    offset, size = last.get(0x20, 0), last.get(0x28, 0)
    if offset > _INT64_MAX or size > _INT64_MAX:
        raise MalformedError(f"offset {signed(offset)} or size {signed(size)} is negative", 0)
    slices = tuple([decode_region(value) for tag, value in found if tag == 0x3A]) if 0x3A in last else ()
    shape = decode_shape(last.get(0x12, b""))
    return BundleEntry(dtype, shape, last.get(0x18, 0), offset, size, last.get(0x35, 0), slices)


def encode_entry(entry: BundleEntry) -> bytes:
    """The bytes of an entry, as TensorFlow writes them."""
    return b"".join(
        (
            integer(1, entry.dtype),
            delimited(2, encode_shape(entry.shape)),
            integer(3, entry.shard),
            integer(4, entry.offset),
            integer(5, entry.size),
            fixed32(6, entry.crc32c),
            *(delimited(7, encode_region(region)) for region in entry.slices),
        )
    )


@lru_cache(maxsize=1 << 14)
def decode_shape(data: bytes) -> tuple[int, ...]:
    """The dimensions of a TensorShapeProto; few shapes occur many times.

    Raises:
        MalformedError: Unknown rank, more than MAX_RANK dimensions, a negative one, or more than 2**59 elements
            (empty dimensions left out, as numpy counts).
    """
    dims: list[int] = []
    for tag, value in fields(data):
        if tag == 0x12:
            dims.append(signed(dict(fields(value)).get(0x08, 0)))
        elif tag == 0x18 and value:
            raise MalformedError("a shape of unknown rank", 0)
    if len(dims) > MAX_RANK:
        raise MalformedError(f"a shape of rank {len(dims)}; {MAX_RANK} is the most", 0)
    if min(dims, default=0) < 0:
        raise MalformedError(f"a negative dimension in shape {dims}", 0)
    if math.prod(dim for dim in dims if dim) > _MAX_ELEMENTS:
        raise MalformedError(f"shape {dims} is impossible: more than 2**59 elements", 0)
    return tuple(dims)


@lru_cache(maxsize=1 << 14)
def encode_shape(shape: tuple[int, ...]) -> bytes:
    """A TensorShapeProto."""
    return b"".join(delimited(2, integer(1, dim)) for dim in shape)


def decode_region(data: bytes) -> Region:
    """The extents of a TensorSliceProto; a dimension without a length is whole.

    Raises:
        MalformedError: It doesn't parse, or has more than MAX_RANK extents.
    """
    extents = [dict(fields(value)) for tag, value in fields(data) if tag == 0x0A]
    if len(extents) > MAX_RANK:
        raise MalformedError(f"a part of rank {len(extents)}; {MAX_RANK} is the most", 0)
    return tuple((signed(extent.get(0x08, 0)), signed(extent.get(0x10, _WHOLE))) for extent in extents)


def encode_region(region: Region) -> bytes:
    """A TensorSliceProto. A given length is written also when it is 0: it is a oneof."""
    return b"".join(
        delimited(1, integer(1, start) + (b"" if length == -1 else varint(0x10) + varint(length)))
        for start, length in region
    )
