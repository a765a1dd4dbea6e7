"""V1 checkpoints: literal bytes, typed numbers, parts and shards, and values that lie."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.wire.bundle_messages import encode_region, encode_shape
from ckptmigrate.wire.protobuf import delimited, integer, varint
from ckptmigrate.wire.slices import Region, slice_key
from ckptmigrate.wire.sstable import write_table
from ckptmigrate.wire.v1 import is_v1, read_v1, read_v1_tensor

# Written by TensorFlow 1.15: three string tensors and `w`, float32 (a fourth is cut from the list).
LITERAL = {
    b"": "0a590a1a0a066d617472697812081202080212020802180722040a000a000a160a046e6f6e651206120012020802180722040a000a00"
    "0a0e0a067363616c61721200180722000a0f0a0177120412020802180122020a0012020801",
    b"\0matrix\0\x01\x01\x02\x80\x7f\x80\x7f": "12200a066d617472697812040a000a001a104201614202626242036363634202fffe",
    b"\0none\0\x01\x01\x02\x80\x7f\x80\x7f": "120e0a046e6f6e6512040a000a001a00",
    b"\0scalar\0\x01\x00": "12110a067363616c617212001a0542036f6e65",
    b"\0w\0\x01\x01\x01\x80\x7f": "12130a017712020a001a0a2a088deacf3f119c1cbf",
}

# DataType, the TensorProto field with some values in it, and the values.
TYPED = [
    (1, delimited(5, struct.pack("<2f", 1.5, -2)), [1.5, -2.0]),
    (2, delimited(6, struct.pack("<2d", 1.5, -2)), [1.5, -2.0]),
    (3, delimited(7, varint(7) + varint(-7)), [7, -7]),
    (4, delimited(7, varint(255) + varint(0)), [255, 0]),
    (5, delimited(7, varint(-300) + varint(300)), [-300, 300]),
    (6, delimited(7, varint(-1) + varint(1)), [-1, 1]),
    (8, delimited(9, struct.pack("<4f", 1, 2, 3, 4)), [1 + 2j, 3 + 4j]),
    (9, delimited(10, varint(-(1 << 63)) + varint((1 << 63) - 1)), [-(1 << 63), (1 << 63) - 1]),
    (10, delimited(11, b"\x01\x00"), [True, False]),
    (12, delimited(7, varint(200) + varint(1)), [200, 1]),
    (17, delimited(7, varint(65535) + varint(1)), [65535, 1]),
    (18, delimited(12, struct.pack("<4d", 1, 2, 3, 4)), [1 + 2j, 3 + 4j]),
    (19, delimited(13, varint(0x3E00) + varint(0xC000)), [1.5, -2.0]),
    (3, b"\x38" + varint(7) + b"\x38" + varint(-7), [7, -7]),  # one by one: proto2 readers take both
    (1, b"\x2d" + struct.pack("<f", 1.5) + b"\x2d" + struct.pack("<f", -2), [1.5, -2.0]),
    (7, delimited(8, b"a") + delimited(8, b"b\0"), [b"a", b"b\0"]),
]


@pytest.fixture
def v1_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a V1 file of entries; gives its path."""

    def build(entries: Mapping[bytes, bytes], name: str = "v1") -> Path:
        with (tmp_path / name).open("wb") as file:
            write_table(file, sorted(entries.items()))
        return tmp_path / name

    return build


def listed(name: bytes, dtype: int, shape: tuple[int, ...], *regions: Region) -> bytes:
    """A SavedTensorSlices with one SavedSliceMeta."""
    parts = b"".join(delimited(4, encode_region(region)) for region in regions)
    return delimited(
        1, delimited(1, delimited(1, name) + delimited(2, encode_shape(shape)) + integer(3, dtype) + parts)
    )


def saved(name: bytes, region: Region, values: bytes) -> dict[bytes, bytes]:
    """A SavedSlice under its key."""
    part = delimited(1, name) + delimited(2, encode_region(region)) + delimited(3, values)
    return {slice_key(name, region): delimited(2, part)}


def one(path: Path) -> np.ndarray[Any, Any]:
    (tensor,) = read_v1([path]).values()
    return read_v1_tensor(tensor)


def floats(*values: float) -> bytes:
    return delimited(5, struct.pack(f"<{len(values)}f", *values))


WHOLE: Region = ((0, -1),)


def test_literal_bytes(v1_of: Callable[..., Path]) -> None:
    path = v1_of({key: bytes.fromhex(value) for key, value in LITERAL.items()})
    assert is_v1(path)
    found = {name: read_v1_tensor(tensor) for name, tensor in read_v1([path]).items()}
    assert list(found) == ["matrix", "none", "scalar", "w"]
    assert found["matrix"].tolist() == [[b"a", b"bb"], [b"ccc", b"\xff\xfe"]]
    assert found["none"].shape == (0, 2)
    assert found["scalar"][()] == b"one"
    assert found["w"].tobytes().hex() == "8deacf3f119c1cbf"


