"""Plan: what goes where, decided from names and shapes alone; its result is a Checkpoint again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, replace
from pathlib import Path

from ckptmigrate import batchnorm, dtypes
from ckptmigrate.initialisers import settled, tensor_of
from ckptmigrate.issues import Issue
from ckptmigrate.mapping import averages, states
from ckptmigrate.mapping.assignment import Assignment, Fill, Move
from ckptmigrate.mapping.group import Planned
from ckptmigrate.mapping.moves import Moved, resolve_move
from ckptmigrate.mapping.options import Planning, PlanOptions
from ckptmigrate.mapping.rules import FillValue
from ckptmigrate.report import Row
from ckptmigrate.table import ASSETS, Checkpoint, Layer, OptimizerState, Structure, Tensor, Variable


@dataclass(frozen=True, slots=True)
class Plan:
    """Every tensor of the output with its origin, everything left out with its reason, and all findings.

    Attributes:
        source, template: What was planned from.
        planned: The output's tensors.
        dropped: Report rows of what is left out.
        issues: All findings of planning.
        variables, optimizers: The result's.
        keeps_structure: The source's object graph still fits.
        undone_fills: Variables that a fill rule used backwards drops, with the number they must hold.
        layout: The ordered Keras layers, with the result's variables; None where neither side tells.
    """

    source: Checkpoint
    template: Checkpoint | None
    planned: tuple[Planned, ...]
    dropped: tuple[Row, ...]
    issues: tuple[Issue, ...]
    variables: MappingType[str, Variable]
    optimizers: tuple[OptimizerState, ...]
    keeps_structure: bool
    undone_fills: tuple[tuple[str, Tensor, float], ...] = ()
    layout: tuple[Layer, ...] | None = None

    def result(self) -> Checkpoint:
        """The output as a Checkpoint, still lazy."""
        told = self.source.structure
        given = self.template.structure if self.template is not None and self.template.structure.layout else told
        return Checkpoint(
            path=Path(),
            format="plan",
            variables=self.variables,
            optimizers=self.optimizers,
            structure=Structure(told.objects if self.keeps_structure else None, self.layout, _blobs(told, given)),
            metadata=self.source.metadata,
        )

    def without(self, names: Collection[str], why: str) -> Plan:
        """The plan less what the target can't hold, by label or stored key; that is listed as dropped."""
        lost = {(e.optimizer, e.name, e.slot) for e in self.result().rows() if e.label in names or e.key in names}
        if not lost:
            return self
        rows = [Row(row_name(p), p.slot, p.source, "dropped", detail=why) for p in self.planned if p.place in lost]
        return replace(
            self,
            planned=tuple(p for p in self.planned if p.place not in lost),
            dropped=(*self.dropped, *rows),
            variables={name: v for name, v in self.variables.items() if ("", name, "") not in lost},
            optimizers=tuple(_less(state, lost) for state in self.optimizers),
        )

    def lost_fills(self) -> list[Issue]:
        """Reads what fill rules used backwards drop: a value other than the fill would be lost."""
        return [
            Issue("unholdable", "loss", name, f"is dropped as a fill of {number:g}, but holds other values")
            for name, tensor, number in self.undone_fills
            if not (tensor.read() == number).all()
        ]

    def rows(self, outcome: str = "planned") -> list[Row]:
        """The report's rows: every planned tensor, then what is left out."""
        return [
            Row(
                row_name(p),
                p.slot,
                p.source,
                "filled" if p.origin == "filled" else outcome,  # type: ignore[arg-type]
                p.steps,
                detail=p.detail,
            )
            for p in self.planned
        ] + list(self.dropped)


def _blobs(told: Structure, given: Structure) -> MappingType[str, bytes]:
    """Configurations as given; assets, which hold what layers learned, are the source's."""
    if given is told:
        return told.blobs
    assets = {name: told.blobs[name] for name in told.blobs if name.startswith(ASSETS)}
    return {**given.blobs, **assets} if assets else given.blobs


def _less(state: OptimizerState, lost: Collection[tuple[str, str, str]]) -> OptimizerState:
    return replace(
        state,
        slots={key: s for key, s in state.slots.items() if (state.name, key.variable, key.slot) not in lost},
        scalars={name: s for name, s in state.scalars.items() if (state.name, name, "") not in lost},
        unbound=tuple(s for s in state.unbound if (state.name, s.key, "?") not in lost),
    )


def row_name(planned: Planned) -> str:
    return planned.name if planned.slot or not planned.optimizer else f"{planned.optimizer}.{planned.name}"


