"""Tables: TensorFlow's bytes, round trips, and files that want to hurt."""

from __future__ import annotations

import contextlib
import io
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.blocks import Handle, seal
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.protobuf import varint
from ckptmigrate.wire.sstable import is_table, read_table, write_table

# Written by TensorFlow 1.15: the header and one entry, float32 of 7 elements called `bits`.
LITERAL = bytes.fromhex(
    "00000608011a02080100040f626974730801120412020807281c35485caead000000000100000000"
    "4bd0baca000000000100000000c0f2a1b0000102630027000000000100000000246737712c08390e"
    "00000000000000000000000000000000000000000000000000000000000000000000000057fb808b247547db"
)
LITERAL_ITEMS = [
    (b"", bytes.fromhex("08011a020801")),
    (b"bits", bytes.fromhex("0801120412020807281c35485caead")),
]

Block = Callable[..., bytes]


def written(items: list[tuple[bytes, bytes]], **named: bytes) -> bytes:
    file = io.BytesIO()
    write_table(file, items, {name.encode(): contents for name, contents in named.items()})
    return file.getvalue()


def read(path: Path, data: bytes) -> list[tuple[bytes, bytes]]:
    path.write_bytes(data)
    return list(read_table(path).items())


def with_crc(checked: bytes) -> bytes:
    return checked + struct.pack("<I", mask(crc32c(checked)))


def test_literal_bytes_both_ways(tmp_path: Path) -> None:
    assert read(tmp_path / "m.index", LITERAL) == LITERAL_ITEMS
    assert written(LITERAL_ITEMS) == LITERAL


def test_tensorflows_own_tables_come_out_byte_for_byte(tensorflow_index: Path) -> None:
    data = tensorflow_index.read_bytes()
    table = read_table(tensorflow_index)
    if data[table.blocks[0][1].offset + table.blocks[0][1].size]:
        pytest.skip("compressed")
    items = list(table.items())
    if "big_endian" in tensorflow_index.parts:
        pytest.skip("rewritten after TensorFlow")
    assert written(items) == data


