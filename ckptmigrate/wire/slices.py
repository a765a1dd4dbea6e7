"""Parts of partitioned tensors: their regions, the keys they are stored under, and how they cover a tensor.

Keys are OrderedCode (tensorflow/core/lib/strings/ordered_code.cc) of name and region, put together by
tensorflow/core/util/saved_tensor_slice_util.cc, `EncodeTensorNameSlice`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

Region = tuple[tuple[int, int], ...]
"""(start, length) per dimension; length -1 is the whole dimension."""

_ESCAPES = {b"\0": b"\0\xff", b"\xff": b"\xff\0"}
_END = b"\0\x01"

# Parts lie along one axis, or on a grid of as many cells. Only hostile ones draw finer grids than this.
_MAX_CELLS = 1 << 24


def slice_key(name: bytes, region: Region) -> bytes:
    """The key a part is stored under. The region goes in as the file spells it: a whole dimension given as -1 stays so.

    >>> slice_key(b"part/w", ((0, 2), (0, -1))).hex(" ")
    '00 70 61 72 74 2f 77 00 01 01 02 80 82 80 7f'
    """
    dims = b"".join(_signed(start) + _signed(length) for start, length in region)
    escaped = re.sub(rb"[\0\xff]", lambda found: _ESCAPES[found[0]], name)
    return b"\0" + escaped + _END + _unsigned(len(region)) + dims


def _unsigned(value: int) -> bytes:
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def _signed(value: int) -> bytes:
    """OrderedCode of a signed number: n bytes start with n one-bits and hold 7n - 1 bits; negatives are complements."""
    magnitude = ~value if value < 0 else value
    size = magnitude.bit_length() // 7 + 1
    code = (magnitude | ((1 << size) - 1) << 7 * size).to_bytes(size, "big")
    return bytes(byte ^ 0xFF for byte in code) if value < 0 else code


def concrete(region: Region, shape: Sequence[int]) -> Region | None:
    """The region with whole dimensions spelled out; None when it doesn't fit into the shape.

    >>> concrete(((2, 2), (0, -1)), (4, 3)), concrete(((2, 3), (0, -1)), (4, 3))
    (((2, 2), (0, 3)), None)
    """
    if len(region) != len(shape):
        return None
    spelled = tuple((0, dim) if extent == (0, -1) else extent for extent, dim in zip(region, shape, strict=True))
    fits = all(
        start >= 0 and length >= 0 and start + length <= dim
        for (start, length), dim in zip(spelled, shape, strict=True)
    )
    return spelled if fits else None


def index_of(region: Region) -> tuple[slice, ...]:
    """The numpy index of a concrete region."""
    return tuple(slice(start, start + length) for start, length in region)


def coverage_fault(regions: Sequence[Region], shape: Sequence[int]) -> str:
    """How concrete regions fail to cover each element once: "" when they don't, else what is wrong.

    Works on the grid that the regions' own edges draw.

    >>> coverage_fault([((0, 2), (0, 3)), ((2, 2), (0, 3))], (4, 3))
    ''
    >>> coverage_fault([((0, 3), (0, 3)), ((2, 2), (0, 3))], (4, 3))
    'part 1 overlaps another'
    """
    ends = [[0, dim] + [at for r in regions for at in (r[i][0], sum(r[i]))] for i, dim in enumerate(shape)]
    edges: list[np.ndarray[Any, Any]] = [np.unique(np.array(axis, np.int64)) for axis in ends]
    cells = math.prod(len(axis) - 1 for axis in edges)
    if cells > _MAX_CELLS:
        return f"the {len(regions)} parts cut it into {cells} pieces"
    taken = np.zeros([len(axis) - 1 for axis in edges], bool)
    for number, region in enumerate(regions):
        piece = tuple(
            slice(*np.searchsorted(axis, (start, start + length)))
            for axis, (start, length) in zip(edges, region, strict=True)
        )
        if taken[piece].any():
            return f"part {number} overlaps another"
        taken[piece] = True
    missing = int(taken.size - taken.sum())
    return f"the {len(regions)} parts leave a gap" if missing else ""
