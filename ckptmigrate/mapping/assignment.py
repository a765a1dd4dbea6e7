"""Assignment: what becomes of every variable of both sides; values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.operations import Operation
from ckptmigrate.mapping.rules import FillValue


@dataclass(frozen=True, slots=True)
class Move:
    """Source variables that become target variables through a rule's operations.

    Attributes:
        sources: Names of source variables, in the order in which the rule lists them.
        targets: Names of the template's variables, or the rendered names where there is no template.
        operations: As the rule lists them; backwards they are undone from the last to the first.
        where: file:line of the rule; empty for variables that keep their name.
        reverse: True when the rule is used backwards: `sources` are then what its `to` says.
        renamed: Target -> system -> concrete name, for template names with holes.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    operations: tuple[Operation, ...] = ()
    where: str = ""
    reverse: bool = False
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """A source variable that is left out, and why.

    Attributes:
        expected: The value it must hold for nothing to be lost: that of a fill rule used backwards; else None.
    """

    source: str
    why: str
    where: str = ""
    expected: FillValue | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """A target variable that gets a value from no source.

    Attributes:
        like: Name of the source variable whose shape it takes where no template tells.
        shape: Its shape where neither a template nor `like` tells.
        replaces: The source variable in whose place it stands: its role, its place in lists, its slots; "" for none.
    """

    target: str
    value: FillValue
    like: str | None = None
    shape: tuple[int, ...] | None = None
    where: str = ""
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What becomes of every variable of both sides.

    Attributes:
        followers: Source variables of role counter, metric, rng or iterator that no rule names.
        unmatched: Source variables that nothing takes.
        unfilled: Template variables that nothing writes.
        findings: Everything noticed; an error for each of `unmatched` and `unfilled` is among them.
    """

    moves: tuple[Move, ...] = ()
    drops: tuple[Drop, ...] = ()
    fills: tuple[Fill, ...] = ()
    followers: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()
    findings: tuple[Issue, ...] = ()
