"""HDF5 files that lead out of themselves, go in circles or promise too much: our error, nothing read or allocated."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hdf5 import lookup3

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.hdf5 import Place, read_tree
from ckptmigrate.wire.hdf5_attributes import texts

SECRET = b"not for reading "


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A file that `fill` has put something into."""

    def make(fill: Callable[[Any], object], **options: Any) -> Path:
        path = tmp_path / "made.h5"
        with h5py.File(path, "w", **options) as file:
            fill(file)
        return path

    return make


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Another file, which nothing may open."""
    path = tmp_path / "beside.bin"
    path.write_bytes(SECRET)
    return path


def read_all(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: dataset.read() for name, dataset in read_tree(Place(path)).datasets.items()}


def external_storage(file: Any, other: Path) -> None:
    file.create_dataset("w", (16,), "u1", external=[(str(other), 0, 16)])


def virtual(file: Any, other: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "w", (4,))
    file.create_virtual_dataset("w", layout)


def external_link(file: Any, other: Path) -> None:
    file["w"] = h5py.ExternalLink(str(other), "/w")


@pytest.mark.parametrize("fill", [external_storage, virtual, external_link])
def test_what_leads_out_of_the_file_is_refused(fill, made, beside):
    path = made(lambda file: fill(file, beside))
    with pytest.raises(DamagedError, match=r"not read|not followed") as error:
        read_all(path)
    assert "'w'" in error.value.where


def soft_loop(file: Any) -> None:
    file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")


def hard_cycle(file: Any) -> None:
    inner = file.create_group("a/b")
    inner["c"] = file["a"]


def root_cycle(file: Any) -> None:
    inner = file.create_group("a")
    inner["up"] = file["/"]


def chain(file: Any) -> None:
    """Two links to each of 40 groups: 2^40 paths."""
    last = file
    for number in range(40):
        last = last.create_group(f"g{number}")
        last.parent["again"] = last


@pytest.mark.parametrize("fill", [soft_loop, hard_cycle, root_cycle, chain])
def test_what_goes_in_circles_is_refused(fill, made):
    with pytest.raises(DamagedError):
        read_all(made(fill))


def shape_bomb(file: Any) -> None:
    file.create_dataset("w", (1 << 18, 1 << 16), "f4", chunks=(64, 64), compression="gzip")


def empty_bomb(file: Any) -> None:
    file.create_dataset("w", (1 << 40,), "f4")


def filter_bomb(file: Any) -> None:
    """Zeros, packed twice: a million times smaller."""
    data = file.create_dataset("w", (1 << 26,), "u1", chunks=(1 << 26,), compression="gzip")
    data.id.write_direct_chunk((0,), b"x" * 100)


def piece_bomb(file: Any) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1 << 29,))
    space = h5py.h5s.create_simple((4,), (h5py.h5s.UNLIMITED,))
    h5py.h5d.create(file.id, b"w", h5py.h5t.NATIVE_FLOAT, space, plist)


def attribute_bomb(file: Any) -> None:
    file.attrs["names"] = np.array(["x" * 40] * 4, dtype=h5py.string_dtype())


def grow_strings(path: Path) -> None:
    """Every string of the attribute now says that it is 4 GiB long."""
    data = path.read_bytes()
    mark = struct.pack("<I", 40)
    at = data.find(mark)
    while at >= 0:
        data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
        at = data.find(mark, at + 4)
    path.write_bytes(data)


@pytest.mark.parametrize("fill", [shape_bomb, empty_bomb, filter_bomb, piece_bomb, attribute_bomb])
def test_bombs_are_refused_and_take_no_memory(fill, made):
    path = made(fill)
    if fill is attribute_bomb:
        grow_strings(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedError):
        read_all(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 96 << 10  # KiB


def test_filters_that_are_plugins_are_not_loaded(made):
    def fill(file: Any) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(file.id, b"w", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), plist)

    with pytest.raises(SourceError, match="plugin"):
        read_all(made(fill))


def test_references_and_records_are_no_tensors(made):
    def fill(file: Any) -> None:
        file["r"] = np.array([file.ref], dtype=h5py.ref_dtype)
        file["c"] = np.zeros(2, [("a", "f4"), ("b", "i4")])

    tree = read_tree(Place(made(fill)))
    assert {name: d.dtype for name, d in tree.datasets.items()} == {"r": None, "c": None}
    with pytest.raises(SourceError, match="isn't supported"):
        tree.datasets["r"].read()


KINDS = {
    "little": np.arange(6, dtype="<f4").reshape(2, 3),
    "big": np.arange(6, dtype=">f8").reshape(2, 3),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.arange(3, dtype=np.float16),
    "flags": np.array([True, False]),
}


def test_every_layout_reads_as_h5py_reads_it(made):
    def fill(file: Any) -> None:
        for name, values in KINDS.items():
            file[name] = values
            if values.size > 1:
                file.create_dataset(f"packed_{name}", data=values, compression="gzip", shuffle=True)
        file.create_dataset("compact", data=np.arange(3, dtype="<i2"), dcpl=_compact())
        file["strings"] = np.array(["a", "", "b\u2603"], dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"a", b"bc"])

    path = made(fill, userblock_size=512)
    read = read_all(path)
    with h5py.File(path) as file:
        for name, values in read.items():
            expected = file[name][()]
            assert values.tolist() == expected.tolist(), name
            assert values.dtype == expected.dtype.newbyteorder("=") or values.dtype == object, name
    raw = {name: d.raw for name, d in read_tree(Place(path)).datasets.items()}
    assert raw["big"] is not None
    assert raw["big"].is_big_endian
    assert {name for name, at in raw.items() if at} == set(KINDS) - {"empty"}


def _compact() -> Any:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    return plist


def test_a_file_inside_another_one(made, tmp_path):
    inner = made(lambda file: file.create_dataset("g/w", data=np.arange(5, dtype=np.float32))).read_bytes()
    outer = tmp_path / "outer.zip"
    outer.write_bytes(b"before" + inner + b"after")
    dataset = read_tree(Place(outer, 6, len(inner))).datasets["g/w"]
    assert dataset.read().tolist() == [0, 1, 2, 3, 4]
    assert outer.read_bytes()[dataset.raw.offset :][:20] == np.arange(5, dtype=np.float32).tobytes()
    with pytest.raises(DamagedError, match="truncated"):
        read_tree(Place(outer, 6, len(inner) + 6))


def test_attributes_in_every_form(made):
    def fill(file: Any) -> None:
        file.attrs["bytes"], file.attrs["str"] = b"a", "\u2603"
        file.attrs["fixed"], file.attrs["words"] = np.array([b"a", b"bc"]), ["a", "bc"]
        file.attrs["none"], file.attrs["number"] = [], 3
        file.attrs["names0"], file.attrs["names1"] = [b"a"], [b"b", b"c"]
        file.attrs["ref"] = file.ref

    attributes = read_tree(Place(made(fill))).groups[""]
    assert (attributes["bytes"], attributes["str"], attributes["number"]) == ("a", "\u2603", 3)
    assert [texts(attributes, n) for n in ("fixed", "words", "none")] == [("a", "bc"), ("a", "bc"), ()]
    assert texts(attributes, "names") == ("a", "b", "c")
    assert texts(attributes, "others") is None
    assert "ref" not in attributes


def test_attributes_beyond_the_header(made):
    """Ten of 60,000 bytes, in dense storage."""

    def fill(file: Any) -> None:
        for number in range(10):
            file.attrs[f"long{number}"] = np.array([b"x" * 60_000])

    attributes = read_tree(Place(made(fill, libver="latest"))).groups[""]
    assert texts(attributes, "long") == ("x" * 60_000,) * 10


@pytest.mark.parametrize("path", ["nothing.h5", "."])
def test_no_file(path, tmp_path):
    with pytest.raises(SourceError):
        read_tree(Place(tmp_path / path))


@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + b"\0" * 4000, b"PK\x03\x04"])
def test_no_hdf5(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DamagedError, match="not an HDF5 file"):
        read_tree(Place(tmp_path / "x"))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, (1 << 64) - 16), (1, (1 << 64) - 4096), (1, 1 << 40)], ids=str)
@pytest.mark.parametrize("length", [40, 6000])
def test_a_heap_of_strings_without_end(made, length, index, size):
    """HDF5 itself never comes back from an object of no size, nor from one that it rounds up to none, or to less.

    What lies beyond the first 4096 bytes it reads by itself.
    """

    def fill(file: Any) -> None:
        file.attrs["name"] = "x" * length

    path = made(fill)
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    kept = min(length, 4800)
    struct.pack_into("<Q", data, first + 8, kept)
    struct.pack_into("<H6xQ", data, first + 16 + kept, index, size)
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="of its heap") as error:
        read_tree(Place(path))
    assert str(path) in error.value.where


def many(file: Any) -> None:
    """Groups and attributes so many that later versions of HDF5 keep them in heaps with trees."""
    for number in range(40):
        file.create_group(f"g{number}")
        file.attrs[f"a{number}"] = number


def test_heaps_and_trees_of_later_versions(made):
    tree = read_tree(Place(made(many, libver="latest")))
    assert set(tree.groups) == {"", *(f"g{n}" for n in range(40))}
    assert tree.groups[""] == {f"a{n}": n for n in range(40)}


# Fields that HDF5 1.14 takes on trust behind a right checksum, and then frees or writes what isn't its own.
BELIEVED = {
    "size of nodes": (b"BTHD", 34, 6, "<I", 0),
    "size of records": (b"BTHD", 34, 10, "<H", 200),
    "depth": (b"BTHD", 34, 12, "<H", 60000),
    "records in the root": (b"BTHD", 34, 24, "<H", 50000),
    "type": (b"BTHD", 34, 5, "<B", 0),
    "width of the table": (b"FRHP", 142, 110, "<H", 0),
    "first block": (b"FRHP", 142, 112, "<Q", 1 << 40),
    "largest block": (b"FRHP", 142, 120, "<Q", 3),
    "bits": (b"FRHP", 142, 128, "<H", 999),
    "rows": (b"FRHP", 142, 140, "<H", 60000),
    "filters": (b"FRHP", 142, 7, "<H", 40),
}


@pytest.mark.parametrize("field", BELIEVED)
def test_trees_and_heaps_that_cannot_be(field, made):
    signature, end, at, form, value = BELIEVED[field]
    path = made(many, libver="latest")
    data = bytearray(path.read_bytes())
    start = data.index(signature)
    struct.pack_into(form, data, start + at, value)
    struct.pack_into("<I", data, start + end, lookup3(bytes(data[start : start + end])))
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"of type|of .* rows") as error:
        read_tree(Place(path))
    assert f"byte {start}" in error.value.where


def test_a_dataset_without_elements(made):
    path = made(lambda file: file.create_dataset("x", data=h5py.Empty("f4")))
    with pytest.raises(DamagedError, match="no elements"):
        read_tree(Place(path)).datasets["x"].read()


def test_names_that_are_no_utf8(made):
    def fill(file):
        file.create_dataset(b"p\xe7cked", data=np.arange(9.0), compression="gzip")
        file.create_dataset(b"t\xe7xt", data=[b"a", b"\xff"], dtype=h5py.string_dtype())

    values = read_all(made(fill))
    assert [name.encode("utf-8", "surrogateescape") for name in values] == [b"p\xe7cked", b"t\xe7xt"]
    packed, text = values.values()
    assert (packed.tolist(), text.tolist()) == ([*range(9)], [b"a", b"\xff"])
