"""Lists whose owners the file doesn't tell: bound by the mapping's `optimizers` blocks, else by the template's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.moves import Moved
from ckptmigrate.mapping.options import Planning
from ckptmigrate.mapping.rules import OptimizerBlock
from ckptmigrate.optimizers import UNKNOWN, spelling
from ckptmigrate.optimizers.binding import StateList, bind, making_slots, settings_of
from ckptmigrate.optimizers.catalog import list_of
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.table import Checkpoint, OptimizerState, Variable

_EXAMPLES = {"momentum": 0.9}  # what a hint gives a setting, 1 otherwise
_NOT_TRAINED = frozenset({"bn_mean", "bn_variance", "counter", "rng", "metric", "table", "iterator"})


def with_owners(
    planning: Planning, states: Sequence[OptimizerState], places: Sequence[OptimizerState], moves: Sequence[Moved]
) -> list[OptimizerState]:
    """The states, bound where a block or the template tells whose their slots are; averages behind theirs."""
    if not any(state.unbound for state in states):
        return list(states)
    return [bound for state in states for bound in _with_owners(planning, state, places, moves)]


def _with_owners(
    planning: Planning, state: OptimizerState, places: Sequence[OptimizerState], moves: Sequence[Moved]
) -> tuple[OptimizerState, ...]:
    if not state.unbound or state.slots:
        return (state,)
    told = [place for place in places if place.kind != UNKNOWN]
    named = [place for place in told if place.name == state.name] or (told if len(told) == 1 else [])
    place = named[0] if named else None
    blocks = blocks_of(planning, state)
    return _by_blocks(planning, state, blocks, place) if blocks else _by_order(planning, state, place, moves)


def blocks_of(planning: Planning, state: OptimizerState) -> list[OptimizerBlock]:
    """The blocks that tell of what kind a state is, and whose."""
    return [b for b in planning.options.blocks if b.kind and b.source in ("", state.name)]


def _by_blocks(
    planning: Planning, state: OptimizerState, blocks: Sequence[OptimizerBlock], place: OptimizerState | None
) -> tuple[OptimizerState, ...]:
    """The variables that blocks name, in the order of blocks, then of the source."""
    trained = [v for v in planning.source.variables.values() if _is_trained(v)]
    held = {v.name: v for block in blocks for v in trained if block.holds(v)}
    hyper = {**planning.options.hyper, **blocks[0].hyper}
    found, issues = _bound(state, blocks[0].kind, list(held.values()), hyper, place)
    if not found or found[0].unbound:
        text = f"its {len(state.unbound)} slots are no list of {blocks[0].kind} for {len(held)} variables in this order"
        hint = "ckptmigrate inspect --all shows shapes of both; a block for each layer gives the order"
        if found and found[0].kind != UNKNOWN:
            text, hint = f"the file doesn't tell which slots of {blocks[0].kind} its list holds", fill_in(found[0])
        planning.report(Issue("slot", "error", state.name, text, hint, blocks[0].where))
        return (state,)
    planning.issues.extend(issues)
    return found


def _by_order(
    planning: Planning, state: OptimizerState, place: OptimizerState | None, moves: Sequence[Moved]
) -> tuple[OptimizerState, ...]:
    """The variables in the order that the file tells; else those that the template's list has, or its layers train."""
    kind = place.kind if place is not None and state.kind == UNKNOWN else state.kind
    names = [key.variable for key in state.order] or (_as_placed(planning, place, moves) if place is not None else [])
    if not names or not all(names) or kind == UNKNOWN:
        return (state,)
    variables = [planning.source.variables[name] for name in names]
    found, issues = _bound(state, kind, variables, planning.options.hyper, place)
    if not found or found[0].unbound:
        return (state,)
    if kind != state.kind:
        text = f"its {len(state.unbound)} slots are taken for those of the template's {kind}, in the same order"
        planning.report(Issue("guess", "note", state.name, text))
    planning.issues.extend(issues)
    return found


def _as_placed(planning: Planning, place: OptimizerState, moves: Sequence[Moved]) -> list[str]:
    """What the template's optimizer trains, as the source calls it; "" for what it lacks."""
    sources = {m.move.targets[0]: m.move.sources[0] for m in moves if len(m.move.targets) == len(m.move.sources) == 1}
    trained = list(dict.fromkeys(key.variable for key in place.order)) or _by_layers(planning.template)
    return [sources.get(name, "") for name in trained]


def _by_layers(template: Checkpoint | None) -> list[str]:
    layers = (template.structure.layout if template is not None else None) or ()
    held = dict.fromkeys(name for layer in layers for _, name in layer.attributes)
    variables = template.variables if template is not None else {}
    return [name for name in held if name in variables and _is_trained(variables[name])]


def _bound(
    state: OptimizerState,
    kind: str,
    variables: Sequence[Variable],
    hyper: Mapping[str, float],
    place: OptimizerState | None,
) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """The state with owners, and what was guessed; nothing where there is no such list."""
    kind = "momentum" if kind == "sgd" else kind
    spelled, listed = spelling(kind, state.dialect), list_of(kind, state.dialect)
    if spelled is None or listed is None:
        return (), ()
    first, last = ([state.scalars[n] for n in names if n in state.scalars] for names in (listed.first, listed.last))
    stored = (*first, *state.unbound, *last)
    there = settings_of(place, state.dialect) if place is not None and place.kind == kind else {}
    given = {name: hyper[name] for name in making_slots(kind, state.dialect) if name in hyper}
    told = StateList(state.name, stored, state.dialect, spelled.title, {**there, **given})
    states, issues = bind(told, [Owner(v.name, v.tensor.shape) for v in variables])
    own = replace(
        states[0],
        step=states[0].step or state.step,
        hyper={**state.hyper, **states[0].hyper},
        scalars={**state.scalars, **states[0].scalars},
    )
    return (own, *states[1:]), issues


def _is_trained(variable: Variable) -> bool:
    return variable.trainable is not False and variable.role not in _NOT_TRAINED and variable.tensor.dtype.is_float


def fill_in(state: OptimizerState) -> str:
    """What tells whose slots these are: the block of a mapping, to be filled in; or which they are: a setting."""
    if state.kind != UNKNOWN:
        settings = making_slots(state.kind, state.dialect)
        told = " or ".join(f"--hyper {name}={_EXAMPLES.get(name, 1)}" for name in settings)
        return f"{told} tells which slots these are"
    return (
        "a mapping tells: unmatched: keep, optimizers: [{from: "
        + f'{state.name}, kind: KIND, variables: "{{name:path}}"}}]'
        + ", with the pattern of the trained variables, or a block for each layer in the model's order"
    )
