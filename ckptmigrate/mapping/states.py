"""Optimizer state in a plan: which states there are, what each becomes in the target, and where it stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ckptmigrate.dtypes import INT64
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.averages import EMA
from ckptmigrate.mapping.group import Planned
from ckptmigrate.mapping.moves import Moved
from ckptmigrate.mapping.options import LIST_KEEPERS, OBJECT_BASED, Planning
from ckptmigrate.mapping.owners import blocks_of, fill_in, with_owners
from ckptmigrate.mapping.rules import OptimizerBlock
from ckptmigrate.mapping.state_moves import MovedState, Way, move_state, move_template_state
from ckptmigrate.optimizers import UNKNOWN, Conversion, anew, to_dialect
from ckptmigrate.optimizers.catalog import list_of, spelling
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.optimizers.nadam import PRODUCT, by_hand
from ckptmigrate.optimizers.scalars import scalar_value, shown
from ckptmigrate.optimizers.wrapping import INNER, WRAPPER, WRAPPER_SCALARS, folded, is_scaled, is_wrapped, parted
from ckptmigrate.report import Row
from ckptmigrate.table import Checkpoint, OptimizerState, Stored, Tensor

_LEADING = "2.3"  # the Keras whose counters are a step behind its bias correction
# Kinds whose state may go where the other's was: (source's, template's).
_ALIKE = {("adam", "adamw"), ("adamw", "adam"), ("sgd", "momentum")}


def move_states(
    planning: Planning, averages: Sequence[OptimizerState], moves: Sequence[Moved], fills: Sequence[Planned]
) -> tuple[list[MovedState], list[Row]]:
    """Plans every optimizer state, and the averages that are kept.

    Returns:
        The states that go along, and report rows of those that `--optimizer drop` leaves out.
    """
    source, options = planning.source, planning.options
    states = folded([state for state in source.optimizers if state.kind != EMA])
    places = folded([s for s in planning.template.optimizers if s.kind != EMA]) if planning.template else []
    if options.optimizer == "drop":
        return _kept_averages(planning, averages, moves, fills), [r for s in states for r in _dropped(s)]
    bound = with_owners(planning, states, places, moves)
    averages = [*averages, *(state for state in bound if state.kind == EMA)]
    parts = [part for state in bound if state.kind != EMA for part in _split(state, planning)]
    names = _target_names(planning, parts, places, moves)
    by_name = {place.name: place for place in places}
    moved = []
    for (state, block), name in zip(parts, names, strict=True):
        way = _way(planning, state, block, name, by_name.get(name))
        planning.issues.extend(_with_block(issue, state) for issue in way.conversion.issues)
        is_changed = way.is_fresh and way.place is not None and not _is_kind(state, way.place)
        found = (move_template_state if is_changed else move_state)(way, moves, fills)
        moved += _wrapped(planning, way, found)
    renamed = {state.name: name for (state, _), name in zip(parts, names, strict=True)}
    shadows = _kept_averages(planning, averages, moves, fills, names)
    return [*moved, *(_with_parent(m, planning, renamed) for m in shadows)], []


def _way(
    planning: Planning, state: OptimizerState, block: OptimizerBlock, name: str, place: OptimizerState | None
) -> Way:
    """How one state goes: under which name, and what changes of it."""
    source, options = planning.source, planning.options
    hyper: dict[str, float] = {**block.hyper, **options.hyper}
    step = _step(source, block)
    state, place = _told_apart(planning, state, place)
    dialect = _dialect(planning, state, place)
    start = state
    if options.optimizer == "fresh":
        changes = place is not None and not _is_kind(state, place)
        start, hyper, step = anew(place if changes and place else state), {**hyper, "iter": 0}, 0
    lead = int(state.dialect == "keras1" and str(source.metadata.get("keras_version", "")).startswith(_LEADING))
    regains = options.target_format in OBJECT_BASED and source.format not in OBJECT_BASED
    conversion = to_dialect(start, dialect, hyper=hyper, step=step, lead=lead, place=place, regains=regains)
    is_kept = options.optimizer != "fresh" and not options.is_comparison
    if place is not None and is_kept and not _fits(state, conversion.state.kind, place):
        planning.report(_other_kind(state, place))
    if place is not None and (state.kind, place.kind) in _ALIKE:
        conversion = conversion._replace(state=replace(conversion.state, kind=place.kind))
    if options.target_format in LIST_KEEPERS:
        conversion = _for_a_list(conversion, start)
    return Way(planning, state, name, conversion, place)


def _told_apart(
    planning: Planning, state: OptimizerState, place: OptimizerState | None
) -> tuple[OptimizerState, OptimizerState | None]:
    """Legacy Keras' Adam and Adamax have slots of one name in object-based files: there the other side tells which."""
    if place is None or {state.kind, place.kind} != {"adam", "adamax"}:
        return state, place
    template = planning.template
    if state.dialect == "keras-legacy" and planning.source.origin == "tf2":
        return replace(state, kind=place.kind), place
    if place.dialect == "keras-legacy" and template is not None and template.origin == "tf2":
        return state, replace(place, kind=state.kind)
    return state, place


