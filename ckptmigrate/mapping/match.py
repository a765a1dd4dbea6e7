"""Match: which rules fit which variables of one side, and which of them takes each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.pattern import Binding, Pattern, Positions
from ckptmigrate.mapping.rules import Rule

Member = tuple[Rule, int, Pattern]  # a rule, the position of one of its patterns, and that pattern


class Match(NamedTuple):
    """One way in which a variable fits a rule.

    Attributes:
        rule, member: The rule, and which of its patterns.
        name: The name by which it fits.
        binding: The values of the holes.
    """

    rule: Rule
    member: int
    name: str
    binding: Binding


class Taken(NamedTuple):
    """What became of one variable.

    Attributes:
        matches: Every match that came into question.
        winner: The one that takes it; None when none does.
        lost: Matches of rules that the winner overrides.
        problem, hint: Why nothing takes it although something fits, and what would settle it; "" otherwise.
    """

    matches: tuple[Match, ...]
    winner: Match | None = None
    lost: tuple[Match, ...] = ()
    problem: str = ""
    hint: str = ""


class _Index:
    """Members of rules by the literal text that their pattern begins with."""

    def __init__(self) -> None:
        self._members: dict[str, list[Member]] = defaultdict(list)
        self._lengths: list[int] = []

    def add(self, prefix: str, member: Member) -> None:
        self._members[prefix].append(member)
        self._lengths = sorted({*self._lengths, len(prefix)})

    def at(self, name: str, start: int) -> Iterator[Member]:
        """Those whose text stands in a name at some position."""
        for length in self._lengths:
            if length > len(name) - start:
                return
            yield from self._members.get(name[start : start + length], ())


class Matcher:
    """The patterns that speak of one side, found by the literal text that names must begin with.

    Args:
        rules: In order of precedence.
        above: Per file, those that include it.
        positions: The numbers that ranks are counted in.
        reverse: Match the patterns of `to`.
        exists: Backwards with a template: whether it has what a match leads to.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        above: Sequence[frozenset[int]],
        positions: Positions | None = None,
        *,
        reverse: bool = False,
        exists: Callable[[Match], bool] | None = None,
    ) -> None:
        self.above = above
        self.positions = positions
        self.reverse = reverse
        self.exists = exists
        self._order = {rule: number for number, rule in enumerate(rules)}
        self._whole = _Index()
        self._endings = _Index()
        self._separators: set[str] = set()
        for rule in rules:
            for member, pattern in enumerate(rule.targets if reverse else rule.sources):
                if pattern.has_leading:
                    self._endings.add(pattern.ending_prefix, (rule, member, pattern))
                    self._separators.add(pattern.separator)
                else:
                    self._whole.add(pattern.prefix, (rule, member, pattern))

    def candidates(self, name: str) -> Iterator[Member]:
        """Members of rules whose pattern may fit a name."""
        yield from self._whole.at(name, 0)
        if self._separators:
            starts = [0, *(i + 1 for i, c in enumerate(name) if c in self._separators)]
            yield from dict.fromkeys(member for start in starts for member in self._endings.at(name, start))

    def matches(self, names: Iterable[str], rank: int | None = None) -> list[Match]:
        """Every way in which a variable that goes by these names fits a rule, equal bindings once."""
        found: list[Match] = []
        for name in names:
            for rule, member, pattern in self.candidates(name):
                if self._has_rank(rule, rank):
                    for binding in pattern.bindings(name, self.positions):
                        match = Match(rule, member, name, binding)
                        if not any(_is_same(match, other) for other in found):
                            found.append(match)
        return found

    def take(self, names: Iterable[str], rank: int | None = None) -> Taken:
        """The one match that takes a variable.

        Args:
            names: Everything it goes by.
            rank: Of its tensor, or None where that isn't known.
        """
        matches = self.matches(names, rank)
        left = matches
        if self.exists and len(matches) > 1:
            left = [match for match in matches if self.exists(match)] or matches
        rules = self._winners(list(dict.fromkeys(match.rule for match in left)))
        if len(rules) > 1:
            both = " and ".join(f"{rule.where} ({rule})" for rule in rules[:2])
            hint = "say `first: true` in the first of them, under `rules`; or make one of them narrower"
            return Taken(tuple(matches), problem=f"two rules fit: {both}", hint=hint)
        if not rules:
            return Taken(())
        winning = [match for match in left if match.rule is rules[0]]
        lost = tuple(match for match in left if match.rule is not rules[0])
        if len(winning) > 1 and (rules[0].kind != "drop" or winning[0].name == winning[1].name):
            problem, hint = _two_ways(winning[0], winning[1])
            return Taken(tuple(matches), problem=problem, hint=hint)
        return Taken(tuple(matches), winning[0], lost)

    def _has_rank(self, rule: Rule, rank: int | None) -> bool:
        """Whether the tensor has the rank a rule is limited to; backwards only asked of rules without operations."""
        return rule.rank is None or rank is None or (self.reverse and bool(rule.operations)) or rank == rule.rank

    def _winners(self, rules: list[Rule]) -> list[Rule]:
        """The rules that no other overrides: one, if the mapping decides."""
        rules = [r for r in rules if not any(other.file in self.above[r.file] for other in rules)]
        literal = [r for r in rules if any(p.is_literal for p in (r.targets if self.reverse else r.sources))]
        rules = sorted(literal or rules, key=self._order.__getitem__)
        return rules[:1] if rules and rules[0].first else rules


