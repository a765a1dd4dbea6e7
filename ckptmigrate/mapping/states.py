"""Optimizer state in a plan: slots and averages follow their variables, dialects change by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.averages import AVERAGE, EMA
from ckptmigrate.mapping.group import Group, Planned, constant, lift
from ckptmigrate.mapping.moves import Moved, cast_steps
from ckptmigrate.mapping.operations import resolve_slot
from ckptmigrate.mapping.options import LIST_KEEPERS, OBJECT_BASED, Planning
from ckptmigrate.mapping.rules import OptimizerBlock
from ckptmigrate.optimizers import Conversion, anew, initial_value, to_dialect
from ckptmigrate.report import Row
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored

STEPS = ("iter", "beta1_power", "beta2_power")  # scalars that count the steps, in one dialect or another
_STATISTICS = frozenset({"bn_mean", "bn_variance"})  # roles that optimizers hold no slots for


@dataclass(frozen=True, slots=True)
class MovedState:
    """One state of the result, its tensors as planned, and what is left out."""

    state: OptimizerState
    planned: tuple[Planned, ...]
    dropped: tuple[Row, ...]


class _Way(NamedTuple):
    """How one state goes: its name in the target, what changes of it, and where findings are put."""

    planning: Planning
    state: OptimizerState
    name: str
    conversion: Conversion

    @property
    def is_fresh(self) -> bool:
        return self.planning.options.optimizer == "fresh" and self.state.kind != EMA

    @property
    def keeps_keys(self) -> bool:
        unchanged = self.conversion.state.dialect == self.state.dialect and self.name == self.state.name
        return unchanged and self.planning.options.keeps_keys(self.planning.source)

    def initial(self, slot: str) -> float:
        return initial_value(self.conversion.state.kind, self.conversion.state.dialect, slot)


def move_states(
    planning: Planning, averages: Sequence[OptimizerState], moves: Sequence[Moved], fills: Sequence[Planned]
) -> tuple[list[MovedState], list[Row]]:
    """Plans every optimizer state, and the averages that are kept.

    Returns:
        The states that go along, and report rows of those that `--optimizer drop` leaves out.
    """
    source, options = planning.source, planning.options
    states = [state for state in source.optimizers if state.kind != EMA]
    left_out = []
    if options.optimizer == "drop":
        left_out = [row for state in states for row in _dropped(state, "--optimizer drop")]
        states = []
    parts = [part for state in states for part in _split(state, planning)]
    parts += [(state, OptimizerBlock()) for state in averages]
    moved = []
    for (state, block), name in zip(parts, _target_names(planning, parts), strict=True):
        hyper = {**block.hyper, **options.hyper}
        step = _step(source, block)
        start = state
        if options.optimizer == "fresh" and state.kind != EMA:
            start, hyper, step = anew(state), {**hyper, "iter": 0}, 0
        conversion = to_dialect(start, _dialect(planning, state), hyper=hyper, step=step)
        planning.issues.extend(conversion.issues)
        moved.append(_move_state(_Way(planning, state, name, conversion), moves, fills))
    renamed = {state.name: m.state.name for (state, _), m in zip(parts, moved, strict=True)}
    return [_with_parent(m, planning, renamed) for m in moved], left_out


def _with_parent(moved: MovedState, planning: Planning, renamed: Mapping[str, str]) -> MovedState:
    """Averages stand where the template's do, else where they stood, else on the node of the one optimizer there is."""
    if moved.state.kind != EMA:
        return moved
    template, parent = planning.template, renamed.get(moved.state.parent, moved.state.parent)
    there = [o.parent or o.name for o in template.optimizers if o.kind == EMA] if template else []
    owners = {name for name in renamed.values() if name != moved.state.name}
    if planning.options.target_format not in OBJECT_BASED:
        parent = ""
    elif len(there) == 1:
        parent = there[0]
    elif planning.source.origin != "tf2":
        parent = owners.pop() if len(owners) == 1 else ""
    return replace(moved, state=replace(moved.state, parent=parent))


def _dropped(state: OptimizerState, why: str) -> list[Row]:
    rows = [Row(key.variable, key.slot, stored.key, "dropped", detail=why) for key, stored in state.slots.items()]
    rows += [Row(f"{state.name}.{name}", "", s.key, "dropped", detail=why) for name, s in state.scalars.items()]
    return rows + [Row(s.key, "?", s.key, "dropped", detail=why) for s in state.unbound]


_Part = tuple[OptimizerState, OptimizerBlock]


