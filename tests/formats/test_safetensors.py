"""safetensors: bytes against literals and against the library, and nothing that the format forbids is read."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME, BY_SAFETENSORS, FLOAT32, from_numpy
from ckptmigrate.errors import CkptMigrateError, DamagedError, OutputError, SourceError, TargetError
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.formats.safetensors import FORMAT
from ckptmigrate.formats.safetensors import writer as module
from ckptmigrate.table import Checkpoint, Extent, Tensor, Variable

Same = Callable[[Checkpoint, Checkpoint], None]
CORPUS = Path(__file__).resolve().parents[2] / ".." / "shared" / "corpus"
PLAIN = WriteOptions()


def write(checkpoint: Checkpoint, folder: Path, options: WriteOptions = PLAIN) -> Written:
    assert FORMAT.writer is not None
    return FORMAT.writer.write(checkpoint, folder, "x.safetensors", options)


def table(path: Path, **arrays: Any) -> Checkpoint:
    tensors = {name: Tensor.of(a, from_numpy(a.dtype) or FLOAT32) for name, a in arrays.items()}
    return Checkpoint(path, "tf1", {name: Variable(name, t, name) for name, t in tensors.items()})


def lay(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A file of these very parts."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_comes_back_the_same(rich: Checkpoint, same: Same, tmp_path: Path) -> None:
    written = write(rich, tmp_path)
    assert written.files == (written.commit,) == ("x.safetensors",)
    back = FORMAT.read(tmp_path / "x.safetensors")
    assert back.format == "safetensors"
    assert FORMAT.identify(back.path)
    same(back, rich)


@pytest.mark.parametrize("limit", [1, 60, 200, 10_000])
def test_shards_come_back_the_same(rich: Checkpoint, same: Same, tmp_path: Path, limit: int) -> None:
    written = write(rich, tmp_path, WriteOptions(max_shard_bytes=limit))
    assert sorted(written.files) == sorted(p.name for p in tmp_path.iterdir())
    assert written.files[-1] == written.commit
    same(FORMAT.read(tmp_path / written.commit), rich)
    same(FORMAT.read(tmp_path / "x.safetensors"), rich)  # the name that was asked for
    patterns = FORMAT.writer.outputs("x.safetensors") if FORMAT.writer else ()
    assert {p.name for pattern in patterns for p in tmp_path.glob(pattern)} == set(written.files)
    if len(written.files) > 1:
        index = json.loads((tmp_path / written.commit).read_text("utf-8"))
        for name, file in index["weight_map"].items():
            with safetensors.safe_open(tmp_path / file, framework="numpy") as shard:
                assert name in shard.keys()  # noqa: SIM118 - not a mapping


def test_the_library_reads_it(tmp_path: Path) -> None:
    """Every type that its NumPy side knows; the document doesn't disturb it."""
    arrays = {
        d.name: np.array([[0, 1, 2], [3, 1, 0]]).astype(d.numpy)
        for d in BY_SAFETENSORS.values()
        if not d.name.startswith("float8")
    }
    write(table(tmp_path, **arrays), tmp_path)
    read = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert read[name].tobytes() == array.tobytes()


def test_the_librarys_order(tmp_path: Path) -> None:
    """Types from wide to narrow, then names, as safetensors itself lays tensors out."""
    arrays = {f"{n}_{d.name}": np.zeros(2, d.numpy) for n in "ba" for d in BY_SAFETENSORS.values()}
    write(table(tmp_path, **arrays), tmp_path)
    theirs = {k: v for k, v in arrays.items() if "float8" not in k}
    safetensors.numpy.save_file(theirs, tmp_path / "theirs.safetensors")
    ours = [name for name in header_of(tmp_path / "x.safetensors") if name in theirs]
    assert ours == list(header_of(tmp_path / "theirs.safetensors"))


def header_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert (8 + length) % 8 == 0
    return {k: v for k, v in json.loads(data[8 : 8 + length]).items() if k != "__metadata__"}


def test_literal(tmp_path: Path) -> None:
    write(table(tmp_path, w=np.array([1.0, -2.0], np.float32)), tmp_path)
    document = '{"ckptmigrate":1,"variables":[{"name":"w","member":"w","dtype":"float32","shape":[2]}],"optimizers":[]}'
    header = '{"__metadata__":{"format":"tf","ckptmigrate":' + json.dumps(document) + "},"
    header += '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    padded = header.encode() + b" " * (-len(header) % 8)
    expected = struct.pack("<Q", len(padded)) + padded + bytes.fromhex("0000803f000000c0")
    assert (tmp_path / "x.safetensors").read_bytes() == expected


