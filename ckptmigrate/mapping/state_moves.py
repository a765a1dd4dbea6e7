"""One optimizer state on its way: slots go through the operations of their variables, scalars as dialects have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.averages import AVERAGE, EMA
from ckptmigrate.mapping.group import Group, Planned, constant, lift
from ckptmigrate.mapping.moves import Moved, cast_steps
from ckptmigrate.mapping.operations import resolve_slot
from ckptmigrate.mapping.options import NAME_BASED, Planning
from ckptmigrate.mapping.owners import fill_in
from ckptmigrate.optimizers import Conversion, initial_value, slot_shape
from ckptmigrate.report import Row
from ckptmigrate.table import OptimizerState, SlotKey, Stored

STEPS = ("iter", "beta1_power", "beta2_power")  # scalars that count the steps, in one dialect or another
_STATISTICS = frozenset({"bn_mean", "bn_variance"})  # roles that optimizers hold no slots for


@dataclass(frozen=True, slots=True)
class MovedState:
    """One state of the result, its tensors as planned, and what is left out."""

    state: OptimizerState
    planned: tuple[Planned, ...]
    dropped: tuple[Row, ...]


class Way(NamedTuple):
    """How one state goes: its name in the target, what changes of it, the template's state there, and findings."""

    planning: Planning
    state: OptimizerState
    name: str
    conversion: Conversion
    place: OptimizerState | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether it starts anew."""
        return self.planning.options.optimizer == "fresh" and self.state.kind != EMA

    @property
    def keeps_keys(self) -> bool:
        """Whether what doesn't change stays under the keys it was stored under."""
        unchanged = self.conversion.state.dialect == self.state.dialect and self.name == self.state.name
        return unchanged and self.planning.options.keeps_keys(self.planning.source)

    def stored(self, planned: Planned) -> Stored:
        """The tensor with its key: the template's where names are keys; else the one it keeps, with its copies."""
        template, target = self.planning.template, self.planning.options.target_format
        is_named = template is not None and template.format == target and target in NAME_BASED
        state = self.place if is_named and self.place is not None else self.state
        there = state.slots.get(SlotKey(*planned.place[1:])) if planned.slot else state.scalars.get(planned.name)
        if there is not None and (state is self.place or there.key == planned.key):
            return Stored(there.key, planned.tensor, there.copies)
        return Stored(planned.key, planned.tensor)

    def initial(self, slot: str) -> float:
        """What the target fills a fresh slot with."""
        return initial_value(self.conversion.state.kind, self.conversion.state.dialect, slot)


def move_state(way: Way, moves: Sequence[Moved], fills: Sequence[Planned]) -> MovedState:
    """A state whose slots follow their variables."""
    names = list(dict.fromkeys(key.slot for key in way.state.slots if key.slot not in way.conversion.dropped))
    planned = [p for slot in names for moved in moves for p in _follow(way, slot, moved)]
    planned += [p for slot in way.conversion.new_slots for p in _new_slot(way, slot, moves)]
    planned += [p for slot in [*names, *way.conversion.new_slots] for p in _of_fills(way, slot, fills)]
    slots = {SlotKey(p.name, p.slot): way.stored(p) for p in planned}
    scalars = _scalars(way)
    kept = way.conversion.state.dialect == way.state.dialect and not way.is_fresh
    unbound = way.state.unbound if kept and not _is_list_torn(way, moves) else ()
    anew = {fill.replaces for fill in fills}
    rows = [
        replace(row, detail="its variable starts anew") if row.slot and row.name in anew else row
        for row in _left_out(way, planned, scalars, moves, bool(unbound))
    ]
    state = replace(
        way.conversion.state,
        name=way.name,
        scalars={p.name: way.stored(p) for p in scalars},
        slots=slots,
        order=_order(way, slots, moves, fills),
        unbound=unbound,
    )
    loose = [Planned(s.key, "?", way.name, s.tensor, group=Group((s.key,), (s.tensor,))) for s in unbound]
    return MovedState(state, (*planned, *scalars, *loose), tuple(rows))


