"""Writing bundles: TensorFlow's bytes, copies that don't pass through Python, faults of the disk."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME, BY_TF, DTYPES
from ckptmigrate.errors import DamagedError, OutputError, SourceError
from ckptmigrate.wire import bundle_writer
from ckptmigrate.wire.bundle import Bundle, read_bundle, read_tensor, tensor_extents
from ckptmigrate.wire.bundle_writer import BundleWriter
from ckptmigrate.wire.crc32c import crc32c

FLOAT = BY_NAME["float32"].tf


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_file_order(bundle: Bundle) -> list[str]:
    """Keys as the framework handed them to the writer: by place; the empty ones first among equals."""
    places = {key: (e.shard, e.offset, e.size) for key, e in bundle.entries.items()}
    return sorted(places, key=places.__getitem__)


def test_bundles_of_tensorflow_are_written_byte_for_byte(tensorflow_index: Path, tmp_path: Path) -> None:
    data = tensorflow_index.read_bytes()
    bundle = read_bundle(tensorflow_index.with_suffix(""))
    ends = [0] * bundle.num_shards
    for key in in_file_order(bundle):
        entry = bundle.entries[key]
        if entry.slices or bundle.big_endian or entry.offset != ends[entry.shard] or bundle.num_shards > 1:
            pytest.skip("not one little-endian shard of whole tensors, one behind the other")
        ends[entry.shard] += entry.size
    with BundleWriter(tmp_path, bundle.prefix.name) as writer:
        for key in in_file_order(bundle):
            entry, values = bundle.entries[key], read_tensor(bundle, key)
            if BY_TF[entry.dtype].name == "variant":
                writer.add_opaque(key, entry.dtype, entry.shape, values.tobytes(), entry.crc32c)
            else:
                writer.add_array(key, entry.dtype, values)
        shard, index = writer.finish()
    assert (tmp_path / shard).read_bytes() == bundle.shards[0].read_bytes()
    if data.startswith(b"\0\0"):  # not compressed
        assert (tmp_path / index).read_bytes() == data


def test_an_index_of_several_blocks_is_tensorflows(tmp_path: Path) -> None:
    """The digests are of what TensorFlow 2.21 wrote (raw_ops.SaveV2) for the same names and values in this order."""
    keys = [f"tower_{i % 7}/layer_{i:05d}/kernel\u00ff"[: (None if i % 3 else -1)] for i in range(12_000)]
    with BundleWriter(tmp_path, "m") as writer:
        for key in sorted(keys, key=lambda key: key[::-1]):
            writer.add_array(key, FLOAT, np.array(len(key), np.float32))
        shard, index = writer.finish()
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()[:32] for name in (shard, index)]
    assert digests == ["88d867f3654878706a2eb64bbe43d040", "e121cd6eaa469a9e19200b9f7d1cbb7b"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    dtype=st.sampled_from([d for d in DTYPES if d.is_raw]),
    order=st.permutations(range(3)),
)
def test_any_layout_of_any_type_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], dtype: Any, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype.numpy)
    values = values.transpose(sorted(range(values.ndim), key=lambda i: order[i]))
    with BundleWriter(folder, "m") as writer:
        writer.add_array("w", dtype.tf, values)
        writer.finish()
    found = read_tensor(read_bundle(folder / "m"), "w")
    assert (found.shape, found.tobytes()) == (values.shape, values.tobytes())


def test_strings_are_the_example_of_the_format(tmp_path: Path) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        writer.add_strings("s", (3,), [b"ab", b"", b"x" * 300])
        (shard, _) = writer.finish()
    data = (tmp_path / shard).read_bytes()
    assert (data[:4].hex(), data[8:11], len(data)) == ("0200ac02", b"abx", 310)


def test_big_endian_arrays_are_turned(tmp_path: Path) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        writer.add_array("w", FLOAT, np.array([1.0, 2.0], ">f4"))
        (shard, _) = writer.finish()
    assert (tmp_path / shard).read_bytes().hex() == "0000803f00000040"


def test_shards_are_split_where_the_next_tensor_would_not_fit(tmp_path: Path) -> None:
    with BundleWriter(tmp_path, "m", max_shard_bytes=16) as writer:
        for key, count in (("a", 2), ("b", 2), ("c", 1), ("d", 9), ("e", 0)):
            writer.add_array(key, FLOAT, np.ones(count, np.float32))
        written = writer.finish()
    assert written == (*(f"m.data-0000{i}-of-00003" for i in range(3)), "m.index")
    bundle = read_bundle(tmp_path / "m")
    assert [bundle.entries[key].shard for key in "abcde"] == [0, 0, 1, 2, 2]


def test_an_empty_bundle_has_one_empty_shard(tmp_path: Path) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        assert writer.finish() == ("m.data-00000-of-00001", "m.index")
    assert read_bundle(tmp_path / "m").num_shards == 1


@pytest.fixture
def source(tmp_path: Path) -> Bundle:
    folder = tmp_path / "source"
    folder.mkdir()
    with BundleWriter(folder, "s") as writer:
        for i in range(20):
            writer.add_array(f"w{i:02d}", FLOAT, np.full(1000 + i, i, np.float32))
        writer.finish()
    return read_bundle(folder / "s")


@pytest.fixture(params=["kernel", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Copies inside the kernel, and on a system that has none."""
    if request.param == "python":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
        monkeypatch.setattr(bundle_writer.OutputFile, "share", lambda *_: None)
    return request.param


