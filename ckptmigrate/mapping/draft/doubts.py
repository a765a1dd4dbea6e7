"""Doubts: who a variable that is not proven could be, and why that is not certain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ckptmigrate.mapping.draft.guesses import Kind, KindOf
from ckptmigrate.mapping.draft.rows import Row

ALIKE_SHAPES = "their shapes are equal, nothing tells which is which"
OTHER_VALUES = "other variables of the two files hold equal values, these and theirs differ"
OTHER_SHAPE = "the same name leads to another shape"


class Doubt(NamedTuple):
    """Who a variable could be, and why that is not certain; nobody, and "", where nothing is like it."""

    candidates: tuple[Row, ...]
    why: str


class Candidates:
    """The rows of the target that are left, by what a row of the source may share with them."""

    def __init__(self, left: Sequence[Row], kind_of: KindOf) -> None:
        """Kinds end with what is known of values; rows are found with and without it."""
        self._kind_of = kind_of
        kinds: dict[Kind, list[Row]] = defaultdict(list)
        self._named: dict[str, list[Row]] = defaultdict(list)
        for row in left:
            kind = kind_of(row)
            kinds[kind].append(row)
            kinds[kind[:-1]].append(row)
            for name in row.all_names():
                self._named[name].append(row)
        self._alike = {kind: tuple(rows) for kind, rows in kinds.items()}  # made once: thousands may share thousands

    def doubt(self, row: Row) -> Doubt:
        """What is known of a row that nothing proves."""
        kind = self._kind_of(row)
        if found := self._alike.get(kind):
            return Doubt(found, ALIKE_SHAPES)
        namesakes = tuple(dict.fromkeys(other for name in row.all_names() for other in self._named.get(name, ())))
        if found := self._alike.get(kind[:-1]):
            same = tuple(other for other in namesakes if self._kind_of(other)[:-1] == kind[:-1])
            return Doubt(same or found, OTHER_VALUES)
        return Doubt(namesakes, OTHER_SHAPE if namesakes else "")
