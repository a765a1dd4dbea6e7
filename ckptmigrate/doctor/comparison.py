"""Comparison: a checkpoint and another one, by what a program that saves the other would restore."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ckptmigrate.doctor.case import Case
from ckptmigrate.doctor.matching import Matching
from ckptmigrate.doctor.nearest import nearest
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, Variable


def counts(variable: Variable) -> bool:
    """Whether its loss is one: a weight, a statistic or a table; a step counter, too."""
    return variable.role in LOSSY_ROLES or (variable.role == "counter" and variable.name != "save_counter")


@dataclass(frozen=True)
class Comparison:
    """The two checkpoints, and what is restored of them.

    Attributes:
        case: What is examined; `against` is there.
        other: The checkpoint of the program that restores.
        matching: What it takes.
    """

    case: Case
    other: Checkpoint
    matching: Matching

    @cached_property
    def wanted(self) -> dict[str, Variable]:
        """The other's variables that count: all whose loss is one, and step counters."""
        return {n: v for n, v in self.other.variables.items() if counts(v)}

    @cached_property
    def missing(self) -> list[str]:
        """Those of them that nothing restores."""
        return [name for name, variable in self.wanted.items() if variable.key not in self.matching.keys]

    @cached_property
    def unused(self) -> list[str]:
        """This checkpoint's variables that nobody takes."""
        taken = set(self.matching.keys.values())
        return [n for n, v in self.case.checkpoint.variables.items() if counts(v) and v.key not in taken]

    @cached_property
    def pairs(self) -> list[tuple[Variable, Variable]]:
        """(here, there) of what is restored."""
        here = {variable.key: variable for variable in self.case.checkpoint.variables.values()}
        found = ((here.get(self.matching.keys.get(v.key, "")), v) for v in self.wanted.values())
        return [(near, far) for near, far in found if near is not None]

    @cached_property
    def nearest(self) -> dict[str, str]:
        """Missing name -> the name of what nobody takes that it may stand under."""
        here = self.case.checkpoint.variables
        return nearest({n: self.wanted[n] for n in self.missing}, {n: here[n] for n in self.unused})
