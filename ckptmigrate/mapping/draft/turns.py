"""Turns: the operations that make one shape of another: axes of length 1 left out or put in, and kernels turned.

Keras and TensorFlow keep kernels as (space..., in, out), PyTorch as (out, in, space...).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ckptmigrate.mapping.draft.rows import Extents

Operations = tuple[str, ...]  # as a mapping writes them
Way = Literal["", "to PyTorch", "from PyTorch"]

# By rank; the second of rank 4 are depthwise kernels, (height, width, in, 1) and (in, 1, height, width)
_TURNS: dict[tuple[Way, int], tuple[tuple[int, ...], ...]] = {
    ("to PyTorch", 2): ((1, 0),),
    ("to PyTorch", 3): ((2, 1, 0),),
    ("to PyTorch", 4): ((3, 2, 0, 1), (2, 3, 0, 1)),
    ("to PyTorch", 5): ((4, 3, 0, 1, 2),),
    ("from PyTorch", 2): ((1, 0),),
    ("from PyTorch", 3): ((2, 1, 0),),
    ("from PyTorch", 4): ((2, 3, 1, 0), (2, 3, 0, 1)),
    ("from PyTorch", 5): ((2, 3, 4, 1, 0),),
}


def turns(source: Extents, target: Extents, way: Way = "") -> list[Operations]:
    """Every way to make one shape of the other; several where the shape alone doesn't tell.

    Args:
        source, target: The shapes.
        way: Whether only the target, or only the source, keeps kernels as PyTorch does.

    >>> turns((1, 1, 8, 9), (8, 9)), turns((8, 8), (8, 8), "to PyTorch")
    ([('squeeze: [0, 1]',)], [(), ('transpose: [1, 0]',)])
    """
    if len(source) == len(target):
        return list(_turned(source, target, way))
    longer = max(source, target, key=len)
    axes = [axis for axis, extent in enumerate(longer) if extent == 1][: abs(len(source) - len(target))]
    less = tuple(extent for axis, extent in enumerate(longer) if axis not in axes)
    if longer is source:
        return [(f"squeeze: {axes}", *turn) for turn in _turned(less, target, way)]
    return [(*turn, f"expand_dims: {axes}") for turn in _turned(source, less, way)]


def _turned(source: Extents, target: Extents, way: Way) -> Iterator[Operations]:
    if source == target:
        yield ()
    for axes in _TURNS.get((way, len(source)), ()):
        if tuple(source[axis] for axis in axes) == target:
            yield (f"transpose: {list(axes)}",)