def _split(state: OptimizerState, planning: Planning) -> list[_Part]:
    """The parts of a state that the mapping's blocks speak of, and the rest; each part has all of its scalars."""
    rest = dict(state.slots)
    parts: list[_Part] = []
    for block in planning.options.blocks:
        if block.source not in ("", state.name):
            continue
        held = {key: s for key, s in rest.items() if block.holds(planning.source.variables[key.variable])}
        if held or (block.variables is None and not state.slots):
            parts.append((replace(state, slots=held), block))
            rest = {key: s for key, s in rest.items() if key not in held}
    if rest or not parts:
        parts.append((replace(state, slots=rest), OptimizerBlock()))
    return parts


def _target_names(planning: Planning, parts: Sequence[_Part]) -> list[str]:
    """Where each state goes: by block, where the template has it, its own name, else `optimizer`, `optimizer_1`..."""
    template, options = planning.template, planning.options
    taken: list[str] = []
    have = [o.name for o in template.optimizers if o.kind != EMA] if template else []
    several = sum(state.kind != EMA for state, _ in parts) > 1
    for state, block in parts:
        base = block.target or state.name
        if state.kind != EMA and not block.target:
            if len(have) == 1 and not several:
                base = have[0]
            elif options.target_format in OBJECT_BASED and state.dialect == "tf1" and state.name not in have:
                base = "optimizer"
        name, count = base, 0
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.append(name)
    return taken


def _dialect(planning: Planning, state: OptimizerState) -> str:
    """The dialect asked for, else the source's in its own format, else the template's or the natural one."""
    source, template, options = planning.source, planning.template, planning.options
    if options.dialect:
        return options.dialect
    if not options.dialects or source.origin == options.target_origin:
        return state.dialect
    given = [o.dialect for o in template.optimizers if o.kind != EMA] if template else []
    if given and given[0] in options.dialects:
        return given[0]
    keeps_lists = options.target_format in LIST_KEEPERS and state.dialect in options.dialects
    return state.dialect if keeps_lists else options.dialects[0]


def _step(source: Checkpoint, block: OptimizerBlock) -> int | None:
    """Completed steps for optimizers that store none: the counter the mapping names, else `global_step`."""
    variable = source.variables.get(block.step or "global_step")
    if variable is None or variable.tensor.shape != () or variable.tensor.dtype.name not in ("int64", "int32"):
        return None
    return int(variable.tensor.read())


def _move_state(way: _Way, moves: Sequence[Moved], fills: Sequence[Planned]) -> MovedState:
    names = list(dict.fromkeys(key.slot for key in way.state.slots if key.slot not in way.conversion.dropped))
    planned = [p for slot in names for moved in moves for p in _follow(way, slot, moved)]
    planned += [p for slot in way.conversion.new_slots for p in _new_slot(way, slot, moves)]
    planned += [p for slot in [*names, *way.conversion.new_slots] for p in _of_fills(way, slot, fills)]
    slots = {SlotKey(p.name, p.slot): Stored(p.key, p.tensor) for p in planned}
    scalars = _scalars(way)
    kept = way.conversion.state.dialect == way.state.dialect and not way.is_fresh
    unbound = way.state.unbound if kept else ()
    rows = _left_out(way, planned, scalars, moves, bool(unbound))
    state = replace(
        way.conversion.state,
        name=way.name,
        scalars={p.name: Stored(p.key, p.tensor) for p in scalars},
        slots=slots,
        order=way.state.order if kept and way.keeps_keys else (),
        unbound=unbound,
    )
    loose = [Planned(s.key, "?", way.name, s.tensor, group=Group((s.key,), (s.tensor,))) for s in unbound]
    return MovedState(state, (*planned, *scalars, *loose), tuple(rows))


def _follow(way: _Way, slot: str, moved: Moved) -> list[Planned]:
    """The slot of one move's variables, through the same operations."""
    move = moved.move
    stored = [way.state.slots.get(SlotKey(name, slot)) for name in move.sources]
    have = [s for s in stored if s is not None]
    if not have:
        return []
    if len(have) < len(stored):
        lacking = ", ".join(n for n, s in zip(move.sources, stored, strict=True) if s is None)
        _lost(way, moved, slot, f"{lacking} has none, the other sources of this rule have one")
        return []
    if way.is_fresh:
        key = have[0].key if move.sources == move.targets and way.keeps_keys else ""
        return [replace(_constant(way, p, slot), key=key) for p in moved.planned()]
    tensors = tuple(s.tensor for s in have)
    labels = tuple(f"{name}:{slot}" for name in move.sources)
    changes = way.conversion.slot_steps.get(slot)
    group = Group(labels, tensors, lift([changes(t.shape, t.dtype) for t in tensors]) if changes else ())
    steps = resolve_slot(
        move.operations,
        group.shapes,
        group.dtypes,
        moved.targets,
        initial=way.initial(slot),
        is_average=slot == AVERAGE,
        reverse=move.reverse,
        variables=[way.planning.source.variables[name].tensor.shape for name in move.sources],
    )
    if isinstance(steps, str):
        _lost(way, moved, slot, steps)
        return []
    group = replace(group, steps=group.steps + tuple(steps))
    group = replace(group, steps=group.steps + cast_steps(group, way.planning.options.dtype, move.where))
    untouched = not group.steps and move.sources == move.targets and way.keeps_keys
    return [
        Planned(name, slot, way.name, tensor, "moved", group, index, "", move.where, have[0].key if untouched else "")
        for index, (name, tensor) in enumerate(zip(move.targets, group.tensors(), strict=True))
    ]


