"""Assign: which source variable goes where, decided by names alone."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.mapping import flags
from ckptmigrate.mapping.assignment import Assignment, Drop, Fill, Move
from ckptmigrate.mapping.match import Matcher, Taken, overrides
from ckptmigrate.mapping.names import Names, systems
from ckptmigrate.mapping.operations import Operation
from ckptmigrate.mapping.rules import Mapping, Side
from ckptmigrate.mapping.run import Run
from ckptmigrate.table import Checkpoint, Variable


def assign(
    mapping: Mapping,
    source: Checkpoint,
    template: Checkpoint | None,
    *,
    reverse: bool = False,
    names: str = "",
    drop: Sequence[str] = (),
    reinit: Sequence[str] = (),
) -> Assignment:
    """What a mapping makes of a checkpoint; see `Mapping.assign`."""
    near, far = (mapping.target, mapping.source) if reverse else (mapping.source, mapping.target)
    sides = _sides(source, template, names, near, far)
    run = Run(*sides, reverse)
    left = flags.drop(run, drop)
    exists = run.exists if template else None
    matcher = Matcher(mapping.rules, mapping.above, run.source.positions, reverse=reverse, exists=exists)
    taken = [(v.name, matcher.take([n for _, n in run.source.of[v.name]], _rank(v))) for v in left]
    run.move(taken)
    run.leave(mapping, taken)
    run.fill(mapping.rules)
    flags.reinit(run, reinit)
    run.finish()
    run.findings += overrides(taken)
    run.findings += _unused(mapping, taken, run)
    return run.assignment()


def assign_identity(
    source: Checkpoint,
    template: Checkpoint | None,
    *,
    names: str = "",
    drop: Sequence[str] = (),
    reinit: Sequence[str] = (),
) -> Assignment:
    """An assignment without a mapping: every variable keeps its name.

    Without a template the target's name is the source's, or the one it has in the system `names`. With a template it is
    the one template variable that goes by any of the source variable's names (see `pairing`).

    Raises:
        UsageError: No variable has a name in the system `names`.
    """
    run = Run(*_sides(source, template, names, Side(), Side()), False)
    run.keep_all(flags.drop(run, drop), names)
    flags.reinit(run, reinit)
    run.finish()
    return run.assignment()


def _sides(
    source: Checkpoint, template: Checkpoint | None, names: str, near: Side, far: Side
) -> tuple[Names, Names | None]:
    """The names of both sides, in the systems asked for."""
    known = systems(source) | (systems(template) if template else set())
    if names and names not in known:
        raise UsageError(
            f"no variable has a name in the system {names!r}", hint=f"there are {', '.join(sorted(known))}"
        )
    found = []
    for checkpoint, side in ((source, near), (template, far)):
        if checkpoint is None:
            continue
        here = systems(checkpoint)
        system = names if names in here else side.names
        if system and system not in here:
            message = f"the mapping speaks of {system}s, which no variable here has ({', '.join(sorted(here))})"
            raise MappingError(message, where=str(checkpoint.path))
        found.append(Names(checkpoint, system, side.separator))
    return found[0], found[1] if template else None


def _rank(variable: Variable) -> int | None:
    return None if variable.tensor.is_open else len(variable.tensor.shape)


def _unused(mapping: Mapping, taken: Sequence[tuple[str, Taken]], run: Run) -> list[Issue]:
    """Rules that fit nothing: an error for the mapping's own, a note for included and optional ones."""
    used = run.used | {match.rule for _, outcome in taken for match in outcome.matches}
    found = []
    for rule in mapping.rules:
        if rule in used or (run.reverse and rule.kind == "drop"):
            continue
        is_error = rule.file == 0 and not rule.optional
        message = f"fits nothing: {rule}"
        hint = "remove it, or say `optional: true`" if is_error else ""
        found.append(Issue("unused", "error" if is_error else "note", str(rule), message, hint, rule.where))
    return found


__all__ = ["Assignment", "Drop", "Fill", "Mapping", "Move", "Operation", "assign", "assign_identity"]
