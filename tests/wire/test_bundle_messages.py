"""Entries of a bundle's index: the way TensorFlow writes them is read by a shorter path, with the same result."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.wire.bundle_messages import BundleEntry, decode_entry, encode_entry
from ckptmigrate.wire.protobuf import MalformedError

UNKNOWN_FIELD = bytes.fromhex("7800")  # field 15, which nobody writes: an entry with it is not as TensorFlow writes it
SIZES = st.integers(0, (1 << 63) - 1) | st.integers(0, 300)
ENTRIES = st.builds(
    BundleEntry,
    dtype=st.sampled_from([1, 3, 7, 9, 33]),
    shape=st.lists(st.integers(0, 300), max_size=5).map(tuple),
    shard=st.integers(0, 300),
    offset=SIZES,
    size=SIZES,
    crc32c=st.integers(0, (1 << 32) - 1),
    slices=st.sampled_from([(), (((0, 2),),)]),
)


@given(entry=ENTRIES)
def test_an_entry_is_what_was_written(entry: BundleEntry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@settings(max_examples=500)
@given(entry=ENTRIES, place=st.integers(0, 40), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_entry_is_read_as_one_in_any_order_is(entry: BundleEntry, place: int, byte: int, cut: bool) -> None:
    data = bytearray(encode_entry(entry))
    data[place : place + (1 + cut)] = bytes([byte])
    try:
        found = decode_entry(bytes(data))
    except MalformedError:
        return
    assert decode_entry(bytes(data) + UNKNOWN_FIELD) == found


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param("08 22 12 00 35 00000000", id="unknown type"),
        pytest.param("08 00 12 00 35 00000000", id="no type"),
        pytest.param("08 01 12 02 18 01 35 00000000", id="unknown rank"),
        pytest.param("08 01 12 0d 12 0b 08 ffffffffffffffffff01 35 00000000", id="a negative dimension"),
        pytest.param("08 01 12 00 20 ffffffffffffffffff01 35 00000000", id="a negative offset"),
        pytest.param("08 01 12 00 28 ffffffffffffffffff01 35 00000000", id="a negative size"),
        pytest.param("08 01 12 7f 35 00000000", id="a shape past the end"),
        pytest.param("08 01 12 00 35 000000", id="half a checksum"),
        pytest.param("08 01 12 80", id="half a length"),
    ],
)
def test_what_no_entry_can_say_is_refused(damaged: str) -> None:
    with pytest.raises(MalformedError):
        decode_entry(bytes.fromhex(damaged))
