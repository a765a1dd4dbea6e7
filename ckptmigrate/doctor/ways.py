"""Ways on: how many of the missing variables each known way would bring, and the commands for those that bring some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from ckptmigrate.doctor.comparison import Comparison
from ckptmigrate.doctor.matching import offset
from ckptmigrate.doctor.nearest import moved_scope
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.mapping import library
from ckptmigrate.mapping.assign import assign_identity
from ckptmigrate.mapping.assignment import Assignment
from ckptmigrate.mapping.names import systems
from ckptmigrate.mapping.rules import Mapping

_NO_WAY = "write down which is which in a mapping (mappings/README.md); --drop leaves one out"


class Way(NamedTuple):
    """What to type, and the missing variables that it brings."""

    text: str
    brought: Set[str]


def ways_on(comparison: Comparison) -> list[Way]:
    """How the missing variables can be had: from another root, and by the conversion that brings most of them."""
    missing = frozenset(comparison.missing)
    if not missing:
        return []
    conversions = [Way(text, reached & missing) for text, reached in _conversions(comparison)]
    best = max(conversions, key=lambda way: len(way.brought))
    ways = [Way(text, reached & missing) for text, reached in _by_root(comparison)] + [best]
    return sorted((way for way in ways if way.brought), key=lambda way: -len(way.brought))


def told(ways: Sequence[Way], total: int) -> str:
    """The ways as a hint; what else to do where there is none."""
    return "\n".join(f"{len(way.brought):,} of {total:,}: {way.text}" for way in ways) or _NO_WAY


def _conversions(comparison: Comparison) -> Iterator[tuple[str, Set[str]]]:
    """(command, targets that it reaches), the simplest first."""
    case, other = comparison.case, comparison.other
    template = ("--template", case.given_against)
    yield case.convert(*template, to=other.format), _reached(lambda: assign_identity(case.checkpoint, other))
    for system in sorted(systems(case.checkpoint) - {"name", "key"}):
        reached = _reached(lambda s=system: assign_identity(case.checkpoint, other, names=s))  # type: ignore[misc]
        yield case.convert(*template, "--names", system, to=other.format), reached
    yield from _by_library(comparison)
    yield from _by_scope(comparison)


def _by_root(comparison: Comparison) -> Iterator[tuple[str, Set[str]]]:
    """Object-based files whose roots stand for different things: tf.train.Checkpoint can be told so."""
    here, there = comparison.case.checkpoint.structure.objects, comparison.other.structure.objects
    found = offset(here, there) if here is not None and there is not None else None
    if found is not None:
        what = f"what is {found.there} there" if found.there else "the root there"
        text = f"tf.train.Checkpoint({found.here or 'root'}=OBJECT).restore({str(comparison.case.checkpoint.path)!r})"
        yield f"{text}, OBJECT being {what}", {v.name for v in comparison.wanted.values() if v.key in found.keys}


def _by_library(comparison: Comparison) -> Iterator[tuple[str, Set[str]]]:
    case, other = comparison.case, comparison.other
    try:
        name = library.auto(case.checkpoint)
    except CkptMigrateError:
        return
    options = ("--template", case.given_against, "--mapping", name)
    yield case.convert(*options, to=other.format), _reached(lambda: Mapping.load(name).assign(case.checkpoint, other))


def _by_scope(comparison: Comparison) -> Iterator[tuple[str, Set[str]]]:
    """Names that differ by what leads them, and by nothing else."""
    scopes = moved_scope(comparison.nearest)
    if scopes is None:
        return
    there, here = scopes
    case = comparison.case
    command = case.convert("--template", case.given_against, "--mapping", "m.yaml", to=comparison.other.format)
    rule = f'"{here}{{x:path}}": "{there}{{x:path}}"'
    yield f"{command}\nwith m.yaml:\n  ckptmigrate: 1\n  unmatched: keep\n  rename:\n    {rule}", {*comparison.nearest}


def _reached(assigned: Callable[[], Assignment]) -> Set[str]:
    """The targets that an assignment writes; none where it can't be made."""
    try:
        assignment = assigned()
    except CkptMigrateError:
        return frozenset()
    return frozenset(target for move in assignment.moves for target in move.targets)
