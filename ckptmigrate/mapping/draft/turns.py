"""Turns: the operations that make one shape of another: axes of length 1 left out or put in, and kernels turned.

Keras and TensorFlow keep kernels as (space..., in, out), PyTorch as (out, in, space...).
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.mapping.draft.rows import Extents

Operations = tuple[str, ...]  # as a mapping writes them

# By rank: to PyTorch's order, and back; of depthwise kernels (height, width, in, 1) to (in, 1, height, width), and back
_TURNS: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((1, 0),),
    3: ((2, 1, 0),),
    4: ((3, 2, 0, 1), (2, 3, 1, 0), (2, 3, 0, 1)),
    5: ((4, 3, 0, 1, 2), (2, 3, 4, 1, 0)),
}


def turns(source: Extents, target: Extents, *, is_turned: bool) -> list[Operations]:
    """Every way to make one shape of the other; several where the shape alone doesn't tell.

    Args:
        source, target: The shapes.
        is_turned: Whether one side keeps its kernels the other way round.

    >>> turns((1, 1, 8, 9), (8, 9), is_turned=False), turns((8, 8), (8, 8), is_turned=True)
    ([('squeeze: [0, 1]',)], [(), ('transpose: [1, 0]',)])
    """
    found: list[Operations] = []
    if len(source) > len(target):
        axes = [axis for axis, extent in enumerate(source) if extent == 1][: len(source) - len(target)]
        if len(axes) == len(source) - len(target):
            less = tuple(extent for axis, extent in enumerate(source) if axis not in axes)
            found = [(f"squeeze: {axes}", *turn) for turn in _turned(less, target, is_turned)]
    elif len(source) < len(target):
        axes = [axis for axis, extent in enumerate(target) if extent == 1][: len(target) - len(source)]
        if len(axes) == len(target) - len(source):
            less = tuple(extent for axis, extent in enumerate(target) if axis not in axes)
            found = [(*turn, f"expand_dims: {axes}") for turn in _turned(source, less, is_turned)]
    else:
        found = list(_turned(source, target, is_turned))
    return found


def _turned(source: Extents, target: Extents, is_turned: bool) -> Iterator[Operations]:
    if source == target:
        yield ()
    for axes in _TURNS.get(len(source), ()) if is_turned else ():
        if tuple(source[axis] for axis in axes) == target:
            yield (f"transpose: {list(axes)}",)