def _is_list_torn(way: Way, moves: Sequence[Moved]) -> bool:
    """Whether a list without owners lacks the variables that it is by: some are left out, or start anew."""
    if not way.state.unbound or way.planning.options.is_comparison:
        return False
    moving = {name for moved in moves for name in moved.move.sources}
    variables = way.planning.source.variables.values()
    lost = [v.name for v in variables if v.role == "weight" and v.trainable is not False and v.name not in moving]
    if lost:
        text = (
            f"the file doesn't tell whose its {len(way.state.unbound)} slots are, so those of {lost[0]} can't be found"
        )
        hint = f"{fill_in(way.state)}; or --optimizer drop; --template with a file that tells"
        way.planning.report(Issue("slot", "loss", way.state.name, text, hint))
    return bool(lost)


def _order(
    way: Way, slots: Mapping[SlotKey, Stored], moves: Sequence[Moved], fills: Sequence[Planned]
) -> tuple[SlotKey, ...]:
    """The source's list, by the names in the target; in another dialect it still tells the order of variables."""
    renamed = {m.move.sources[0]: m.move.targets[0] for m in moves if len(m.move.sources) == len(m.move.targets) == 1}
    renamed |= {fill.replaces: fill.name for fill in fills}
    named = [SlotKey(renamed[key.variable], key.slot) for key in way.state.order if key.variable in renamed]
    return tuple(key for key in named if key in slots)


def move_template_state(way: Way, moves: Sequence[Moved], fills: Sequence[Planned]) -> MovedState:
    """The template's optimizer before its first step, where the source has one of another kind."""
    assert way.place is not None
    written = {p.name: p for p in (*(p for moved in moves for p in moved.planned()), *fills)}
    planned = list(_template_slots(way, way.place, written))
    scalars = _scalars(way)
    text = f"the template's {way.place.kind} starts anew, in the place of {way.state.kind}"
    way.planning.report(Issue("fresh", "note", way.name, text, "--hyper learning_rate=0.001 sets its rate"))
    state = replace(
        way.conversion.state,
        name=way.name,
        scalars={p.name: way.stored(p) for p in scalars},
        slots={SlotKey(p.name, p.slot): way.stored(p) for p in planned},
        order=(),
        unbound=(),
    )
    return MovedState(state, (*planned, *scalars), tuple(_left_out(way, planned, (), moves, keeps_unbound=False)))


def _template_slots(way: Way, place: OptimizerState, written: dict[str, Planned]) -> Iterator[Planned]:
    kept = {k: s.tensor for k, s in place.slots.items() if k.slot not in way.conversion.dropped}
    owners = dict.fromkeys(key.variable for key in place.slots)
    kept |= {
        SlotKey(owner, slot): written[owner].tensor
        for slot in way.conversion.new_slots
        for owner in owners
        if owner in written
    }
    for key, tensor in kept.items():
        if key.variable in written:
            shape = written[key.variable].tensor.shape if tensor.is_open else tensor.shape
            number = way.conversion.new_slots.get(key.slot, way.initial(key.slot))
            made = constant(shape, tensor.dtype, number)
            yield Planned(key.variable, key.slot, way.name, made, "filled", detail=f"initial value {number:g}")


def _follow(way: Way, slot: str, moved: Moved) -> list[Planned]:
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
        return [replace(made, key=key) for made in _constants(way, moved.planned(), slot)]
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


def _lost(way: Way, moved: Moved, slot: str, why: str) -> None:
    hint = "--optimizer drop leaves all state out, --allow-loss only what can't follow"
    issue = Issue("slot", "loss", moved.move.targets[0], f"its slot {slot} can't follow: {why}", hint, moved.move.where)
    way.planning.report(issue)