def _lost(way: _Way, moved: Moved, slot: str, why: str) -> None:
    hint = "--optimizer drop leaves all state out, --allow-loss only what can't follow"
    issue = Issue("slot", "loss", moved.move.targets[0], f"its slot {slot} can't follow: {why}", hint, moved.move.where)
    way.planning.report(issue)


def _constant(way: _Way, owner: Planned, slot: str) -> Planned:
    number = way.conversion.new_slots.get(slot, way.initial(slot))
    tensor = constant(owner.tensor.shape, owner.tensor.dtype, number)
    return Planned(owner.name, slot, way.name, tensor, "filled", detail=f"initial value {number:g}")


def _new_slot(way: _Way, slot: str, moves: Sequence[Moved]) -> list[Planned]:
    """A slot that the target dialect has and the source lacks, for every variable that has slots at all."""
    owners = {key.variable for key in way.state.slots}
    made = [_constant(way, p, slot) for m in moves if owners.issuperset(m.move.sources) for p in m.planned()]
    if made:
        number = way.conversion.new_slots[slot]
        message = f"the slot {slot}, which the source lacks, starts at {number:g} for {len(made)} variables"
        way.planning.report(Issue("filled", "note", way.name, message))
    return made


def _of_fills(way: _Way, slot: str, fills: Sequence[Planned]) -> list[Planned]:
    """Slots of filled variables start at the optimizer's initial value, averages at the filled value."""
    trained = [fill for fill in fills if fill.role not in _STATISTICS and fill.tensor.dtype.is_float]
    if slot == AVERAGE:
        return [replace(fill, slot=slot, optimizer=way.name) for fill in trained]
    return [_constant(way, fill, slot) for fill in trained]


def _scalars(way: _Way) -> list[Planned]:
    """The target's scalars: those the conversion left alone as they are, the others as it made them."""
    planned = []
    for name, stored in way.conversion.state.scalars.items():
        before = way.state.scalars.get(name)
        untouched = before is not None and before.tensor is stored.tensor
        group = Group((f"{way.state.name}.{name}",), (stored.tensor,)) if untouched else None
        origin = "moved" if untouched else "made"
        detail = way.conversion.steps_text.get(name, "" if untouched else "starts anew")
        key = stored.key if way.keeps_keys else ""
        planned.append(Planned(name, "", way.name, stored.tensor, origin, group, 0, detail, "", key))  # type: ignore[arg-type]
    return planned


def _left_out(
    way: _Way, planned: Sequence[Planned], scalars: Sequence[Planned], moves: Sequence[Moved], keeps_unbound: bool
) -> list[Row]:
    """Rows for slots that don't follow, and scalars that became others."""
    followed = {label for p in planned if p.group for label in p.group.labels}
    moving = {name for moved in moves for name in moved.move.sources}
    rows = []
    for key, stored in way.state.slots.items():
        if f"{key.variable}:{key.slot}" not in followed:
            why = "can't follow its variable" if key.variable in moving else "its variable isn't written"
            why = way.conversion.dropped.get(key.slot, "--optimizer fresh" if way.is_fresh else why)
            rows.append(Row(key.variable, key.slot, stored.key, "dropped", detail=why))
    kept = {p.name for p in scalars if p.group is not None}
    rows += [
        Row(f"{way.state.name}.{name}", "", stored.key, "dropped", detail=_why_not(way, name, scalars))
        for name, stored in way.state.scalars.items()
        if name not in kept
    ]
    if way.state.unbound and not keeps_unbound:
        why = "--optimizer fresh" if way.is_fresh else "its owner isn't known"
        rows += [Row(s.key, "?", s.key, "dropped", detail=why) for s in way.state.unbound]
    return rows


def _why_not(way: _Way, name: str, scalars: Sequence[Planned]) -> str:
    """Why a scalar isn't written as it was."""
    here = {p.name for p in scalars}
    if way.is_fresh and name.startswith(STEPS):
        return "--optimizer fresh"
    heirs = ", ".join(step for step in STEPS if step in here and step not in way.state.scalars)
    if heirs and name.startswith(STEPS):
        return f"goes on in {heirs}"
    return "another value is written" if name in here else f"{way.conversion.state.dialect} doesn't store it"