def test_what_the_source_said_of_itself_stays(tmp_path: Path) -> None:
    source = tmp_path / "source.safetensors"
    safetensors.numpy.save_file({"w": np.ones(2, np.float32)}, source, metadata={"format": "pt", "note": "é"})
    opened = FORMAT.read(source)
    assert opened.metadata == {"safetensors": {"format": "pt", "note": "é"}}
    write(opened, tmp_path)
    with safetensors.safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        told = file.metadata()
    assert {k: v for k, v in told.items() if k != "ckptmigrate"} == {"format": "pt", "note": "é"}


def test_a_templates_framework_goes_before_the_sources(tmp_path: Path) -> None:
    template = replace(table(tmp_path), metadata={"safetensors": {"format": "pt"}})
    write(table(tmp_path, w=np.ones(1)), tmp_path, WriteOptions(template=template))
    with safetensors.safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        assert file.metadata()["format"] == "pt"


def test_provenance_is_read_back(tmp_path: Path) -> None:
    write(table(tmp_path, w=np.ones(1)), tmp_path, WriteOptions(provenance={"tool": "x", "a": [1]}))
    assert FORMAT.read(tmp_path / "x.safetensors").metadata["provenance"] == {"tool": "x", "a": [1]}


def source_of(folder: Path, sizes: list[int], *, gap: int = 0) -> Checkpoint:
    """Variables that lie raw in one file, with gaps between them; reading them is an error."""

    def never() -> np.ndarray[Any, Any]:
        raise AssertionError("read by value")

    data = np.random.default_rng(0).integers(0, 255, sum(sizes) * 4 + gap * len(sizes), np.uint8)
    (folder / "raw").write_bytes(data.tobytes())
    variables, at = {}, 0
    for i, size in enumerate(sizes):
        name = f"v{len(sizes) - i}"  # the order of names is not that of the bytes
        extent = Extent(folder / "raw", at, size * 4)
        variables[name] = Variable(name, Tensor((size,), FLOAT32, never, (extent,)), name)
        at += size * 4 + gap
    return Checkpoint(folder, "tf1", variables)


@pytest.mark.parametrize(("gap", "calls"), [(0, 1), (4, 3)])
def test_raw_bytes_are_copied_neighbours_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gap: int, calls: int
) -> None:
    seen: list[int] = []
    copy = module.OutputFile.copy
    monkeypatch.setattr(module.OutputFile, "copy", lambda *a, **k: (seen.append(a[3]), copy(*a, **k))[1])
    told: list[int] = []
    source = source_of(tmp_path, [3, 5, 2], gap=gap)
    written = write(source, tmp_path, WriteOptions(on_bytes=told.append))
    assert len(seen) == calls
    assert sum(told) == sum(seen) == 40 == written.bytes_moved + written.bytes_cloned
    raw = (tmp_path / "raw").read_bytes()
    for name, array in safetensors.numpy.load_file(tmp_path / "x.safetensors").items():
        extent = source.variables[name].tensor.extents[0]
        assert array.tobytes() == raw[extent.offset : extent.offset + extent.nbytes]


def test_a_source_that_fails_while_it_is_copied_is_the_source(tmp_path: Path) -> None:
    source = source_of(tmp_path, [3, 5], gap=0)
    (tmp_path / "raw").unlink()
    with pytest.raises(SourceError, match="raw"):
        write(source, tmp_path)
    (tmp_path / "raw").symlink_to("/proc/self/mem")  # a regular file whose first bytes nobody may read
    (tmp_path / "x.safetensors").unlink()
    with pytest.raises(SourceError, match="can't be read"):
        write(source, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"big_endian": True},
        {"region": ((0, 3),)},
        {"nbytes": 8},
    ],
)
def test_bytes_that_lie_otherwise_go_by_value(tmp_path: Path, change: dict[str, Any]) -> None:
    values = np.arange(3, dtype=np.float32)
    (tmp_path / "raw").write_bytes(bytes(12))
    extent = replace(Extent(tmp_path / "raw", 0, 12), **change)
    tensor = Tensor((3,), FLOAT32, lambda: values, (extent,))
    write(Checkpoint(tmp_path, "tf1", {"w": Variable("w", tensor, "w")}), tmp_path)
    assert safetensors.numpy.load_file(tmp_path / "x.safetensors")["w"].tolist() == [0, 1, 2]