def _is_same(match: Match, other: Match) -> bool:
    return match.rule is other.rule and match.member == other.member and match.binding == other.binding


def _two_ways(first: Match, second: Match) -> tuple[str, str]:
    """What to say of a rule that fits in two ways, and what would settle it."""
    if first.member != second.member:
        return f"it fits two patterns of one rule ({first.rule})", ""
    if first.name != second.name:
        problem = f"its names {first.name} and {second.name} fill the holes of {first.rule} differently"
        return problem, "`names: SYSTEM`, or --names, says which system of names is meant"
    hint = "kinds and ranges make a hole narrower: {x:int}, {x:1..4}, {x:TABLE}"
    return f"{first.rule} fits in two ways: {_values(first)}, or {_values(second)}", hint


def _values(match: Match) -> str:
    pattern = (match.rule.sources or match.rule.targets)[0]
    return ", ".join(f"{name} = {pattern.show(name, value)}" for name, value in sorted(match.binding.items()))


def overrides(taken: Iterable[tuple[str, Taken]]) -> list[Issue]:
    """A note for each pair of rules of which one overrides the other, with the number of variables."""
    counts: dict[tuple[Rule, Rule], list[str]] = defaultdict(list)
    for name, outcome in taken:
        for rule in dict.fromkeys(match.rule for match in outcome.lost):
            if outcome.winner:
                counts[outcome.winner.rule, rule].append(name)
    return [
        Issue(
            "override",
            "note",
            names[0],
            f"{winner.where} overrides {loser.where} for {len(names)} variable{'s' * (len(names) > 1)}",
            where=winner.where,
        )
        for (winner, loser), names in counts.items()
    ]


Groups = Mapping[tuple[Rule, tuple[tuple[str, object], ...]], Mapping[int, list[str]]]


def groups(taken: Iterable[tuple[str, Taken]]) -> Groups:
    """Variables by rule and equal values of holes, then by which of the rule's patterns they fit."""
    found: dict[tuple[Rule, tuple[tuple[str, object], ...]], dict[int, list[str]]] = {}
    for name, outcome in taken:
        if outcome.winner:
            match = outcome.winner
            key = (match.rule, tuple(sorted(match.binding.items())))
            found.setdefault(key, {}).setdefault(match.member, []).append(name)
    return found
