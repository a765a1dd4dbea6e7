"""Holes: which numbers of one family of names become which of another, as a rule with holes says it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
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


class Places:
    """The numbers in the names of one family, and what stands there.

    Args:
        kinds: Numbers -> what must be equal for something to become what stands there.
    """

    def __init__(self, kinds: Mapping[Numbers, Hashable]) -> None:
        self.by_kind: dict[Hashable, list[Numbers]] = defaultdict(list)
        self._heads: list[dict[Numbers, Counter[Hashable]]] = [defaultdict(Counter) for _ in next(iter(kinds))]
        for numbers, kind in kinds.items():
            self.by_kind[kind].append(numbers)
            for column, head in enumerate(self._heads):
                head[numbers[: column + 1]][kind] += 1
        self._values = [sorted(set(column)) for column in zip(*kinds, strict=True)]

    def ways(self, sources: Mapping[Numbers, Hashable]) -> Iterator[Terms]:
        """Every way in which all sources come to places, no two to the same; an order is kept, never turned round."""
        if len(sources) == 1:
            for numbers in self.by_kind[next(iter(sources.values()))]:
                yield tuple(Term(None, number) for number in numbers)
            return
        yield from self._extended((), [((), *source) for source in sources.items()], _spans(sources))

    def _extended(
        self, terms: Terms, made: list[tuple[Numbers, Numbers, Hashable]], spans: Mapping[int, tuple[int, int]]
    ) -> Iterator[Terms]:
        """The ways that begin with these terms, which have made the first number of each: (made, numbers, kind)."""
        column = len(terms)
        if column == len(self._heads):
            yield terms
            return
        for term in _terms(spans, self._values[column]):
            more = [((*head, term.value(numbers)), numbers, kind) for head, numbers, kind in made]
            if self._has_room(column, more):
                yield from self._extended((*terms, term), more, spans)

    def _has_room(self, column: int, made: Iterable[tuple[Numbers, Numbers, Hashable]]) -> bool:
        """Whether behind the first numbers there are enough places of each kind."""
        heads = self._heads[column]
        taken: Counter[tuple[Numbers, Hashable]] = Counter()
        for head, _, kind in made:
            taken[head, kind] += 1
            if head not in heads or taken[head, kind] > heads[head][kind]:
                return False
        return True


def _spans(sources: Iterable[Numbers]) -> dict[int, tuple[int, int]]:
    """The least and the greatest number in each hole; of holes that move together, in the first."""
    found: dict[Numbers, tuple[int, tuple[int, int]]] = {}
    for hole, column in enumerate(zip(*sources, strict=True)):
        moves = tuple(number - min(column) for number in column)
        found.setdefault(moves, (hole, (min(column), max(column))))
    return dict(found.values())


def _terms(spans: Mapping[int, tuple[int, int]], values: Sequence[int]) -> Iterator[Term]:
    """What a number of the target may be, given the least and the greatest of each hole."""
    for hole, (least, greatest) in spans.items():
        for plus in range(values[0] - least, values[-1] - greatest + 1)[:MAX_TRIED]:
            yield Term(hole, plus)
    for value in values[:MAX_TRIED]:
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