def _for_a_list(conversion: Conversion, state: OptimizerState) -> Conversion:
    """For files that hold the optimizer's list alone: it begins with a step, and computed settings have no place."""
    found, issues = conversion.state, list(conversion.issues)
    listed = list_of(found.kind, found.dialect)
    names = (*listed.first, *listed.last) if listed else ()
    scalars = dict(found.scalars)
    if listed and not listed.is_padded and _is_shaped(found):  # tf_keras keeps Adafactor's placeholders beside the list
        scalars = {n: s for n, s in scalars.items() if not n.startswith(PLACEHOLDER)}
    if found.dialect == state.dialect and PRODUCT in scalars and PRODUCT not in names and state.step:
        issues.append(by_hand(state.name, state.step, scalar_value(scalars[PRODUCT])))
    if found.dialect != state.dialect:
        scalars = {n: s for n, s in scalars.items() if n in names or state.scalars.get(n) is s}
        issues = [i for i in issues if (i.kind, i.severity) != ("hyper", "note")]
        settings = {n: v for n, v in found.hyper.items() if n not in scalars and (n, v) != ("decay", 0)}
        told = [f"{n}={shown(v)}" for n, v in settings.items()]
        text = f"settings stand in no list: build the optimizer with {', '.join(told)}"
        issues += [Issue("hyper", "note", state.name, text)] if told else []
    if "iter" in names and "iter" not in scalars and found.dialect != "keras1":
        scalars = {"iter": Stored("", Tensor.of(np.zeros((), np.int64), INT64)), **scalars}
        text = "the list begins with the completed steps, which nothing tells: written as 0, from where schedules go on"
        issues.append(Issue("hyper", "warning", state.name, text, "--hyper iter=STEPS"))
    return conversion._replace(state=replace(found, scalars=scalars), issues=tuple(issues))


def _is_shaped(state: OptimizerState) -> bool:
    """Whether some variables lack some of its slots, for their shapes."""
    spelled = spelling(state.kind, state.dialect)
    return spelled is not None and any(slot.shape is not None for slot in spelled.slots)


def _with_block(issue: Issue, state: OptimizerState) -> Issue:
    """What is lost of a list without owners comes with the block that tells them."""
    if not state.unbound or issue.kind != "slot":
        return issue
    return replace(issue, hint=f"{fill_in(state)}; or {issue.hint}")


def _is_kind(state: OptimizerState, place: OptimizerState) -> bool:
    return UNKNOWN in (state.kind, place.kind) or state.kind == place.kind


def _fits(state: OptimizerState, kind: str, place: OptimizerState) -> bool:
    """Whether a state, of that kind in the target, may go where the template's was."""
    if UNKNOWN in (kind, place.kind) or not (state.slots or state.unbound):
        return True
    return kind == place.kind or (kind, place.kind) in _ALIKE


def _other_kind(state: OptimizerState, place: OptimizerState) -> Issue:
    text = f"state of {state.kind}, where the template has an optimizer of kind {place.kind}"
    hint = f"--optimizer fresh starts {place.kind} anew, --optimizer drop leaves the state out"
    return Issue("slot", "error", state.name, text, hint)


def _kept_averages(
    planning: Planning,
    averages: Sequence[OptimizerState],
    moves: Sequence[Moved],
    fills: Sequence[Planned],
    taken: Sequence[str] = (),
) -> list[MovedState]:
    moved, names = [], list(taken)
    for state in averages:
        names.append(_free(state.name, names))
        conversion = to_dialect(state, _dialect(planning, state, None))
        planning.issues.extend(conversion.issues)
        moved.append(move_state(Way(planning, state, names[-1], conversion), moves, fills))
    return moved


def _with_parent(moved: MovedState, planning: Planning, renamed: Mapping[str, str]) -> MovedState:
    """Averages stand where the template's do, else where they stood, else on the node of the one optimizer there is."""
    if moved.state.kind != EMA:
        return moved
    template, parent = planning.template, renamed.get(moved.state.parent, moved.state.parent)
    there = [o.parent or o.name for o in template.optimizers if o.kind == EMA] if template else []
    owners = set(renamed.values())
    if planning.options.target_format not in OBJECT_BASED:
        parent = ""
    elif len(there) == 1:
        parent = there[0]
    elif planning.source.origin != "tf2":
        parent = owners.pop() if len(owners) == 1 else ""
    return replace(moved, state=replace(moved.state, parent=parent))


def _is_around(planning: Planning, way: Way, state: OptimizerState) -> bool:
    """Whether the target's optimizer stands in one that scales the loss: by the template, else by the state."""
    if way.place is not None and planning.template is not None:
        return is_wrapped(planning.template.optimizers, way.place.name)
    if state.dialect == "keras3":
        return is_scaled(state)
    stays = state.dialect == way.state.dialect and planning.options.target_format == planning.source.format
    return stays and is_wrapped(planning.source.optimizers, way.state.name)