def copy_some(writer: BundleWriter, source: Bundle, keys: list[str]) -> None:
    for key in keys:
        (extent,) = tensor_extents(source, key)
        entry = source.entries[key]
        writer.add_copied(key, entry.dtype, entry.shape, extent.file, extent.offset, extent.nbytes, extent.masked_crc)


def test_kept_extents_are_copied_with_their_checksums(tmp_path: Path, source: Bundle, way: str) -> None:
    told: list[int] = []
    kept = [key for key in source.entries if key != "w07"]
    with BundleWriter(tmp_path, "m", on_bytes=told.append) as writer:
        copy_some(writer, source, kept)
        writer.add_array("new", FLOAT, np.ones(3, np.float32))
        writer.finish()
    bundle = read_bundle(tmp_path / "m")
    for key in kept:
        assert np.array_equal(read_tensor(bundle, key), read_tensor(source, key))
        assert bundle.entries[key].crc32c == source.entries[key].crc32c
    copied = sum(source.entries[key].size for key in kept)
    assert (writer.bytes_cloned, writer.bytes_moved) == ((copied, 12) if way == "kernel" else (0, copied + 12))
    assert sum(told) == copied + 12
    if way == "kernel":
        assert len(told) == 3  # two runs, before and behind the one left out, and the new tensor


def test_raw_bytes_get_their_checksum_on_the_way(tmp_path: Path) -> None:
    values = np.arange(700_000, dtype=np.float32)
    (tmp_path / "raw").write_bytes(b"head" + values.tobytes())
    told: list[int] = []
    with BundleWriter(tmp_path, "m", on_bytes=told.append) as writer:
        writer.add_array("first", FLOAT, values[:3])
        writer.add_raw("raw", FLOAT, (700, 1000), tmp_path / "raw", 4, values.nbytes)
        writer.add_array("same", FLOAT, values)
        writer.finish()
    bundle = read_bundle(tmp_path / "m")
    assert read_tensor(bundle, "raw").tobytes() == values.tobytes()
    assert bundle.entries["raw"].crc32c == bundle.entries["same"].crc32c
    assert (sum(told), writer.bytes_moved, writer.bytes_cloned) == (12 + 2 * values.nbytes, 12 + 2 * values.nbytes, 0)


def test_bytes_copied_twice_are_shared(tmp_path: Path, source: Bundle) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        copy_some(writer, source, ["w03"])
        (extent,) = tensor_extents(source, "w03")
        entry = source.entries["w03"]
        writer.add_copied("again", FLOAT, entry.shape, extent.file, extent.offset, extent.nbytes, extent.masked_crc)
        writer.finish()
    bundle = read_bundle(tmp_path / "m")
    assert bundle.shards[0].stat().st_size == entry.size
    assert np.array_equal(read_tensor(bundle, "again"), read_tensor(bundle, "w03"))


def test_copies_respect_the_shard_size(tmp_path: Path, source: Bundle) -> None:
    with BundleWriter(tmp_path, "m", max_shard_bytes=20_000) as writer:
        copy_some(writer, source, list(source.entries))
        writer.finish()
    bundle = read_bundle(tmp_path / "m")
    assert max(path.stat().st_size for path in bundle.shards) <= 20_000
    assert all(np.array_equal(read_tensor(bundle, key), read_tensor(source, key)) for key in source.entries)


