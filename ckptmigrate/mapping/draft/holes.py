"""Holes: which numbers of one family of names become which of another, as a rule with holes says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

MAX_TRIED = 200  # numbers that are tried in one place

Numbers = tuple[int, ...]


class Term(NamedTuple):
    """A number of the target's name: that of a hole of the source, plus one; or one that is always the same.

    Attributes:
        hole: Which of the source's holes, or None.
        plus: What is added to it, or the number itself.
    """

    hole: int | None
    plus: int

    def value(self, numbers: Numbers) -> int:
        return self.plus if self.hole is None else numbers[self.hole] + self.plus


Terms = tuple[Term, ...]


def fits(sources: Mapping[Numbers, Hashable], targets: Mapping[Numbers, Hashable]) -> Iterator[Terms]:
    """Every way in which all sources become targets, no two the same one; an order is kept, never turned round.

    Args:
        sources, targets: The numbers in the names of both families, and what must be equal on the two sides.
    """
    kinds = list(sources.values())
    wanted = set(kinds)
    there = {numbers: kind for numbers, kind in targets.items() if kind in wanted}
    width = len(next(iter(targets)))
    heads: list[dict[Numbers, set[Hashable]]] = [defaultdict(set) for _ in range(width)]
    for numbers, kind in there.items():
        for column in range(width):
            heads[column][numbers[: column + 1]].add(kind)
    values = [sorted(set(column)) for column in zip(*there, strict=True)]
    spans = [(min(column), max(column)) for column in zip(*sources, strict=True)]

    def extend(terms: Terms, made: list[Numbers]) -> Iterator[Terms]:
        column = len(terms)
        if column == width:
            if len(set(made)) == len(made):
                yield terms
            return
        for term in _terms(spans, values[column]):
            more = []
            for numbers, head, kind in zip(sources, made, kinds, strict=True):
                longer = (*head, term.value(numbers))
                if kind not in heads[column].get(longer, ()):
                    break
                more.append(longer)
            else:
                yield from extend((*terms, term), more)

    if there:
        yield from extend((), [()] * len(sources))


def _terms(spans: Sequence[tuple[int, int]], values: Sequence[int]) -> Iterator[Term]:
    """What a number of the target may be, given the least and the greatest of each hole."""
    for hole, (least, greatest) in enumerate(spans):
        for plus in range(values[0] - least, values[-1] - greatest + 1)[:MAX_TRIED]:
            yield Term(hole, plus)
    for value in values[:MAX_TRIED] if spans else values:
        yield Term(None, value)


def terms_of(pairs: Sequence[tuple[Numbers, Numbers]]) -> Terms | None:
    """The one reading of pairs as a rule; None where there is none."""
    terms = []
    for column, values in enumerate(zip(*(target for _, target in pairs), strict=True)):
        term = Term(None, values[0]) if len(set(values)) == 1 else None
        for hole in range(len(pairs[0][0])):
            offsets = {target[column] - source[hole] for source, target in pairs}
            if term is None and len(offsets) == 1:
                term = Term(hole, offsets.pop())
        if term is None:
            return None
        terms.append(term)
    return tuple(terms)