def _wrapped(planning: Planning, way: Way, moved: MovedState) -> list[MovedState]:
    """Keras 3 keeps the loss scale in an optimizer around the one that it scales for."""
    state = moved.state
    if not _is_around(planning, way, state):
        return [_unscaled(planning, moved) if state.dialect == "keras3" and is_scaled(state) else moved]
    outer, own = parted(state)
    inner = f"{state.name}/{INNER}"
    flat = {name: called for called, name in WRAPPER_SCALARS.items()}
    planned = {p.name: p for p in moved.planned if not p.slot}
    around = tuple(
        replace(planned[WRAPPER_SCALARS[name]], name=name)
        if WRAPPER_SCALARS[name] in planned
        else Planned(name, "", state.name, stored.tensor, "made", detail="of the optimizer around it")
        for name, stored in outer.items()
    )
    within = tuple(replace(p, optimizer=inner) for p in moved.planned if p.slot or p.name not in flat)
    if outer and not is_scaled(state):
        message = "the source scales no loss: the scale of the target's wrapper starts at its default"
        planning.report(Issue("filled", "note", state.name, message))
    return [
        MovedState(OptimizerState(state.name, WRAPPER, state.dialect, 0, scalars=outer), around, ()),
        MovedState(replace(state, name=inner, scalars=own), within, moved.dropped),
    ]


def _unscaled(planning: Planning, moved: MovedState) -> MovedState:
    """The template's optimizer scales no loss."""
    message = "the loss scale isn't written: the template's optimizer has none"
    planning.report(Issue("unholdable", "note", moved.state.name, message))
    names = {*WRAPPER_SCALARS.values()}
    planned = tuple(p for p in moved.planned if p.slot or p.name not in names)
    rows = [
        Row(f"{moved.state.name}.{p.name}", "", p.source, "dropped", detail=message)
        for p in moved.planned
        if not p.slot and p.name in names
    ]
    scalars = {name: stored for name, stored in moved.state.scalars.items() if name not in names}
    return MovedState(replace(moved.state, scalars=scalars), planned, (*moved.dropped, *rows))


def _dropped(state: OptimizerState) -> list[Row]:
    why = "--optimizer drop"
    rows = [Row(key.variable, key.slot, stored.key, "dropped", detail=why) for key, stored in state.slots.items()]
    rows += [Row(f"{state.name}.{name}", "", s.key, "dropped", detail=why) for name, s in state.scalars.items()]
    return rows + [Row(s.key, "?", s.key, "dropped", detail=why) for s in state.unbound]


_Part = tuple[OptimizerState, OptimizerBlock]


def _split(state: OptimizerState, planning: Planning) -> list[_Part]:
    """The parts of a state that the mapping's blocks speak of, and the rest; each part has all of its scalars."""
    if telling := blocks_of(planning, state):
        return [(state, telling[0])]
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


def _target_names(
    planning: Planning, parts: Sequence[_Part], places: Sequence[OptimizerState], moves: Sequence[Moved]
) -> list[str]:
    """Where each state goes: by block, where the template has it, its own name, else `optimizer`, `optimizer_1`..."""
    options = planning.options
    have = [place.name for place in places]
    renamed = {m.move.sources[0]: m.move.targets[0] for m in moves if len(m.move.sources) == len(m.move.targets) == 1}
    taken: list[str] = []
    for state, block in parts:
        base = block.target or state.name
        if not block.target:
            trained = {renamed.get(key.variable, "") for key in state.slots}
            there = [p.name for p in places if trained and trained == {key.variable for key in p.slots}]
            if len(have) == len(parts) == 1:
                base = have[0]
            elif state.name not in have and len(there) == 1:
                base = there[0]
            elif options.target_format in OBJECT_BASED and state.dialect == "tf1" and state.name not in have:
                base = "optimizer"
        taken.append(_free(base, taken))
    return taken


def _free(base: str, taken: Sequence[str]) -> str:
    name, count = base, 0
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def _dialect(planning: Planning, state: OptimizerState, place: OptimizerState | None) -> str:
    """The dialect asked for, else the template's, the flavor's, the source's where it can stay so, the natural one."""
    source, options = planning.source, planning.options
    if options.dialect or not options.dialects:
        return options.dialect or state.dialect
    given = [o.dialect for o in planning.template.optimizers if o.kind != EMA] if planning.template else []
    wishes = [place.dialect if place is not None else "", *given[:1], options.natural]
    if asked := next((wish for wish in wishes if wish in options.dialects), ""):
        return asked
    if source.origin == options.target_origin:
        return state.dialect
    stays = options.target_format in LIST_KEEPERS or (options.target_format in OBJECT_BASED and state.dialect != "tf1")
    return state.dialect if stays and state.dialect in options.dialects else options.dialects[0]


def _step(source: Checkpoint, block: OptimizerBlock) -> int | None:
    """Completed steps for optimizers that store none: the counter the mapping names, else `global_step`."""
    variable = source.variables.get(block.step or "global_step")
    if variable is None or variable.tensor.shape != () or variable.tensor.dtype.name not in ("int64", "int32"):
        return None
    return int(variable.tensor.read())
