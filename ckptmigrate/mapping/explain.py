"""Explain: which rule takes a name, with which values, what it becomes, and which rules lost."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field

from ckptmigrate.mapping.check import static_matcher
from ckptmigrate.mapping.match import Match
from ckptmigrate.mapping.rules import Mapping, Rule


@dataclass(frozen=True, slots=True)
class Loser:
    """A rule that fits too, and why it doesn't take the name."""

    where: str
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a mapping does with one name, in one direction.

    Attributes:
        name: The name.
        reverse: True when the rules are used backwards.
        where, text: The rule that takes it; "" when none does.
        holes: What its holes stand for.
        becomes: The names it leads to, for a group the group's; () for a drop.
        operations: As reports show them.
        also_takes: The other names of its group.
        lost: The rules that fit too.
        problem: Why nothing takes it, or why the rule can't be used; "" otherwise.
    """

    name: str
    reverse: bool
    where: str = ""
    text: str = ""
    holes: MappingType[str, str] = field(default_factory=dict)
    becomes: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    also_takes: tuple[str, ...] = ()
    lost: tuple[Loser, ...] = ()
    problem: str = ""


def explain(mapping: Mapping, name: str, *, reverse: bool = False) -> Explanation:
    """What a mapping does with a name, without a checkpoint: ranks are the numbers themselves.

    Args:
        mapping: The mapping.
        name: A source name; backwards a target name.
        reverse: Use the rules backwards.
    """
    matcher = static_matcher(mapping, reverse=reverse)
    taken = matcher.take([name])
    winner = taken.winner
    if winner is None:
        lost = tuple(_loser(mapping, match, None) for match in _one_per_rule(taken.matches))
        return Explanation(name, reverse, lost=lost, problem=taken.problem or "no rule fits it")
    rule = winner.rule
    near, far = (rule.targets, rule.sources) if reverse else (rule.sources, rule.targets)
    becomes: tuple[str, ...] = ()
    problem = rule.one_way if reverse else ""
    if not problem and rule.kind == "move":
        try:
            becomes = tuple(pattern.render(winner.binding) for pattern in far)
        except ValueError as error:
            problem = str(error)
    group = [pattern.render(winner.binding) for member, pattern in enumerate(near) if member != winner.member]
    return Explanation(
        name,
        reverse,
        rule.where,
        str(rule),
        {hole: near[winner.member].show(hole, value) for hole, value in sorted(winner.binding.items())},
        becomes,
        tuple(str(operation) for operation in rule.operations),
        tuple(group),
        tuple(_loser(mapping, match, rule) for match in _one_per_rule(taken.matches) if match.rule is not rule),
        problem,
    )


def explain_both(mapping: Mapping, name: str) -> list[Explanation]:
    """Both directions, those in which a rule fits first; forward alone when none does in either."""
    found = [explain(mapping, name, reverse=reverse) for reverse in (False, True)]
    return [e for e in found if e.where or e.lost] or found[:1]


def _one_per_rule(matches: tuple[Match, ...]) -> list[Match]:
    return list({match.rule: match for match in matches}.values())


def _loser(mapping: Mapping, match: Match, winner: Rule | None) -> Loser:
    rule = match.rule
    if winner is None:
        why = "it isn't the only reading"
    elif winner.file in mapping.above[rule.file]:
        why = "the including file's rule wins"
    elif winner.first:
        why = "the other comes first and says `first: true`"
    else:
        why = "a pattern without holes wins"
    return Loser(rule.where, str(rule), why)