def make_plan(source: Checkpoint, assignment: Assignment, template: Checkpoint | None, options: PlanOptions) -> Plan:
    """Turns an assignment of names into a plan of tensors, optimizer state and averages.

    Args:
        source: The checkpoint to move; only shapes, dtypes and scalars are read.
        assignment: Which variable goes where (see assign.py).
        template: The checkpoint that gives names and shapes, or None.
        options: What the user and the target ask for.
    """
    planning = Planning(source, template, options, list(assignment.findings))
    planning.issues.extend(_torn_batch_norms(planning, assignment))
    shadows = averages.choose(planning)
    followers, dropped = _followers(planning, assignment)
    moves = [
        moved
        for move in [*assignment.moves, *followers]
        if (moved := resolve_move(planning, move, shadows.values)) is not None
    ]
    planned = [p for moved in moves for p in moved.planned()]
    fills = [filled for fill in assignment.fills if (filled := _filled(planning, fill)) is not None]
    planned += fills
    dropped += [Row(d.source, "", d.source, "dropped", detail=d.why or "dropped by rule") for d in assignment.drops]
    dropped += shadows.dropped
    dropped += averages.left_out(shadows, {name for moved in moves for name in moved.move.sources})
    moved_states, left_out = states.move_states(planning, shadows.kept, moves, fills)
    planned += [p for state in moved_states for p in state.planned]
    dropped += left_out + [row for state in moved_states for row in state.dropped]
    variables = {v.name: v for v in _variables(planning, moves, fills)}
    unchanged = options.keeps_keys(source) and template is None
    unchanged = unchanged and all(moved.move.sources == moved.move.targets for moved in moves)
    return Plan(
        source,
        template,
        tuple(planned),
        tuple(dropped),
        tuple(planning.issues),
        variables,
        tuple(state.state for state in moved_states),
        unchanged and source.structure.objects is not None,
        tuple(
            (d.source, source.variables[d.source].tensor, number)
            for d in assignment.drops
            if (number := _stated(source.variables[d.source], d.expected)) is not None
        ),
        _layout(planning, moves, fills),
    )


def _torn_batch_norms(planning: Planning, assignment: Assignment) -> list[Issue]:
    """Batch normalisations that don't arrive as one; what --reinit or a fill used backwards leaves out is asked for."""
    dropped = {d.source: d.where for d in assignment.drops if d.expected is None and d.where != "--reinit"}
    targets = {name: move.targets for move in assignment.moves for name in move.sources}
    renewed = {fill.replaces for fill in assignment.fills}
    return [
        *batchnorm.torn(planning.source, dropped, targets, has_template=planning.template is not None),
        *batchnorm.half_anew(planning.source, renewed, targets),
    ]


def _layout(planning: Planning, moves: Sequence[Moved], fills: Sequence[Planned]) -> tuple[Layer, ...] | None:
    """The template's layers, else the source's under the variables' new names, "" for one that isn't written."""
    if planning.template is not None and planning.template.structure.layout is not None:
        return planning.template.structure.layout
    if planning.source.structure.layout is None:
        return None
    one_to_one = [m.move for m in moves if len(m.move.sources) == len(m.move.targets) == 1]
    renamed = {move.sources[0]: move.targets[0] for move in one_to_one} | {f.replaces: f.name for f in fills}
    return tuple(
        replace(layer, attributes=tuple((path, renamed.get(name, "")) for path, name in layer.attributes))
        for layer in planning.source.structure.layout
    )


def _followers(planning: Planning, assignment: Assignment) -> tuple[list[Move], list[Row]]:
    """Counters, metrics and random states that no rule names: they keep their name where the target has room."""
    template = planning.template
    moves, rows = [], []
    for name in assignment.followers:
        if template is None or name in template.variables:
            moves.append(Move((name,), (name,), (), "", False, {}))
            continue
        why = "the template has no variable of that name"
        rows.append(Row(name, "", name, "dropped", detail=why))
        if name != "save_counter":
            planning.report(Issue("counter", "note", name, f"not written: {why}"))
    return moves, rows