def test_every_key_is_found_alone(tensorflow_index: Path) -> None:
    table = read_table(tensorflow_index)
    items = list(table.items())
    for key, value in items[:: max(1, len(items) // 10)]:
        assert table.find(key) == value
    assert table.find(b"\xff\xff") is None
    assert table.find(b"0 no such key") is None


KEYS = st.lists(st.binary(max_size=12) | st.sampled_from([b"conv/w", b"conv/w/Adam", b"\xff\xff"]), unique=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS, padding=st.sampled_from([0, 7, 40_000]))
def test_what_is_written_is_read(tmp_path: Path, keys: list[bytes], padding: int) -> None:
    items = [(key, key[::-1] + b"x" * padding) for key in sorted(keys)]
    path = tmp_path / "t"
    assert read(path, written(items)) == items
    table = read_table(path)
    assert all(table.find(key) == value for key, value in items)


def test_named_blocks_are_beside_the_entries(tmp_path: Path) -> None:
    path = tmp_path / "t"
    assert read(path, written(LITERAL_ITEMS, origin=b'{"a": 1}', empty=b"")) == LITERAL_ITEMS
    table = read_table(path)
    assert (table.block(b"origin"), table.block(b"empty"), table.block(b"other")) == (b'{"a": 1}', b"", None)


def test_snappy_blocks_are_read(tmp_path: Path, raw_table: Block, raw_block: Block) -> None:
    contents = raw_block((0, b"a", b"1"), (1, b"b", b"2"))
    literal = varint(len(contents)) + bytes([(len(contents) - 1) << 2]) + contents  # one literal element
    assert read(tmp_path / "t", raw_table(with_crc(literal + b"\1"), sealed=True)) == [(b"a", b"1"), (b"ab", b"2")]


def _hostile(block: Block, table: Block) -> dict[str, tuple[bytes, str]]:
    """Name -> (file, a word of the complaint)."""
    good = block((0, b"a", b"1"), (0, b"b", b"2"))
    one = Handle(0, len(good))
    bomb = varint(1 << 40) + b"\0a"
    return {
        "empty file": (b"", "0 bytes"),
        "shorter than a footer": (LITERAL[-47:], "47 bytes"),
        "no magic": (LITERAL[:-1] + b"\0", "magic"),
        "not a table at all": (b"\x89HDF\r\n\x1a\n" + bytes(100), "magic"),
        "metaindex past the end": (
            LITERAL[:-48] + b"\xff\xff\x7f\x08\x39\x0e".ljust(40, b"\0") + LITERAL[-8:],
            "inside",
        ),
        "index of 2**60 bytes": (
            LITERAL[:-48] + (b"\x2c\x08\x39" + varint(1 << 60)).ljust(40, b"\0") + LITERAL[-8:],
            "inside",
        ),
        "footer of endless varints": (LITERAL[:-48] + b"\xff" * 40 + LITERAL[-8:], "10 bytes"),
        "wrong checksum": (LITERAL[:7] + b"\1" + LITERAL[8:], "checksum"),
        "blocks overlap": (table(good, good, handles=(one, one)), "inside"),
        "block past the index": (table(good, handles=(Handle(0, 4096),)), "inside"),
        "block handle is no handle": (table(good, handles=(Handle(1 << 63, 1),)), "inside"),
        "unknown compression": (table(with_crc(good + b"\7"), sealed=True), "compression 7"),
        "snappy that declares a terabyte": (table(with_crc(bomb + b"\1"), sealed=True), "can't hold"),
        "snappy that is noise": (table(with_crc(b"\x0a\xff\xff\xff\1"), sealed=True), "snappy"),
        "snappy of no bytes": (table(with_crc(b"\1"), sealed=True), "cut off"),
        "block of 3 bytes": (table(b"abc"), "smallest"),
        "no restarts": (table(block((0, b"a", b"1"), restarts=())), "0 restarts"),
        "a million restarts": (table(block((0, b"a", b"1"), count=1_000_000)), "restarts"),
        "restarts that overflow": (table(block((0, b"a", b"1"), count=0xFFFFFFFF)), "restarts"),
        "restart outside": (table(block((0, b"a", b"1"), restarts=(0, 4000))), "outside"),
        "first key shares": (table(block((3, b"a", b"1"))), "shares 3"),
        "shares more than there is": (table(block((0, b"a", b"1"), (2, b"b", b"2"))), "shares 2"),
        "key past the block": (table(b"\0\x7f\0a" + block()), "runs past"),
        "value past the block": (table(b"\0\1\x7fa" + block()), "runs past"),
        "endless varint": (table(b"\xff" * 12 + block()), "10 bytes"),
        "entry cut off": (table(b"\0" + block()), "runs past"),
        "duplicate keys": (table(block((0, b"a", b"1"), (0, b"a", b"2"))), "sort"),
        "unsorted keys": (table(block((0, b"b", b"1"), (0, b"a", b"2"))), "sort"),
        "unsorted blocks": (table(good, block((0, b"a", b"1"))), "sort"),
        "key bomb": (table(block((0, b"k" * 60_000, b""), *((60_000 + i, b"k", b"") for i in range(9_000)))), "expand"),
    }


HOSTILE = sorted(_hostile(lambda *_, **__: b"", lambda *_, **__: b""))


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables(name: str, tmp_path: Path, raw_block: Block, raw_table: Block) -> None:
    data, word = _hostile(raw_block, raw_table)[name]
    started = time.process_time()
    with pytest.raises(DamagedError, match=word) as caught:
        read(tmp_path / "t", data)
    assert time.process_time() - started < 2
    assert str(tmp_path / "t") in caught.value.where


def test_a_million_tiny_entries_are_read_in_seconds(tmp_path: Path, raw_table: Block) -> None:
    entries = b"".join(b"\0\3\0" + i.to_bytes(3, "big") for i in range(1_000_000))
    started = time.process_time()
    assert len(read(tmp_path / "t", raw_table(entries + struct.pack("<II", 0, 1)))) == 1_000_000
    assert time.process_time() - started < 10


def test_a_missing_file_is_the_sources_fault(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_table(tmp_path / "none")
    assert not is_table(tmp_path / "none")


CHANGES = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_mutated_blocks_with_right_checksums(tmp_path: Path, raw_table: Block, changes: list[tuple[int, int]]) -> None:
    contents = bytearray(LITERAL[:41])
    for at, byte in changes:
        contents[at % len(contents)] = byte
    with contextlib.suppress(DamagedError):
        read(tmp_path / "t", raw_table(bytes(contents)))


def test_seal_is_the_block_of_tensorflow() -> None:
    assert seal(bytes.fromhex("0000000001000000")) == bytes.fromhex("000000000100000000c0f2a1b0")