def test_whole_shards_are_taken_over(tmp_path: Path, source: Bundle, way: str) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        writer.add_array("first", FLOAT, np.ones(1, np.float32))
        shard = writer.add_shard(source.shards[0])
        for key, entry in source.entries.items():
            writer.add_placed("x/" + key, entry.dtype, entry.shape, shard, entry.offset, entry.size, entry.crc32c)
        writer.add_array("last", FLOAT, np.ones(1, np.float32))
        written = writer.finish()
    assert len(written) == 4
    bundle = read_bundle(tmp_path / "m")
    assert bundle.shards[1].read_bytes() == source.shards[0].read_bytes()
    assert all(np.array_equal(read_tensor(bundle, "x/" + key), read_tensor(source, key)) for key in source.entries)
    size = source.shards[0].stat().st_size
    assert (writer.bytes_cloned, writer.bytes_moved) == ((size, 8) if way == "kernel" else (0, size + 8))


def test_a_source_that_shrank_is_damaged(tmp_path: Path, source: Bundle, way: str) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        copy_some(writer, source, ["w18", "w19"])
        source.shards[0].write_bytes(source.shards[0].read_bytes()[:-1])
        with pytest.raises(DamagedError, match="truncated"):
            writer.finish()
    assert names(tmp_path) == ["source"]


def test_a_source_that_is_gone(tmp_path: Path, source: Bundle) -> None:
    with BundleWriter(tmp_path, "m") as writer, pytest.raises(SourceError, match="No such file"):
        writer.add_shard(tmp_path / "none")


def test_provenance_is_beside_the_entries(tmp_path: Path) -> None:
    with BundleWriter(tmp_path, "m", provenance=b'{"tool": "x"}') as writer:
        writer.add_array("w", FLOAT, np.ones(2, np.float32))
        writer.finish()
    bundle = read_bundle(tmp_path / "m")
    assert bundle.provenance == b'{"tool": "x"}'
    assert list(bundle.entries) == ["w"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, source: Bundle) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with BundleWriter(tmp_path / name, "m", provenance=b"{}") as writer:
            copy_some(writer, source, list(source.entries))
            writer.finish()
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


MISUSES = {
    "key used before": lambda w: w.add_array("w", FLOAT, np.ones(1, np.float32)),
    "empty key": lambda w: w.add_array("", FLOAT, np.ones(1, np.float32)),
    "key of a part": lambda w: w.add_array("\0w", FLOAT, np.ones(1, np.float32)),
    "other type": lambda w: w.add_array("v", FLOAT, np.ones(1, np.float64)),
    "strings that are too few": lambda w: w.add_strings("v", (3,), [b"a"]),
    "outside its shard": lambda w: w.add_placed("v", FLOAT, (2,), 0, 0, 8, 0),
    "no such shard": lambda w: w.add_placed("v", FLOAT, (1,), 5, 0, 4, 0),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_is_a_value_error(tmp_path: Path, misuse: str) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        writer.add_array("w", FLOAT, np.ones(1, np.float32))
        with pytest.raises(ValueError, match=r"key|array|strings|inside"):
            MISUSES[misuse](writer)
    assert names(tmp_path) == []


@pytest.fixture
def small_files(source: Bundle) -> Iterator[None]:
    """From now on no file may grow past 64 KiB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("what", ["array", "copied", "shard", "index"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, source: Bundle, what: str) -> None:
    with BundleWriter(tmp_path, "m") as writer:
        with pytest.raises(OutputError, match="can't be written") as caught:
            if what == "array":
                writer.add_array("w", FLOAT, np.ones(1 << 20, np.float32))
            elif what == "shard":
                writer.add_shard(source.shards[0])
            elif what == "index":
                for i in range(4000):
                    writer.add_array(f"{i:04d}", FLOAT, np.ones(1, np.float32))
                writer.finish()
            else:
                copy_some(writer, source, list(source.entries))
                writer.finish()
        assert str(tmp_path) in caught.value.where
        assert caught.value.hint
    assert names(tmp_path) == ["source"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "none", "m") as writer, pytest.raises(OutputError):
        writer.add_array("w", FLOAT, np.ones(1, np.float32))


def test_checksums_go_on_from_one_another() -> None:
    data = bytes(range(256)) * 3
    assert crc32c(memoryview(data)[100:], crc32c(data[:100])) == crc32c(np.frombuffer(data, np.uint8))