def _filled(planning: Planning, fill: Fill) -> Planned | None:
    """The tensor that a fill gives; None, and an issue, where its value or shape isn't known."""
    source, template = planning.source, planning.template
    wanted = template.variables.get(fill.target) if template else None
    wanted = None if wanted is None or wanted.tensor.is_open else wanted
    old = source.variables.get(fill.replaces)
    like = source.variables.get(fill.like) if fill.like else None
    shape = wanted.tensor.shape if wanted else like.tensor.shape if like else fill.shape
    message, hint = "", ""
    if fill.value == "template" and wanted is None:
        message = "filled from the template, which holds no value for it"
        hint = "give --template CKPT with a checkpoint of the target model"
    elif shape is None:
        message, hint = "its shape isn't known: no template, no `like`, no `shape`", "add `shape: [...]` to the fill"
    if message or shape is None:
        planning.report(Issue("unfilled", "error", fill.target, message, hint, fill.where))
        return None
    known = wanted or like or old
    dtype = known.tensor.dtype if known else dtypes.FLOAT32
    standing = wanted or old
    role = standing.role if standing else "weight"
    tensor, detail = _value(planning, fill, Tensor(shape, dtype), wanted)
    if old is not None and old.tensor.shape != shape:
        detail = f"{detail}; had shape {list(old.tensor.shape)}"
    return Planned(
        fill.target, "", "", tensor, "filled", detail=detail, where=fill.where, role=role, replaces=fill.replaces
    )


def _stated(variable: Variable, value: FillValue | None) -> float | None:
    """The number that a variable which was filled so must hold; None where that isn't told."""
    if value is None or value == "template":
        return None
    number = settled(value, variable.name, variable.tensor.shape)
    return None if isinstance(number, str) else number


def _value(planning: Planning, fill: Fill, blank: Tensor, wanted: Variable | None) -> tuple[Tensor, str]:
    """The value of a fill, in the shape and type of `blank`, and how it is told."""
    if fill.value == "template" and wanted is not None:
        return wanted.tensor, "from the template"
    value, seed = settled(fill.value, fill.target, blank.shape), planning.options.seed
    if isinstance(value, str) and not blank.dtype.is_float:
        message = f"{value} draws floats, and this is {blank.dtype}"
        planning.report(Issue("unfilled", "error", fill.target, message, "state a number", fill.where))
    tensor = tensor_of(value, fill.target, blank.shape, blank.dtype, seed)
    return tensor, f"with {value}, seed {seed}" if isinstance(value, str) else f"with {value:g}"


def _variables(planning: Planning, moves: Sequence[Moved], fills: Sequence[Planned]) -> list[Variable]:
    """The result's variables: in the template's order where there is one, else in the source's."""
    template = planning.template
    found: dict[str, Variable] = {}
    for moved in moves:
        first = planning.source.variables[moved.move.sources[0]]
        for planned in moved.planned():
            found[planned.name] = _target_variable(planning, planned, moved.move, first)
    for planned in fills:
        found[planned.name] = _filled_variable(planning, planned)
    if template is None:
        return _in_place(planning, list(found.values()), moves, fills)
    order = [name for name in template.variables if name in found]
    return [found[name] for name in order] + [v for name, v in found.items() if name not in template.variables]


def _filled_variable(planning: Planning, planned: Planned) -> Variable:
    template, old = planning.template, planning.source.variables.get(planned.replaces)
    given = template.variables.get(planned.name) if template else None
    if given is None and old is not None:
        return _target_variable(planning, planned, Move((old.name,), (planned.name,)), old)
    return replace(given or Variable(planned.name, planned.tensor, ""), tensor=planned.tensor, copies=())


def _in_place(
    planning: Planning, variables: list[Variable], moves: Sequence[Moved], fills: Sequence[Planned]
) -> list[Variable]:
    """Variables in the source's order where some stand in the place of others, else as they come."""
    at = {name: number for number, name in enumerate(planning.source.variables)}
    replacing = {fill.name: at[fill.replaces] for fill in fills if fill.replaces}
    places = {name: min(at[source] for source in m.move.sources) for m in moves for name in m.move.targets} | replacing
    return sorted(variables, key=lambda v: places.get(v.name, len(at))) if replacing else variables


def _target_variable(planning: Planning, planned: Planned, move: Move, first: Variable) -> Variable:
    source, template, options = planning.source, planning.template, planning.options
    given = template.variables.get(planned.name) if template else None
    renamed = {system: (name,) for system, name in move.renamed.get(planned.name, {}).items()}
    if given is not None:
        same = template is not None and template.format == options.target_format
        key = given.key if same else ""
        aliases = {**given.aliases, **renamed}
        return Variable(planned.name, planned.tensor, key, given.role, given.trainable, aliases)
    unchanged = planned.name == first.name and len(move.sources) == 1 and not move.operations
    keeps_key = unchanged and options.keeps_keys(source)
    return Variable(
        planned.name,
        planned.tensor,
        first.key if keeps_key else "",
        first.role,
        first.trainable,
        first.aliases if unchanged else renamed,
        first.copies if keeps_key else (),
    )
