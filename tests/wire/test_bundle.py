"""Reading bundles: literal bytes, every kind of tensor, and entries that lie."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME, BY_TF, DTYPES
from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.wire.bundle import BundleEntry, read_bundle, read_tensor, tensor_extents
from ckptmigrate.wire.bundle_messages import encode_entry
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.protobuf import delimited, varint
from ckptmigrate.wire.slices import slice_key

BundleOf = Callable[..., Path]

# Written by TensorFlow 1.15: three string tensors, as their entries and bytes stand in its files.
STRINGS = bytes.fromhex("010203025158bcd9616262636363fffed8ea82a203633f7f286f6e65")
STRING_ENTRIES = {
    b"matrix": bytes.fromhex("0807120812020802120208022810353371e7bf"),
    b"none": bytes.fromhex("080712061200120208022010280435f6c10c64"),
    b"scalar": bytes.fromhex("0807120020142808352cca2e10"),
}


PART = re.compile(r"/\w*_\d/(?=(?:Adam|Ftrl)(?:_1)?$)")  # canned Estimators: a slot has a key for each part


def entry_of(data: bytes, shape: tuple[int, ...], dtype: str = "float32", **changes: Any) -> bytes:
    place = {"shard": 0, "offset": 0, "size": len(data), "crc32c": mask(crc32c(data)), **changes}
    return encode_entry(BundleEntry(BY_NAME[dtype].tf, shape, **place))


def all_values(prefix: Path) -> dict[str, np.ndarray[Any, Any]]:
    bundle = read_bundle(prefix)
    return {key: read_tensor(bundle, key) for key in bundle.entries}


def test_everything_tensorflow_wrote_reads(tensorflow_index: Path) -> None:
    bundle = read_bundle(tensorflow_index.with_suffix(""))
    assert not bundle.missing
    for key, entry in bundle.entries.items():
        parts = [k for k in bundle.entries if k != key and PART.sub("/t_0/", k) == PART.sub("/t_0/", key)]
        values, dtype = read_tensor(bundle, key, *parts), BY_TF[entry.dtype]
        assert values.dtype == dtype.numpy
        assert values.shape == entry.shape or dtype.name == "variant"


def test_strings_are_tensorflows(bundle_of: BundleOf) -> None:
    values = all_values(bundle_of(STRING_ENTRIES, STRINGS))
    assert values["matrix"].tolist() == [[b"a", b"bb"], [b"ccc", b"\xff\xfe"]]
    assert values["none"].shape == (0, 2)
    assert values["scalar"][()] == b"one"


@pytest.mark.parametrize("flipped", range(len(STRINGS)))
def test_a_flipped_byte_in_strings_is_found(bundle_of: BundleOf, flipped: int) -> None:
    data = bytearray(STRINGS)
    data[flipped] ^= 1
    with pytest.raises(DamagedError):
        all_values(bundle_of(STRING_ENTRIES, bytes(data)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.is_raw], ids=str)
def test_every_type_in_both_byte_orders(bundle_of: BundleOf, dtype: Any, order: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype.numpy)
    stored = values.tobytes()
    if order == ">" and dtype.nbytes > 1:
        width = dtype.nbytes // 2 if dtype.numpy.kind == "c" else dtype.nbytes
        stored = np.frombuffer(stored, f"u{width}").byteswap().tobytes()
    header = bytes.fromhex("0801" + ("1001" if order == ">" else "") + "1a020801")
    found = all_values(bundle_of({b"w": entry_of(stored, (2, 3), dtype.name)}, stored, header=header))["w"]
    assert found.dtype == dtype.numpy
    assert found.tobytes() == values.tobytes()


def test_big_endian_strings(bundle_of: BundleOf) -> None:
    lengths = crc32c(struct.pack(">I", 3))
    rest = struct.pack(">I", mask(lengths)) + b"abc"
    data = b"\x03" + rest
    entry = entry_of(data, (1,), "string", crc32c=mask(crc32c(rest, lengths)))
    assert all_values(bundle_of({b"s": entry}, data, header=bytes.fromhex("08011001")))["s"].tolist() == [b"abc"]


def test_variants_are_their_bytes(bundle_of: BundleOf) -> None:
    data, crc = b"", 0
    for value in (b"first", b""):
        crc = crc32c(struct.pack("<Q", len(value)) + value, crc)
        checksum = struct.pack("<I", mask(crc))
        crc = crc32c(checksum, crc)
        data += varint(len(value)) + value + checksum
    good = {b"v": entry_of(data, (2,), "variant", crc32c=mask(crc))}
    assert all_values(bundle_of(good, data))["v"].tobytes() == data
    for at in range(len(data)):
        with pytest.raises(DamagedError):
            all_values(bundle_of(good, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]))


def partitioned(bundle_of: BundleOf, regions: list[Any], *, shape: tuple[int, ...] = (4, 3)) -> Path:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    entries, data = {}, b""
    for region in regions:
        (row, rows), (column, columns) = region
        part = values[row : row + rows, column : None if columns == -1 else column + columns]
        entries[slice_key(b"p", region)] = entry_of(part.tobytes(), part.shape, offset=len(data))
        data += part.tobytes()
    whole = BundleEntry(1, shape, 0, 0, 0, 0, tuple(regions))
    return bundle_of({b"p": encode_entry(whole), **entries}, data)


def test_parts_are_put_together(bundle_of: BundleOf) -> None:
    prefix = partitioned(bundle_of, [((0, 3), (0, -1)), ((3, 1), (0, 2)), ((3, 1), (2, 1))])
    assert all_values(prefix)["p"].tolist() == np.arange(12.0).reshape(4, 3).tolist()
    bundle = read_bundle(prefix)
    assert list(bundle.entries) == ["p"]
    assert [extent.region for extent in tensor_extents(bundle, "p")] == [
        ((0, 3), (0, 3)),
        ((3, 1), (0, 2)),
        ((3, 1), (2, 1)),
    ]


@pytest.mark.parametrize(
    ("regions", "shape", "word"),
    [
        ([((0, 2), (0, -1))], (4, 3), "gap"),
        ([((0, 3), (0, -1)), ((2, 2), (0, -1))], (4, 3), "overlaps"),
        ([((0, 4), (0, -1))], (3, 3), "not inside"),
        ([((0, 4), (0, -1))], (4, 2), "has shape"),
        ([((0, 4), (0, -1))], (4, 3, 1), "not inside"),
        ([((0, 2), (0, -1)), ((0, 2), (0, -1))], (4, 3), "overlaps"),
    ],
)
def test_parts_that_do_not_fit(bundle_of: BundleOf, regions: list[Any], shape: tuple[int, ...], word: str) -> None:
    with pytest.raises(DamagedError, match=word):
        all_values(partitioned(bundle_of, regions, shape=shape))


def test_a_part_without_entry(bundle_of: BundleOf) -> None:
    whole = encode_entry(BundleEntry(1, (4,), 0, 0, 0, 0, (((0, 4),),)))
    with pytest.raises(DamagedError, match="missing"):
        all_values(bundle_of({b"p": whole}, b""))


def _shape(*dims: int) -> bytes:
    return delimited(2, b"".join(delimited(2, b"\x08" + varint(dim)) for dim in dims))


DATA = bytes(64)
BIG = (1 << 62) + 1
# Name -> (entry, a word of the complaint)
LYING = {
    "type 0": (b"\x08\x00" + _shape(16) + b"\x28\x40", "unknown element type 0"),
    "type 999": (b"\x08\xe7\x07" + _shape(16) + b"\x28\x40", "type 899"),
    "type -1": (b"\x08" + varint(-1) + _shape(16), "unknown element type"),
    "negative dimension": (b"\x08\x01" + _shape(-1) + b"\x28\x40", "negative dimension"),
    "rank 300": (b"\x08\x01" + _shape(*[1] * 300) + b"\x28\x04", "rank 300"),
    "rank 33": (b"\x08\x01" + _shape(*[1] * 33) + b"\x28\x04", "rank 33"),
    "more bytes than numbers": (b"\x08\x12" + _shape(0, 1 << 60) + b"\x35" + bytes(4), "2\\*\\*59"),
    "product overflow": (b"\x08\x01" + _shape(BIG, 16) + b"\x28\x40", "2\\*\\*59"),
    "product overflow to 0": (b"\x08\x01" + _shape(1 << 32, 1 << 32), "2\\*\\*59"),
    "overflow beside an empty dimension": (b"\x08\x01" + _shape(0, 1 << 32, 1 << 32), "2\\*\\*59"),
    "unknown rank": (b"\x08\x01\x12\x02\x18\x01", "unknown rank"),
    "negative offset": (entry_of(DATA, (16,)) + b"\x20" + varint(-8), "negative"),
    "negative size": (entry_of(DATA, (16,)) + b"\x28" + varint(-8), "negative"),
    "shard that isn't": (entry_of(DATA, (16,), shard=7), "shard 7"),
    "negative shard": (entry_of(DATA, (16,)) + b"\x18" + varint(-1), "shard"),
    "cut off": (entry_of(DATA, (16,))[:-2], "cut off"),
    "offset past the end": (entry_of(DATA, (16,), offset=1), "truncated"),
    "offset far past the end": (entry_of(DATA, (16,), offset=BIG), "truncated"),
    "terabyte": (entry_of(b"", (1 << 38,), size=1 << 40), "truncated"),
    "size is not the shape's": (entry_of(DATA, (17,)), "takes 68 bytes"),
    "wrong checksum": (entry_of(DATA, (16,), crc32c=1), "checksum"),
    "no checksum": (entry_of(DATA, (16,), crc32c=0), "checksum"),
    "strings of a terabyte": (entry_of(DATA, (1 << 40,), "string"), "can't lie"),
    "strings of wrong lengths": (entry_of(DATA, (3,), "string"), "can't take"),
    "variants of wrong lengths": (entry_of(DATA, (3,), "variant"), "checksum"),
    "terabyte of variants": (entry_of(DATA, (1 << 40,), "variant"), "checksum"),
    "parts of rank 300": (b"\x08\x01" + delimited(7, delimited(1, b"") * 300), "rank 300"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", LYING)
def test_entries_that_lie(bundle_of: BundleOf, name: str) -> None:
    entry, word = LYING[name]
    prefix = bundle_of({b"w": entry}, DATA)
    started = time.process_time()
    with pytest.raises(DamagedError, match=word) as caught:
        all_values(prefix)
    assert time.process_time() - started < 2
    assert str(prefix) in caught.value.where


HEADERS = {
    "a billion shards": (b"\x08" + varint(10**9), "1000000000 shards"),
    "negative shards": (b"\x08" + varint(-1), "-1 shards"),
    "third byte order": (b"\x08\x01\x10\x02", "endianness 2"),
    "cut off": (b"\x08", "cut off"),
    "no shards": (b"", "shard 0"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(bundle_of: BundleOf, name: str) -> None:
    header, word = HEADERS[name]
    with pytest.raises(DamagedError, match=word):
        read_bundle(bundle_of({b"w": entry_of(DATA, (16,))}, DATA, header=header))


def test_a_bundle_for_later_readers(bundle_of: BundleOf) -> None:
    with pytest.raises(SourceError, match="version 9"):
        read_bundle(bundle_of({}, header=bytes.fromhex("08011a0408011009")))


def test_a_header_without_version_reads(bundle_of: BundleOf) -> None:
    assert all_values(bundle_of({b"w": entry_of(DATA, (16,))}, DATA, header=b"\x08\x01"))["w"].shape == (16,)


def test_a_table_without_header(tmp_path: Path, raw_table: Any, raw_block: Any) -> None:
    (tmp_path / "m.index").write_bytes(raw_table(raw_block((0, b"w", b""))))
    with pytest.raises(DamagedError, match="no bundle header"):
        read_bundle(tmp_path / "m")
    (tmp_path / "m.index").write_bytes(raw_table())
    with pytest.raises(DamagedError, match="empty table"):
        read_bundle(tmp_path / "m")


def test_missing_and_truncated_shards(bundle_of: BundleOf) -> None:
    entries = {b"a": entry_of(DATA, (16,)), b"b": entry_of(DATA, (16,), shard=1), b"c": entry_of(DATA, (16,), shard=2)}
    prefix = bundle_of(entries, DATA, DATA, DATA)
    prefix.with_name("m.data-00001-of-00003").unlink()
    prefix.with_name("m.data-00002-of-00003").write_bytes(DATA[:-1])
    bundle = read_bundle(prefix)
    assert [path.name for path in bundle.missing] == ["m.data-00001-of-00003"]
    assert read_tensor(bundle, "a").shape == (16,)
    with pytest.raises(SourceError, match="No such file") as missing:
        read_tensor(bundle, "b")
    assert missing.value.where.endswith("m.data-00001-of-00003")
    with pytest.raises(DamagedError, match="64 bytes expected, 63 found") as short:
        read_tensor(bundle, "c")
    assert short.value.where.endswith("m.data-00002-of-00003, 'c' at byte 0")


def test_pipes_never_block(bundle_of: BundleOf) -> None:
    prefix = bundle_of({b"w": entry_of(DATA, (16,))}, DATA)
    for name in ("m.data-00000-of-00001", "m.index"):
        prefix.with_name(name).unlink()
        os.mkfifo(prefix.with_name(name))
        with pytest.raises(SourceError, match="regular"):
            all_values(prefix)


def test_a_sparse_file_larger_than_memory(bundle_of: BundleOf) -> None:
    elements = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    prefix = bundle_of({b"w": entry_of(b"", (elements,), size=4 * elements)}, b"")
    os.truncate(prefix.with_name("m.data-00000-of-00001"), 4 * elements)
    with pytest.raises(SourceError, match="fit into memory"):
        all_values(prefix)


def test_two_entries_may_share_bytes_and_gaps_are_fine(bundle_of: BundleOf) -> None:
    data = bytes(range(24))
    entries = {b"a": entry_of(data[8:16], (2,), offset=8), b"b": entry_of(data[8:16], (1, 2), offset=8)}
    values = all_values(bundle_of(entries, data))
    assert values["a"].tobytes() == values["b"].tobytes() == data[8:16]


def test_an_empty_tensor_has_a_checksum_too(bundle_of: BundleOf) -> None:
    assert all_values(bundle_of({b"e": entry_of(b"", (0, 3))}, b""))["e"].shape == (0, 3)
    with pytest.raises(DamagedError, match="checksum"):
        all_values(bundle_of({b"e": entry_of(b"", (0, 3), crc32c=7)}, b""))


def test_reference_types_and_unknown_fields_and_names_that_are_no_utf8(bundle_of: BundleOf) -> None:
    entry = b"\x08\x65" + entry_of(DATA, (16,))[2:] + delimited(99, b"later")
    values = all_values(bundle_of({b"\xff\xfe": entry}, DATA))
    assert values["\udcff\udcfe"].dtype == np.float32


def test_small_floats_keep_their_bits(bundle_of: BundleOf) -> None:
    bits = np.array([0x7FC1, 0xFF80, 0x0001, 0x8000], np.uint16)  # a NaN with payload, -inf, subnormal, -0
    found = all_values(bundle_of({b"w": entry_of(bits.tobytes(), (4,), "bfloat16")}, bits.tobytes()))["w"]
    assert found.dtype == ml_dtypes.bfloat16
    assert found.view(np.uint16).tolist() == bits.tolist()


def test_opening_ten_thousand_variables_is_quick(bundle_of: BundleOf) -> None:
    entry = entry_of(DATA, (4, 4))
    prefix = bundle_of({f"layer_{i:05d}/conv/kernel/Momentum".encode(): entry for i in range(10_000)}, DATA)
    read_bundle(prefix)
    best = min(_seconds(prefix) for _ in range(3))
    assert best < 0.5  # 0.04 s


def _seconds(prefix: Path) -> float:
    started = time.process_time()
    read_bundle(prefix)
    return time.process_time() - started


CHANGES = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, kind=st.sampled_from(["float32", "string", "variant", "parts"]))
def test_mutated_entries_with_right_checksums(bundle_of: BundleOf, changes: list[tuple[int, int]], kind: str) -> None:
    if kind == "parts":
        regions = (((0, 2), (0, -1)), ((2, 2), (0, -1)))
        good = encode_entry(BundleEntry(1, (4, 4), 0, 0, 0, 0, regions))
    else:
        good = entry_of(DATA, (4, 2, 2), kind)
    entry = bytearray(good)
    for at, byte in changes:
        entry[at % len(entry)] = byte
    part = entry_of(DATA[:32], (2, 4))
    parts = {slice_key(b"w", ((start, 2), (0, -1))): part for start in (0, 2)}
    with contextlib.suppress(CkptMigrateError):
        all_values(bundle_of({b"w": bytes(entry), **parts}, DATA))