@pytest.mark.parametrize(("dtype", "field", "values"), TYPED)
def test_typed_numbers(v1_of: Callable[..., Path], dtype: int, field: bytes, values: list[Any]) -> None:
    path = v1_of({b"": listed(b"w", dtype, (2,), WHOLE), **saved(b"w", WHOLE, field)})
    assert one(path).tolist() == values


def test_parts_over_shards(v1_of: Callable[..., Path]) -> None:
    first, second, third = ((0, 2),), ((2, 1),), ((3, 2),)
    parts = saved(b"w", first, floats(1, 2)) | saved(b"w", second, floats(3))
    paths = [
        v1_of({b"": listed(b"w", 1, (5,), first, second), **parts}, "a"),
        v1_of({b"": listed(b"w", 1, (5,), third), **saved(b"w", third, floats(4, 5))}, "b"),
    ]
    (tensor,) = read_v1(paths).values()
    assert read_v1_tensor(tensor).tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(DamagedError, match="gap"):
        one(paths[0])


def test_shards_that_contradict_each_other(v1_of: Callable[..., Path]) -> None:
    paths = [v1_of({b"": listed(b"w", 1, (size,), WHOLE)}, str(size)) for size in (3, 4)]
    with pytest.raises(DamagedError, match="before it was"):
        read_v1(paths)


LYING = {
    "no list": ({b"a": b""}, "no list"),
    "list of nothing": ({b"": b""}, "no list"),
    "list cut off": ({b"": b"\x0a\x20"}, "runs past"),
    "type it can't hold": ({b"": listed(b"w", 14, (1,), WHOLE)}, "type 14"),
    "type 0": ({b"": listed(b"w", 0, (1,), WHOLE)}, "type 0"),
    "rank 300": ({b"": listed(b"w", 1, (1,) * 300, WHOLE)}, "rank 300"),
    "negative dimension": ({b"": listed(b"w", 1, (-4,), WHOLE)}, "negative"),
    "no parts": ({b"": listed(b"w", 1, (4,))}, "no part"),
    "part not stored": ({b"": listed(b"w", 1, (4,), WHOLE)}, "not in the file"),
    "part outside": ({b"": listed(b"w", 1, (4,), ((2, 4),))}, "not inside"),
    "parts overlap": (
        {b"": listed(b"w", 1, (4,), ((0, 2),), ((1, 2),)), **saved(b"w", ((0, 2),), floats(1, 2))}
        | saved(b"w", ((1, 2),), floats(2, 3)),
        "overlaps",
    ),
    "terabyte": ({b"": listed(b"w", 1, (1 << 38,), WHOLE), **saved(b"w", WHOLE, floats(1))}, "1 values"),
    "too many values": ({b"": listed(b"w", 1, (1,), WHOLE), **saved(b"w", WHOLE, floats(1, 2))}, "2 values"),
    "values of another type": ({b"": listed(b"w", 3, (1,), WHOLE), **saved(b"w", WHOLE, floats(1))}, "0 values"),
    "half a float": ({b"": listed(b"w", 1, (1,), WHOLE), **saved(b"w", WHOLE, delimited(5, b"abc"))}, "can't hold"),
    "half a complex": ({b"": listed(b"w", 8, (1,), WHOLE), **saved(b"w", WHOLE, delimited(9, bytes(4)))}, "complex"),
    "varint cut off": ({b"": listed(b"w", 3, (1,), WHOLE), **saved(b"w", WHOLE, delimited(7, b"\x80"))}, "cut off"),
    "float field as text": ({b"": listed(b"w", 7, (1,), WHOLE), **saved(b"w", WHOLE, b"\x40\x01")}, "0 values"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", LYING)
def test_values_that_lie(v1_of: Callable[..., Path], name: str) -> None:
    entries, word = LYING[name]
    path = v1_of(entries)
    with pytest.raises(DamagedError, match=word) as caught:
        one(path)
    assert str(path) in caught.value.where


def test_a_file_for_later_readers(v1_of: Callable[..., Path]) -> None:
    later = delimited(1, delimited(2, b"\x08\x02\x10\x02"))
    with pytest.raises(SourceError, match="version 2"):
        read_v1([v1_of({b"": later})])


def test_a_bundles_index_is_none(tmp_path: Path) -> None:
    with (tmp_path / "m.index").open("wb") as file:
        write_table(file, [(b"", bytes.fromhex("08011a020801"))])
    assert not is_v1(tmp_path / "m.index")


CHANGES = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, key=st.sampled_from(sorted(LITERAL)))
def test_mutated_values_with_right_checksums(
    v1_of: Callable[..., Path], changes: list[tuple[int, int]], key: bytes
) -> None:
    entries = {known: bytearray.fromhex(value) for known, value in LITERAL.items()}
    for at, byte in changes:
        entries[key][at % len(entries[key])] = byte
    with contextlib.suppress(CkptMigrateError):
        for tensor in read_v1([v1_of({known: bytes(value) for known, value in entries.items()})]).values():
            with contextlib.suppress(CkptMigrateError):
                read_v1_tensor(tensor)
