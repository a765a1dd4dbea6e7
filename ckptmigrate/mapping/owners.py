"""Lists whose owners the file doesn't tell: bound by the mapping's `optimizers` blocks, else by the template's list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.moves import Moved
from ckptmigrate.mapping.options import Planning
from ckptmigrate.mapping.rules import OptimizerBlock
from ckptmigrate.optimizers import UNKNOWN, spelling
from ckptmigrate.optimizers.binding import StateList, bind
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.table import Checkpoint, OptimizerState, Variable

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
    blocks = blocks_of(planning, state)
    if blocks:
        return _by_blocks(planning, state, blocks)
    told = [place for place in places if place.kind != UNKNOWN]
    named = [place for place in told if place.name == state.name] or (told if len(told) == 1 else [])
    return _by_place(planning, state, named[0], moves) if named else (state,)


def blocks_of(planning: Planning, state: OptimizerState) -> list[OptimizerBlock]:
    """The blocks that tell of what kind a state is, and whose."""
    return [b for b in planning.options.blocks if b.kind and b.source in ("", state.name)]


def _by_blocks(
    planning: Planning, state: OptimizerState, blocks: Sequence[OptimizerBlock]
) -> tuple[OptimizerState, ...]:
    """The variables that blocks name, in the order of blocks, then of the source."""
    trained = [v for v in planning.source.variables.values() if _is_trained(v)]
    held = {v.name: v for block in blocks for v in trained if block.holds(v)}
    found = _bound(state, blocks[0].kind, list(held.values()))
    if found is None:
        text = f"its {len(state.unbound)} slots are no list of {blocks[0].kind} for {len(held)} variables in this order"
        hint = "ckptmigrate inspect --all shows shapes of both; a block for each layer gives the order"
        planning.report(Issue("slot", "error", state.name, text, hint, blocks[0].where))
        return (state,)
    return found


def _by_place(
    planning: Planning, state: OptimizerState, place: OptimizerState, moves: Sequence[Moved]
) -> tuple[OptimizerState, ...]:
    """The variables that the template's list has slots of, else its layers train, by their names in the source."""
    sources = {m.move.targets[0]: m.move.sources[0] for m in moves if len(m.move.targets) == len(m.move.sources) == 1}
    trained = list(dict.fromkeys(key.variable for key in place.order)) or _by_layers(planning.template)
    names = [sources.get(name, "") for name in trained]
    if not names or not all(names):
        return (state,)
    found = _bound(state, place.kind, [planning.source.variables[name] for name in names])
    if found is None:
        return (state,)
    text = f"its {len(state.unbound)} slots are taken for those of the template's {place.kind}, in the same order"
    planning.report(Issue("guess", "note", state.name, text))
    return found


def _by_layers(template: Checkpoint | None) -> list[str]:
    layers = (template.structure.layout if template is not None else None) or ()
    held = dict.fromkeys(name for layer in layers for _, name in layer.attributes)
    variables = template.variables if template is not None else {}
    return [name for name in held if name in variables and _is_trained(variables[name])]


def _bound(state: OptimizerState, kind: str, variables: Sequence[Variable]) -> tuple[OptimizerState, ...] | None:
    spelled = spelling("momentum" if kind == "sgd" else kind, state.dialect)
    if spelled is None:
        return None
    stored = (*state.scalars.values(), *state.unbound)
    told = StateList(state.name, stored, state.dialect, spelled.title)
    states, _ = bind(told, [Owner(v.name, v.tensor.shape) for v in variables])
    if states[0].unbound:
        return None
    own = replace(states[0], hyper={**state.hyper, **states[0].hyper}, step=states[0].step or state.step)
    return (own, *states[1:])


def _is_trained(variable: Variable) -> bool:
    return variable.trainable is not False and variable.role not in _NOT_TRAINED and variable.tensor.dtype.is_float


def fill_in(state: OptimizerState) -> str:
    """The block of a mapping that tells whose slots these are, to be filled in."""
    kind = "KIND" if state.kind == UNKNOWN else state.kind
    return (
        "a mapping tells: optimizers: [{from: "
        + f'{state.name}, kind: {kind}, variables: "{{name:path}}"}}]'
        + ", with the pattern of the trained variables, or a block for each layer in the model's order"
    )
