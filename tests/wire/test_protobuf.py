"""Protobuf on the wire: literals, limits, inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.wire import protobuf
from ckptmigrate.wire.protobuf import MalformedError, fields, packed_varints, read_varint, signed, varint

# From https://protobuf.dev/programming-guides/encoding/: bytes and what they mean.
SPECIFIED = [
    ("089601", [(0x08, 150)]),
    ("120774657374696e67", [(0x12, b"testing")]),
    ("1a03089601", [(0x1A, b"\x08\x96\x01")]),
    ("320 603 8e02 9ea705".replace(" ", ""), [(0x32, bytes.fromhex("038e029ea705"))]),
    ("08feffffffffffffffff01", [(0x08, (1 << 64) - 2)]),
    ("35d8ea82a2", [(0x35, 0xA282EAD8)]),
    ("69000000000000f03f", [(0x69, 0x3FF0000000000000)]),
]

# Bytes, and the offset and a word of the complaint.
BROKEN = [
    ("08", 1, "cut off"),
    ("0880", 1, "cut off"),
    ("08" + "ff" * 10 + "01", 1, "10 bytes"),
    ("80" * 11, 0, "10 bytes"),
    ("1205aabb", 0, "runs past the end"),
    ("12ffffffffffffffffff01", 0, "runs past the end"),
    ("35aabbcc", 0, "cut off"),
    ("39aabbcc", 0, "cut off"),
    ("080c0b", 2, "wire type 3"),
    ("0f", 0, "wire type 7"),
]


@pytest.mark.parametrize(("data", "expected"), SPECIFIED)
def test_fields_are_those_of_the_specification(data: str, expected: list[tuple[int, object]]) -> None:
    assert fields(bytes.fromhex(data)) == expected
    assert fields(memoryview(bytes.fromhex(data))) == expected


@pytest.mark.parametrize(("data", "offset", "word"), BROKEN)
def test_broken_fields_say_where(data: str, offset: int, word: str) -> None:
    with pytest.raises(MalformedError, match=word) as caught:
        fields(bytes.fromhex(data))
    assert caught.value.offset == offset


def test_negative_numbers_are_ten_bytes() -> None:
    assert varint(-1).hex() == "ffffffffffffffffff01"
    assert signed(read_varint(varint(-2), 0)[0]) == -2


@given(st.lists(st.integers(0, (1 << 64) - 1)))
def test_packed_varints_agree_with_single_ones(values: list[int]) -> None:
    data = b"".join(map(varint, values))
    assert packed_varints(data).tolist() == values
    at, singles = 0, []
    while at < len(data):
        value, at = read_varint(data, at)
        singles.append(value)
    assert singles == values


@pytest.mark.parametrize("data", ["80", "0180", "ff" * 11 + "01"])
def test_packed_varints_that_are_broken(data: str) -> None:
    with pytest.raises(MalformedError):
        packed_varints(bytes.fromhex(data))


def test_proto3_leaves_out_defaults_of_scalars() -> None:
    assert protobuf.integer(1, 0) + protobuf.fixed32(6, 0) + protobuf.string(2, "") == b""
    assert protobuf.delimited(2, b"") == b"\x12\x00"


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_malformed(data: bytes) -> None:
    offset = 0
    try:
        fields(data)
    except MalformedError as error:
        offset = error.offset
    assert 0 <= offset <= len(data)
