"""Values: which variables hold the same numbers on both sides, whatever the order these lie in.

Every tensor is read once, one at a time; two that hold the same numbers are then read together, to find the operations
that make one of the other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.mapping.draft.rows import Row
from ckptmigrate.mapping.draft.turns import Operations

CHUNK = 1 << 20  # elements that are mixed at a time
MIN_DIFFERENT = 3  # different numbers in a tensor that can't be told from many others
MAX_RANK = 5

_Values = np.ndarray[Any, Any]


class Print(NamedTuple):
    """What tells a tensor's numbers from others.

    Attributes:
        elements: The same for any order of the elements.
        order: Of the elements as they lie.
        is_telling: False for zeros, ones and the like, which many variables hold.
    """

    elements: tuple[str, int, int]
    order: bytes
    is_telling: bool


def prints(rows: Sequence[Row]) -> dict[Row, Print]:
    """The prints of the tensors that have values to compare."""
    return {row: _print(row) for row in rows if row.variable.tensor.dtype.is_raw and row.variable.tensor.has_values}


def speak(near: Mapping[Row, Print], far: Mapping[Row, Print]) -> bool:
    """Whether the two sides are copies of one model, if only in part, so that other values may be other variables.

    Integers don't say so: tables of positions are equal in all models.
    """
    there = {one.elements for one in far.values()}
    return any(
        one.is_telling and row.variable.tensor.dtype.is_float and one.elements in there for row, one in near.items()
    )


def equal_values(near: Mapping[Row, Print], far: Mapping[Row, Print]) -> dict[Row, Row]:
    """Pairs that hold the same numbers, which nobody else holds."""
    counts = Counter(one.elements for one in near.values())
    there = Counter(one.elements for one in far.values())
    owner = {one.elements: row for row, one in far.items()}
    return {
        row: owner[one.elements]
        for row, one in near.items()
        if one.is_telling and counts[one.elements] == there[one.elements] == 1
    }


def operations(row: Row, other: Row, known: Mapping[Row, Print]) -> Operations | None:
    """What makes one tensor of another that holds the same numbers; None where no turn of its axes, or several, do."""
    if known[row].order == known[other].order:
        return _reshaped(row.shape, other.shape)
    if not 1 < len(row.extents) <= MAX_RANK:
        return None
    wanted = other.extents
    values = row.variable.tensor.read().reshape(row.extents)
    target = _raw(other.variable.tensor.read().reshape(wanted))
    fitting = [
        axes
        for axes in permutations(range(len(row.extents)))
        if tuple(row.extents[axis] for axis in axes) == wanted and np.array_equal(_raw(values.transpose(axes)), target)
    ]
    return _transposed(row.shape, other.shape, fitting[0]) if len(fitting) == 1 else None


def _print(row: Row) -> Print:
    values = _bits(row)
    total = 0
    for start in range(0, values.size, CHUNK):
        total = (total + int(_mixed(values[start : start + CHUNK]).sum(dtype=np.uint64))) % (1 << 64)
    order = hashlib.blake2b(values.data, digest_size=16).digest()
    return Print((row.variable.tensor.dtype.name, values.size, total), order, _is_telling(values))


def _bits(row: Row) -> _Values:
    """The elements as unsigned integers, one axis."""
    values: _Values = np.ascontiguousarray(row.variable.tensor.read()).reshape(-1)
    width = values.dtype.itemsize
    return values.view(f"u{width}") if width in (1, 2, 4, 8) else values.view(np.uint8)


def _mixed(bits: _Values) -> _Values:
    """Each element, mixed so that sums of them tell (the finaliser of splitmix64)."""
    mixed: _Values = bits.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _is_telling(bits: _Values) -> bool:
    """Whether there are enough different elements."""
    seen: list[Any] = []
    for start in range(0, bits.size, CHUNK):
        others = bits[start : start + CHUNK]
        for known in seen:
            others = others[others != known]
        while others.size:
            seen.append(others[0])
            if len(seen) >= MIN_DIFFERENT:
                return True
            others = others[others != others[0]]
    return False


def _raw(values: _Values) -> _Values:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _reshaped(source: tuple[int, ...], target: tuple[int, ...]) -> Operations:
    if source == target:
        return ()
    ones = [axis for axis, extent in enumerate(source) if extent == 1]
    if tuple(extent for extent in source if extent != 1) == target:
        return (f"squeeze: {ones}",)
    if source == tuple(extent for extent in target if extent != 1):
        return (f"expand_dims: {[axis for axis, extent in enumerate(target) if extent == 1]}",)
    return (f"reshape: {{to: {list(target)}, from: {list(source)}}}",)


def _transposed(source: tuple[int, ...], target: tuple[int, ...], axes: tuple[int, ...]) -> Operations:
    """A permutation of the axes that aren't of length 1, with those put where they fit."""
    left = [axis for axis, extent in enumerate(source) if extent != 1]
    ones = [axis for axis, extent in enumerate(source) if extent == 1]
    if len(source) == len(target):
        moved, rest = iter(left[axis] for axis in axes), iter(ones)
        return (f"transpose: {[next(rest) if extent == 1 else next(moved) for extent in target]}",)
    found: list[str] = [f"squeeze: {ones}"] * bool(ones) + [f"transpose: {list(axes)}"]
    added = [axis for axis, extent in enumerate(target) if extent == 1]
    return (*found, *[f"expand_dims: {added}"] * bool(added))