def test_a_source_that_ends_too_early(tmp_path: Path) -> None:
    source = source_of(tmp_path, [3])
    (tmp_path / "raw").write_bytes(bytes(7))
    with pytest.raises(DamagedError, match="12 bytes expected, 7 found"):
        write(source, tmp_path)


def test_an_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(table(tmp_path, w=np.ones(1)), tmp_path)
    assert (tmp_path / "x.safetensors").read_text() == "mine"


def test_a_header_past_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", 100)
    with pytest.raises(TargetError, match="allows 100"):
        write(table(tmp_path, w=np.ones(1)), tmp_path)
    assert not list(tmp_path.iterdir())


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def entry(**fields: Any) -> dict[str, Any]:
    return ENTRY | fields


WRONG: dict[str, tuple[Any, bytes, int | None, str]] = {
    "length past the end": (b"{}", b"", 1000, "1000 bytes expected, 2 found"),
    "length over the cap": (b"{}", b"", 100_000_001, "at most 100000000"),
    "length of 2**64-1": (b"{}", b"", (1 << 64) - 1, "at most 100000000"),
    "length 0": (b"", b"", 0, "not valid JSON"),
    "not UTF-8": (b'{"\xff":1}', b"", None, "not UTF-8"),
    "not an object": (b"[]", b"", None, "an object expected"),
    "a tensor twice": (
        b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}',
        bytes(8),
        None,
        "'w' stands twice",
    ),
    "NaN": (b'{"w":NaN}', b"", None, "NaN is no JSON number"),
    "deep JSON": (b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", None, "nested too deep"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", None, "a text expected, 1 found"),
    "metadata in a list": ({"__metadata__": ["a"]}, b"", None, "an object expected"),
    "an entry that is a text": ({"w": "F32"}, b"", None, r"\$\['w'\]: an object expected"),
    "an unknown field": ({"w": entry(more=1)}, bytes(8), None, "no other field"),
    "no offsets": ({"w": {"dtype": "F32", "shape": [0]}}, b"", None, "a list of 2"),
    "offsets of text": ({"w": entry(data_offsets=["0", "8"])}, bytes(8), None, "an integer"),
    "three offsets": ({"w": entry(data_offsets=[0, 4, 8])}, bytes(8), None, "a list of 2"),
    "backwards": ({"w": entry(data_offsets=[8, 0])}, bytes(8), None, "8 bytes for float32"),
    "negative": ({"w": entry(data_offsets=[-8, 0])}, bytes(8), None, "8 bytes for float32"),
    "too few bytes": ({"w": entry(data_offsets=[0, 4])}, bytes(4), None, r"8 bytes for float32 \[2\]"),
    "a product past 64 bits": ({"w": entry(shape=[1 << 40, 1 << 40])}, bytes(8), None, "fits into memory"),
    "a negative size": ({"w": entry(shape=[-2, -1])}, bytes(8), None, "sizes from 0"),
    "a rank of 300": ({"w": entry(shape=[1] * 299 + [2])}, bytes(8), None, "at most 32 dimensions"),
    "overlap": ({"a": ENTRY, "b": entry(data_offsets=[4, 12])}, bytes(12), None, "overlap: byte 8 expected, 4 found"),
    "the same place": ({"a": ENTRY, "b": ENTRY}, bytes(8), None, "overlap"),
    "a hole": ({"a": ENTRY, "b": entry(data_offsets=[12, 20])}, bytes(20), None, "hole: byte 8 expected, 12 found"),
    "a hole in front": ({"a": entry(data_offsets=[4, 12])}, bytes(12), None, "hole: byte 0 expected"),
    "bytes behind": ({"a": ENTRY}, bytes(9), None, "8 bytes of tensors expected, 9 found"),
    "truncated": ({"a": ENTRY}, bytes(7), None, "8 bytes of tensors expected, 7 found: truncated"),
    "a document that is none": ({"__metadata__": {"ckptmigrate": "{"}}, b"", None, "not valid JSON"),
    "a document of tensors that aren't there": (
        {"__metadata__": {"ckptmigrate": json.dumps({"ckptmigrate": 1, "variables": [
            {"name": "w", "member": "w", "dtype": "int8", "shape": []}]})}},
        b"", None, "names 'w', which the file doesn't hold",
    ),
    "a document of another shape": (
        {"__metadata__": {"ckptmigrate": json.dumps({"ckptmigrate": 1, "variables": [
            {"name": "w", "member": "w", "dtype": "float32", "shape": [1, 2]}]})}, "w": ENTRY},
        bytes(8), None, r"float32 \[1, 2\] by the document, float32 \[2\] in the file",
    ),
    "a document of another type": (
        {"__metadata__": {"ckptmigrate": json.dumps({"ckptmigrate": 1, "variables": [
            {"name": "w", "member": "w", "dtype": "int32", "shape": [2]}]})}, "w": ENTRY},
        bytes(8), None, "int32",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("header", "data", "length", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong(tmp_path: Path, header: Any, data: bytes, length: int | None, message: str) -> None:
    path = lay(tmp_path / "bad.safetensors", header, data, length)
    assert FORMAT.identify(path)
    with pytest.raises(DamagedError, match=message) as caught:
        FORMAT.read(path)
    assert str(path) in caught.value.where


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F8_E8M0", "F128", ""])
def test_types_we_lack_are_named(tmp_path: Path, dtype: str) -> None:
    path = lay(tmp_path / "a.safetensors", {"a": ENTRY, "b": entry(dtype=dtype, data_offsets=[8, 16])}, bytes(16))
    with pytest.raises(SourceError, match=f"'b': element type '{dtype}'") as caught:
        FORMAT.read(path)
    assert caught.value.hint


@pytest.mark.parametrize("size", range(8))
def test_shorter_than_its_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(size))
    with pytest.raises(DamagedError, match=f"8 bytes of header length expected, {size} found"):
        FORMAT.read(path)


def test_names_are_no_paths(tmp_path: Path) -> None:
    names = ["../../etc/x", "a\0b", "line\nbreak", "\u202ebidi", ""]
    header = {name: entry(data_offsets=[8 * i, 8 * i + 8]) for i, name in enumerate(names)}
    path = lay(tmp_path / "a.safetensors", header, bytes(40))
    assert list(FORMAT.read(path).variables) == names


def test_a_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    path = lay(tmp_path / "a.safetensors", {"w": ENTRY}, bytes(8))
    opened = FORMAT.read(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="8 bytes expected, 7 found"):
        opened.variables["w"].tensor.read()


def test_members_that_the_document_does_not_know(tmp_path: Path) -> None:
    write(table(tmp_path, w=np.ones(1)), tmp_path)
    with safetensors.safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        told = file.metadata()
    more = {"w": np.ones(1), "bn/moving_mean": np.zeros(2)}
    safetensors.numpy.save_file(more, tmp_path / "more.safetensors", metadata=told)
    opened = FORMAT.read(tmp_path / "more.safetensors")
    assert opened.variables["bn/moving_mean"].role == "bn_mean"
    assert [(i.kind, i.severity, i.name) for i in opened.issues] == [("undocumented", "warning", "bn/moving_mean")]


def strings_file(path: Path, data: bytes, offsets: list[int]) -> Path:
    variable = {"name": "s", "member": "s", "dtype": "string", "shape": [2]}
    document = json.dumps({"ckptmigrate": 1, "variables": [variable]})
    arrays = {"s": np.frombuffer(data, np.uint8), "s.offsets": np.array(offsets, np.int64)}
    safetensors.numpy.save_file(arrays, path, metadata={"ckptmigrate": document})
    return path


@pytest.mark.parametrize("offsets", [[0, 4, 2], [1, 2, 3], [0, 1, 4], [0, -1, 3], [0, 1 << 62, 3]])
def test_offsets_that_do_not_rise(tmp_path: Path, offsets: list[int]) -> None:
    path = strings_file(tmp_path / "s.safetensors", b"abc", offsets)
    with pytest.raises(DamagedError, match="offsets that rise from 0 to 3"):
        FORMAT.read(path).variables["s"].tensor.read()


def test_too_few_offsets(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"int64 \[3\] by the document, int64 \[2\]"):
        FORMAT.read(strings_file(tmp_path / "s.safetensors", b"abc", [0, 3]))


def sharded(folder: Path, weight_map: Any, **shards: list[str]) -> Path:
    for file, names in shards.items():
        safetensors.numpy.save_file({n: np.ones(2, np.float32) for n in names}, folder / f"{file}.safetensors")
    index = folder / "m.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b", "a\\b", "", ".", "..", "C:x", "a\0"])
