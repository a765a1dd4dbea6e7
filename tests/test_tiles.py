"""Tiles: the elements are numpy's own, whatever shape, strides and type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ckptmigrate import tiles
from ckptmigrate.dtypes import BY_NAME

TYPES = st.sampled_from([np.dtype(t) for t in ("f4", ">f4", "f2", "u1", "?", "i8", "c8", "c16", "S3", "O")])


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """Arrays transposed, cut, with steps, turned round, of no elements and of no dimensions."""
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9))
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(draw(TYPES))
    values = values.transpose(draw(st.permutations(range(len(shape)))))
    index = draw(arrays.basic_indices(values.shape, allow_ellipsis=False))
    return values[(*index, ...) if isinstance(index, tuple) else (index, ...)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a few elements are a hostile array in several pieces of several tiles."""
    for name, value in {"PIECE_BYTES": 100, "_RUN": 24, "_SMALL": 1, "_PAGES": 2, "_WAYS": 1, "_PERIOD": 64}.items():
        monkeypatch.setattr(tiles, name, value)


@settings(max_examples=400)
@given(views())
def test_elements_are_numpys(array: np.ndarray) -> None:
    expected = np.ascontiguousarray(array).reshape(array.shape)
    for found in (tiles.contiguous(array), tiles.reshaped(array, (-1, *array.shape) if array.size else array.shape)):
        assert found.dtype == array.dtype
        assert found.reshape(array.shape).tolist() == expected.tolist()
    assert tiles.contiguous(array).flags.c_contiguous
    if array.dtype != object:
        found = list(map(bytes, tiles.pieces(array)))
        assert b"".join(found) == expected.tobytes()
        assert all(len(piece) <= max(100, array.itemsize) for piece in found)
        swapped = array.dtype.newbyteorder()
        assert b"".join(map(bytes, tiles.pieces(array, swapped))) == expected.astype(swapped).tobytes()


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4"])
def test_types_that_numpy_lacks(name: str) -> None:
    array = np.arange(6 * 7).reshape(6, 7).astype(BY_NAME[name].numpy).T
    assert b"".join(map(bytes, tiles.pieces(array))) == array.tobytes()
    assert tiles.contiguous(array).tobytes() == array.tobytes()


def test_an_ordered_array_is_not_copied() -> None:
    array = np.zeros((8, 64))
    assert tiles.contiguous(array) is array
    assert all(np.shares_memory(piece, array) for piece in tiles.pieces(array))


def test_one_row_larger_than_a_piece_is_cut_within() -> None:
    array = np.arange(2 * 90, dtype=np.uint8).reshape(90, 2).T
    assert [len(piece) for piece in tiles.pieces(array)] == [90, 90]
    assert [len(piece) for piece in tiles.pieces(np.zeros((1, 250), np.uint8))] == [100, 100, 50]
