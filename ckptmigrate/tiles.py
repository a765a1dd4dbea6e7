"""Arrays laid out in C order, tile by tile where numpy's own way is slow: transposes whose strides no cache can hold.

numpy copies element by element in the order of the result. A transposed source then gives one element of each cache
line before it comes back for the next, and where too many other lines came in between, it is fetched again for each.
Strides of large powers of two make that far worse, since few sets of the cache take all those lines. A tile reads whole
lines into a small buffer, whose own rows are no power of two apart, and writes whole lines out of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PIECE_BYTES = 64 << 20  # what `pieces` holds at a time: enough rows of a large transposed tensor for whole lines

_LINE = 64  # bytes of a cache line
_RUN = 1024  # bytes that a tile has in a row, in the source as in the result
_SMALL = 1 << 20  # bytes that the caches take whole

# A small second-level cache: 512 KiB, 16 lines at each place that addresses share that are 32 KiB apart.
_WAYS = 16
_PERIOD = 1 << 15
_PAGES = 2048  # and the pages whose addresses are at hand (TLB)


def contiguous(array: Array) -> Array:
    """The same elements in C order: the array itself where it is so already, else a copy.

    Args:
        array: Of any shape, strides and dtype.
    """
    if not _is_hostile(array):
        return np.asarray(array, order="C")
    ordered = np.empty(array.shape, array.dtype)
    _copy_tiles(ordered, array)
    return ordered


def reshaped(array: Array, shape: Sequence[int]) -> Array:
    """The elements in another shape: a view where numpy gives one at once, and no slow copy where it can't."""
    return (contiguous(array) if _is_hostile(array) else array).reshape(shape)


def pieces(array: Array, dtype: np.dtype[Any] | None = None) -> Iterator[Array]:
    """The bytes of an array in C order, as flat uint8 arrays of at most PIECE_BYTES, each good until the next is taken.

    A transposed array never exists whole. Arrays of one shape and element size are cut alike.

    Args:
        array: Of any shape and strides; no objects.
        dtype: The type to give, where only its byte order differs from the array's.
    """
    dtype = dtype or array.dtype
    room = np.empty(0, np.uint8)
    for cut in _cuts(array.shape, array.itemsize):
        part = array[cut]
        if not part.flags.c_contiguous or part.dtype != dtype:
            room = room if part.nbytes <= room.nbytes else np.empty(part.nbytes, np.uint8)
            ordered = room[: part.nbytes].view(dtype).reshape(part.shape)
            if _is_hostile(part):
                _copy_tiles(ordered, part)
            else:
                ordered[...] = part
            part = ordered
        yield part.reshape(-1).view(np.uint8)


def _cuts(shape: Sequence[int], itemsize: int) -> Iterator[tuple[Any, ...]]:
    """Where to cut: leading axes one by one until what is behind them fits, then as many rows as fit.

    >>> list(_cuts((1 << 40, 0), 4))
    []
    """
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) and math.prod(shape[axis + 1 :]) * itemsize > PIECE_BYTES:
        axis += 1
    if axis == len(shape):
        yield from ((*index, ...) for index in np.ndindex(*shape))
        return
    rows = PIECE_BYTES // max(1, math.prod(shape[axis + 1 :]) * itemsize)
    for index in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], rows):
            yield (*index, slice(start, start + rows), ...)


def _is_hostile(array: Array) -> bool:
    """Whether a line of the source leaves the cache before numpy comes back for its next element."""
    if array.nbytes < _SMALL or array.dtype.hasobject:
        return False
    wide = [axis for axis, size in enumerate(array.shape) if size > 1]
    near = min(wide, key=lambda axis: abs(array.strides[axis]), default=array.ndim)  # the axis that lines lie along
    between = math.prod(array.shape[near + 1 :])
    apart = math.gcd(_PERIOD, *(array.strides[axis] for axis in wide if axis > near))
    return bool(between > min(_PAGES, _WAYS * _PERIOD // max(apart, _LINE)))


def _copy_tiles(target: Array, source: Array) -> None:
    """Copies into a C-ordered array of the same shape."""
    tile = [1] * source.ndim
    in_source_order = sorted(range(source.ndim), key=lambda axis: -abs(source.strides[axis]))
    _widen(tile, range(source.ndim)[::-1], source)
    row = math.prod(tile[axis] for axis in _widen(tile, in_source_order[::-1], source))
    padded = np.empty((math.prod(tile) // row, row + _LINE // source.itemsize), source.dtype)[:, :row]
    buffer = padded.reshape([tile[axis] for axis in in_source_order]).transpose(np.argsort(in_source_order))
    for starts in product(*(range(0, size, step) for size, step in zip(source.shape, tile, strict=True))):
        place = tuple(slice(start, start + step) for start, step in zip(starts, tile, strict=True))
        part = source[place]
        held = buffer[tuple(map(slice, part.shape))]
        held[...] = part
        target[place] = held


def _widen(tile: list[int], axes: Sequence[int], array: Array) -> list[int]:
    """Makes a tile wide enough for runs of _RUN bytes along the nearest axes; gives those axes."""
    width, used = array.itemsize, []
    for axis in axes:
        if width >= _RUN:
            break
        tile[axis] = max(tile[axis], min(array.shape[axis], -(-_RUN // width)))
        width *= tile[axis]
        used.append(axis)
    return used
