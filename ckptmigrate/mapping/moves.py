"""Moved: one application of a rule, resolved against the shapes of its sources and of the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptmigrate.errors import MappingError
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.averages import AVERAGE
from ckptmigrate.mapping.group import Group, Planned, lift
from ckptmigrate.mapping.operations import parse, resolve
from ckptmigrate.mapping.options import Planning
from ckptmigrate.steps import Shape, Step
from ckptmigrate.table import Stored, Variable


@dataclass(frozen=True, slots=True)
class Moved:
    """A move with the group that does it.

    Attributes:
        move: The names.
        group: Sources and steps of the values.
        targets: Shapes that the template asks for, None where it is open or absent.
    """

    move: Move
    group: Group
    targets: tuple[Shape | None, ...]

    def planned(self) -> list[Planned]:
        """The outputs, in the order of the rule's targets."""
        return [
            Planned(name, "", "", tensor, "moved", self.group, index, "", self.move.where)
            for index, (name, tensor) in enumerate(zip(self.move.targets, self.group.tensors(), strict=True))
        ]


def resolve_move(planning: Planning, move: Move, averages: Mapping[str, Stored]) -> Moved | None:
    """The move with its steps; None, and an issue, when shapes or dtypes don't fit.

    Args:
        planning: Source, template and options.
        move: Names and operations.
        averages: Averages that take the place of raw values (`--averages use`), by variable.
    """
    source, template = planning.source, planning.template
    variables = [source.variables[name] for name in move.sources]
    tensors = tuple(averages.get(v.name, v).tensor for v in variables)
    labels = tuple(f"{v.name}:{AVERAGE}" if v.name in averages else v.name for v in variables)
    wanted = [template.variables.get(name) if template else None for name in move.targets]
    targets = tuple(None if w is None or w.tensor.is_open else w.tensor.shape for w in wanted)
    try:
        steps = resolve(
            move.operations,
            [t.shape for t in tensors],
            [t.dtype for t in tensors],
            targets,
            reverse=move.reverse,
            target_dtypes=[None if w is None or w.tensor.is_open else w.tensor.dtype for w in wanted],
        )
        group = Group(labels, tensors, tuple(steps))
        group = Group(labels, tensors, group.steps + cast_steps(group, planning.options.dtype, move.where))
    except MappingError as error:
        kind = error.issues[0].kind if error.issues else "shape"
        planning.report(Issue(kind, "error", move.targets[0], error.message, error.hint, error.where or move.where))
        return None
    problem = _misfit(move, group, wanted, targets)
    if problem is not None:
        planning.report(problem)
        return None
    if any(step.text.startswith("cast") for step in group.steps):
        planning.report(Issue("cast", "note", move.targets[0], group.steps[-1].text, where=move.where))
    return Moved(move, group, targets)


def cast_steps(group: Group, dtype: str, where: str) -> tuple[Step, ...]:
    """The steps that `--dtype` adds: a cast of every floating-point output that is of another type."""
    if not dtype or not any(d.is_float and d.name != dtype for d in group.dtypes):
        return ()
    cast = parse("cast", dtype, where)
    singles = []
    for shape, have in zip(group.shapes, group.dtypes, strict=True):
        if not have.is_float:
            return ()
        singles.append(resolve([cast], [shape], [have], [None]))
    return lift(singles)


def _misfit(
    move: Move, group: Group, wanted: Sequence[Variable | None], targets: Sequence[Shape | None]
) -> Issue | None:
    """What is wrong with a move's outputs, compared with the template's variables."""
    if len(group.shapes) != len(move.targets):
        message = f"the rule's operations give {len(group.shapes)} tensors, its `to` names {len(move.targets)}"
        return Issue("shape", "error", move.targets[0], message, where=move.where)
    for name, shape, dtype, given, target in zip(
        move.targets, group.shapes, group.dtypes, wanted, targets, strict=True
    ):
        if target is not None and tuple(shape) != tuple(target):
            message = f"has shape {list(shape)} (from {', '.join(move.sources)}), the template's has {list(target)}"
            return Issue("shape", "error", name, message, _shape_hint(move, shape, target), move.where)
        if given is not None and not given.tensor.is_open and given.tensor.dtype != dtype:
            message = f"is {dtype} (from {', '.join(move.sources)}), the template's is {given.tensor.dtype}"
            hint = f"add `cast: {given.tensor.dtype}` to its rule, or give --dtype {given.tensor.dtype}"
            return Issue("shape", "error", name, message, hint, move.where)
    return None


def _shape_hint(move: Move, shape: Shape, target: Shape) -> str:
    if len(shape) == len(target) and sum(a != b for a, b in zip(shape, target, strict=True)) == 1:
        return (
            f"another number of classes? --reinit '{move.targets[0]}' keeps the template's value or starts from zeros"
        )
    if len(shape) == len(target) and sorted(shape) == sorted(target):
        return "the axes stand in another order: add `transpose: [...]` to its rule"
    return "the two models differ here; `do:` in its rule says how to reshape it, --reinit leaves it out"