def _constants(way: Way, owners: Iterable[Planned], slot: str) -> Iterator[Planned]:
    """The slot of each that has it, at its initial value."""
    number = way.conversion.new_slots.get(slot, way.initial(slot))
    target = way.conversion.state
    for owner in owners:
        shape = slot_shape(target.kind, target.dialect, slot, owner.name, owner.tensor.shape)
        if shape is not None:
            tensor = constant(shape, owner.tensor.dtype, number)
            yield Planned(owner.name, slot, way.name, tensor, "filled", detail=f"initial value {number:g}")


def _new_slot(way: Way, slot: str, moves: Sequence[Moved]) -> list[Planned]:
    """A slot that the target has and the source lacks: for variables with slots, where none has any for the trained."""
    owners = {key.variable for key in way.state.slots}
    found = [p for m in moves if not owners or owners.issuperset(m.move.sources) for p in m.planned()]
    made = list(_constants(way, (p for p in found if owners or _is_trained(way, p)), slot))
    if made:
        number = way.conversion.new_slots[slot]
        message = f"the slot {slot}, which the source lacks, starts at {number:g} for {len(made)} variables"
        way.planning.report(Issue("filled", "note", way.name, message))
    return made


def _is_trained(way: Way, planned: Planned) -> bool:
    """Whether an optimizer without slots is taken to train it: by the template's slots, else by what it is."""
    if way.place is not None and way.place.slots:
        return any(key.variable == planned.name for key in way.place.slots)
    variables = [way.planning.source.variables[n] for n in _sources(planned) if n in way.planning.source.variables]
    return planned.tensor.dtype.is_float and all(v.trainable is not False and v.role == "weight" for v in variables)


def _sources(planned: Planned) -> tuple[str, ...]:
    return planned.group.labels if planned.group else ()


def _of_fills(way: Way, slot: str, fills: Sequence[Planned]) -> list[Planned]:
    """Slots of filled variables start at the optimizer's initial value, averages at the filled value."""
    having = [fill for fill in fills if fill.tensor.dtype.is_float and _has_slot(way, slot, fill)]
    if slot == AVERAGE:
        return [replace(fill, slot=slot, optimizer=way.name, key=_kept_key(way, slot, fill)) for fill in having]
    return [
        replace(made, key=_kept_key(way, slot, owner)) for owner in having for made in _constants(way, [owner], slot)
    ]


def _has_slot(way: Way, slot: str, fill: Planned) -> bool:
    """Whether a filled variable has a slot: as what it replaces, or as in the template, or if it is trained."""
    if fill.replaces:
        slots = {slot} if slot not in way.conversion.new_slots else {key.slot for key in way.state.slots}
        return any(SlotKey(fill.replaces, name) in way.state.slots for name in slots)
    if way.place is not None and way.place.slots:
        return any(key.variable == fill.name for key in way.place.slots)
    return fill.role not in _STATISTICS


def _kept_key(way: Way, slot: str, fill: Planned) -> str:
    """The key that the slot of what is replaced is stored under, where it stays."""
    stored = way.state.slots.get(SlotKey(fill.replaces, slot))
    return stored.key if stored is not None and fill.name == fill.replaces and way.keeps_keys else ""


def _scalars(way: Way) -> list[Planned]:
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
    way: Way, planned: Sequence[Planned], scalars: Sequence[Planned], moves: Sequence[Moved], keeps_unbound: bool
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


def _why_not(way: Way, name: str, scalars: Sequence[Planned]) -> str:
    """Why a scalar isn't written as it was."""
    here = {p.name for p in scalars}
    if way.is_fresh and name.startswith(STEPS):
        return "--optimizer fresh"
    heirs = ", ".join(step for step in STEPS if step in here and step not in way.state.scalars)
    if heirs and name.startswith(STEPS):
        return f"goes on in {heirs}"
    return "another value is written" if name in here else f"{way.conversion.state.dialect} doesn't store it"
