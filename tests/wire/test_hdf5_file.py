"""Written HDF5 files are what h5py reads, whichever way the bytes went."""

from __future__ import annotations

from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckptmigrate.errors import OutputError
from ckptmigrate.wire.hdf5 import Place, read_tree
from ckptmigrate.wire.hdf5_attributes import texts
from ckptmigrate.wire.hdf5_file import Source, write_hdf5


def source(values: np.ndarray, **rest: object) -> Source:
    return Source(values.shape, values.dtype, lambda: values, **rest)  # type: ignore[arg-type]


@pytest.fixture
def raw(tmp_path: Path) -> Source:
    """Large enough to be copied; loading it would be a mistake."""
    values = np.arange(90_000, dtype=np.float32).reshape(300, 300)
    (tmp_path / "raw").write_bytes(b"12345" + values.tobytes())

    def load() -> np.ndarray:
        raise AssertionError("loaded")

    return Source(values.shape, values.dtype, load, raw=(tmp_path / "raw", 5))


def test_h5py_reads_what_was_written(raw: Source, tmp_path: Path) -> None:
    told: list[int] = []
    datasets = {"a/vars/0": raw, "a/vars/1": source(np.array(3, np.int64)), "b": source(np.zeros((0, 2), np.float16))}
    moved, cloned = write_hdf5(
        tmp_path / "x.h5", {"a/vars": {"name": "ä"}, "": {"r": "1"}}, datasets, on_bytes=told.append
    )
    assert moved + cloned == sum(told) == 360_008
    with h5py.File(tmp_path / "x.h5") as file:
        assert (file.attrs["r"], file["a/vars"].attrs["name"]) == ("1", "ä")
        assert file["a/vars/0"][()].tolist() == np.arange(90_000).reshape(300, 300).tolist()
        assert (file["a/vars/1"][()], file["a/vars/1"].dtype) == (3, np.int64)
        assert file["b"].shape == (0, 2)


def test_types_that_hdf5_lacks(tmp_path: Path) -> None:
    values = np.arange(40_000).astype(ml_dtypes.bfloat16)
    (tmp_path / "raw").write_bytes(values.tobytes())
    datasets = {
        "small": source(values[:3], named="bfloat16"),
        "copied": source(values, named="bfloat16", raw=(tmp_path / "raw", 0)),
    }
    write_hdf5(tmp_path / "x.h5", {}, datasets)
    with h5py.File(tmp_path / "x.h5") as file:
        assert {(d.dtype.str, d.attrs["dtype"]) for d in file.values()} == {("|V2", "bfloat16")}
    found = read_tree(Place(tmp_path / "x.h5")).datasets
    assert found["copied"].read().tobytes() == values.tobytes()
    assert found["small"].read().dtype == ml_dtypes.bfloat16


def test_long_lists_of_texts_are_cut(tmp_path: Path) -> None:
    names = [f"layer_{i}/kernel" for i in range(9000)]
    write_hdf5(tmp_path / "x.h5", {"g": {"names": names, "none": []}}, {})
    attributes = read_tree(Place(tmp_path / "x.h5")).groups["g"]
    assert texts(attributes, "names") == tuple(names)
    assert set(attributes) == {"names0", "names1", "names2", "none"}
    assert attributes["none"] == ()


def test_same_input_same_bytes(raw: Source, tmp_path: Path) -> None:
    for name in ("x.h5", "y.h5"):
        texts = source(np.array([b"t"], object))
        write_hdf5(tmp_path / name, {"g": {"name": "n"}}, {"g/0": raw, "g/1": source(np.ones(3)), "g/2": texts})
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()
    with h5py.File(tmp_path / "x.h5") as file:
        assert [h5py.h5g.get_objinfo(file.id, f"g/{number}".encode()).mtime for number in range(3)] == [0, 0, 0]


def test_a_full_place(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"")
    with pytest.raises(OutputError, match="can't be written"):
        write_hdf5(tmp_path / "x.h5", {}, {})


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    name, values = b"p\xe7".decode("utf-8", "surrogateescape"), np.array([b"a", b"\xff"], object)
    datasets = {f"{name}/0": source(np.ones(2)), f"{name}/1": source(values)}
    write_hdf5(tmp_path / "x.h5", {name: {"name": name, "names": (name,)}}, datasets)
    found = read_tree(Place(tmp_path / "x.h5"))
    assert found.groups[name] == {"name": name, "names": (name,)}
    assert {path: dataset.read().tolist() for path, dataset in found.datasets.items()} == {
        f"{name}/0": [1.0, 1.0],
        f"{name}/1": [b"a", b"\xff"],
    }
