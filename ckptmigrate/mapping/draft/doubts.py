"""Doubts: who a variable that is not proven could be, and why that is not certain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

from ckptmigrate.mapping.draft.guesses import Kind, KindOf
from ckptmigrate.mapping.draft.rows import UNKNOWN, Extents, Row, leaf_of

ALIKE_SHAPES = "their shapes are equal, nothing tells which is which"
OTHER_VALUES = "other variables of the two files hold equal values, these and theirs differ"
OTHER_SHAPE = "the same name leads to another shape"
SAME_SIZE = "as many numbers; where the shapes differ, `do: [reshape: ...]` may make one of the other"


class Doubt(NamedTuple):
    """Who a variable could be, and why that is not certain; nobody, and "", where nothing is like it."""

    candidates: tuple[Row, ...]
    why: str


class Candidates:
    """The rows of the target that are left, by what a row of the source may share with them."""

    def __init__(self, near: Sequence[Row], left: Sequence[Row], kind_of: KindOf) -> None:
        """Kinds end with what is known of values; rows are found with and without it."""
        self._kind_of = kind_of
        self._asking = Counter(map(kind_of, near))
        kinds: dict[Kind, list[Row]] = defaultdict(list)
        self._named: dict[str, list[Row]] = defaultdict(list)
        self._sized: dict[tuple[bool, int], list[Row]] = defaultdict(list)
        self._regrouped: dict[tuple[bool, Extents, bool], tuple[Row, ...]] = {}
        for row in left:
            kind = kind_of(row)
            kinds[kind].append(row)
            kinds[kind[:-1]].append(row)
            for name in row.all_names():
                self._named[name].append(row)
            self._sized[_size(row)].append(row)
        self._alike = {kind: tuple(rows) for kind, rows in kinds.items()}  # made once: thousands may share thousands

    def doubt(self, row: Row) -> Doubt:
        """What is known of a row that nothing proves."""
        kind = self._kind_of(row)
        if found := self._alike.get(kind):
            return Doubt(self._enough(row, found), ALIKE_SHAPES)
        namesakes = tuple(dict.fromkeys(other for name in row.all_names() for other in self._named.get(name, ())))
        if found := self._alike.get(kind[:-1]):
            same = tuple(other for other in namesakes if self._kind_of(other)[:-1] == kind[:-1])
            return Doubt(same or found, OTHER_VALUES)
        if namesakes:
            return Doubt(namesakes, OTHER_SHAPE)
        found = self._of_same_size(row)
        return Doubt(found, SAME_SIZE if found else "")

    def _enough(self, row: Row, found: tuple[Row, ...]) -> tuple[Row, ...]:
        """With those in other shapes, where there are fewer alike than could be one of them."""
        is_enough = self._asking[self._kind_of(row)] <= len(found)
        return found if is_enough else tuple(dict.fromkeys((*found, *self._of_same_size(row))))

    def _of_same_size(self, row: Row) -> tuple[Row, ...]:
        size, key = _size(row), (row.variable.tensor.dtype.is_float, row.extents, row.role == UNKNOWN)
        if key not in self._regrouped:
            self._regrouped[key] = tuple(other for other in self._sized.get(size, ()) if _is_regrouped(row, other))
        return self._regrouped[key]


def _size(row: Row) -> tuple[bool, int]:
    return row.variable.tensor.dtype.is_float, row.variable.tensor.size


def _is_regrouped(one: Row, other: Row) -> bool:
    """Whether neighbouring axes of the one, taken together, are the axes of the other, as with heads of attention."""
    if one.extents == other.extents:
        return UNKNOWN in (one.role, other.role)
    if 1 in (len(one.extents), len(other.extents)) and leaf_of(one.name) != leaf_of(other.name):
        return False  # a bias becomes a bias
    ends = [set(accumulate(row.extents, mul)) for row in (one, other)]
    return ends[0] <= ends[1] or ends[1] <= ends[0]