def test_shards_never_lie_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(DamagedError, match="a file beside the index"):
        FORMAT.read(sharded(tmp_path, {"w": name}))


@pytest.mark.parametrize("weight_map", [None, [], {"w": 1}, "w"])
def test_wrong_weight_maps(tmp_path: Path, weight_map: Any) -> None:
    with pytest.raises(DamagedError, match="weight_map"):
        FORMAT.read(sharded(tmp_path, weight_map))


def test_a_missing_shard_is_an_error_that_does_not_hide_the_rest(tmp_path: Path) -> None:
    opened = FORMAT.read(sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}, **{"1": ["a"]}))
    assert list(opened.variables) == ["a"]
    (issue,) = opened.issues
    assert (issue.kind, issue.severity) == ("missing", "error")
    assert issue.where == str(tmp_path / "2.safetensors")


def test_a_pointer_in_place_of_a_shard(tmp_path: Path) -> None:
    index = sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}, **{"1": ["a"]})
    (tmp_path / "2.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    (issue,) = FORMAT.read(index).issues
    assert (issue.kind, issue.name) == ("missing", "b")
    assert "is a Git LFS pointer" in issue.message


def test_a_missing_shard_of_a_documented_file(rich: Checkpoint, tmp_path: Path) -> None:
    written = write(rich, tmp_path, WriteOptions(max_shard_bytes=100))
    (tmp_path / written.files[0]).unlink()
    with pytest.raises(SourceError, match="shards are missing"):
        FORMAT.read(tmp_path / written.commit)


def test_a_tensor_that_is_not_in_its_shard(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"'b' isn't in 1\.safetensors"):
        FORMAT.read(sharded(tmp_path, {"a": "1.safetensors", "b": "1.safetensors"}, **{"1": ["a"]}))


def test_a_tensor_that_the_index_does_not_list(tmp_path: Path) -> None:
    opened = FORMAT.read(sharded(tmp_path, {"a": "1.safetensors"}, **{"1": ["a", "b"]}))
    assert list(opened.variables) == ["a"]
    assert [(i.severity, i.name) for i in opened.issues] == [("warning", "b")]


def test_identify(tmp_path: Path) -> None:
    header = lay(tmp_path / "without_suffix", {"w": ENTRY}, bytes(8))
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    other = tmp_path / "text"
    other.write_text("some text that is long enough")
    assert [FORMAT.identify(p) for p in (header, pointer, other, tmp_path, tmp_path / "absent")] == [True] + [False] * 4


@pytest.mark.parametrize("slug", ["st-hf-float16", "st-hf-overall"])
def test_corpus(slug: str) -> None:
    truth = CORPUS / "truth" / f"{slug}.json"
    if not truth.is_file():
        pytest.skip("the corpus is not here")
    told = json.loads(truth.read_text("utf-8"))
    opened = FORMAT.read(CORPUS / slug / told["entry"])
    tensors = told["truth"]["tensors"]
    assert sorted(opened.variables) == sorted(tensors)
    assert opened.metadata["safetensors"] == told["truth"]["metadata"]
    for name, expected in tensors.items():
        tensor = opened.variables[name].tensor
        assert tensor.dtype.safetensors == expected["dtype"]
        assert list(tensor.shape) == expected["shape"]
        assert hashlib.sha256(tensor.read().tobytes()).hexdigest() == expected["sha256"]


RAW = [d for d in BY_NAME.values() if d.is_raw]
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@settings(max_examples=60)
@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(RAW), SHAPES), max_size=6), st.sampled_from([None, 1, 50]))
def test_any_table(tmp_path_factory: pytest.TempPathFactory, entries: Any, limit: int | None) -> None:
    folder = tmp_path_factory.mktemp("any")
    variables = {}
    for i, (name, (dtype, shape)) in enumerate(entries.items()):
        values = np.full(shape, i % 2, dtype.numpy)
        variables[name] = Variable(name, Tensor.of(values, dtype), name)
    written = write(Checkpoint(folder, "tf1", variables), folder, WriteOptions(max_shard_bytes=limit))
    back = FORMAT.read(folder / written.commit).variables
    assert list(back) == list(variables)
    for name, variable in variables.items():
        assert back[name].tensor == variable.tensor
        assert back[name].tensor.read().tobytes() == variable.tensor.read().tobytes()
    for file in written.files:
        if file.endswith(".safetensors"):
            safetensors.deserialize((folder / file).read_bytes())


@settings(max_examples=150)
@given(st.data())
def test_a_changed_byte_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("changed")
    write(table(folder, w=np.ones((2, 2), np.float32), b=np.zeros(3, np.int8)), folder)
    path = folder / "x.safetensors"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 9, 3]))])
    try:
        for variable in FORMAT.read(path).variables.values():
            variable.tensor.read()
    except CkptMigrateError as error:
        assert error.exit_code in (3, 4), error  # noqa: PT017 - both answers are fine
