"""Name-based files, checkpoints and TF1 SavedModels: keys of variables, slots, values of optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from ckptmigrate.formats.bundles import tensors_of
from ckptmigrate.formats.parts import part_keys
from ckptmigrate.formats.roles import role_of
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers import recognise_names
from ckptmigrate.table import Checkpoint, OptimizerState, Role, Tensor, Variable
from ckptmigrate.wire.bundle import Bundle

NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})
NAMED = frozenset(
    {"tf1", "tf1-v1", "savedmodel"}
)  # formats that tell slots by names; a savedmodel of TF2 by its objects


class Named(NamedTuple):
    """What a name-based file holds.

    Attributes:
        variables: By name, which is the key.
        optimizers: Those whose names tell them.
        issues: What recognising them found.
    """

    variables: dict[str, Variable]
    optimizers: tuple[OptimizerState, ...]
    issues: tuple[Issue, ...]


def read_named(bundle: Bundle) -> Named:
    """A bundle's tensors by their names; reads scalars of optimizers.

    Raises:
        DamagedError: An entry contradicts itself.
    """
    joined = part_keys(bundle.entries)
    return named(tensors_of(bundle, joined), joined)


def named(
    tensors: Mapping[str, Tensor],
    joined: Mapping[str, tuple[str, ...]] = NOTHING,
    slots: Mapping[str, str] | None = None,
) -> Named:
    """Tells variables from optimizers' state by their names; reads scalars of optimizers.

    Args:
        tensors: By key.
        joined: The keys that a tensor stands under, all parts of it, where these are several; by the one in `tensors`.
        slots: Endings of home-made optimizers -> canonical slot.
    """
    state = recognise_names(tensors, slots=slots)
    counters = frozenset(state.counters)
    variables = {}
    for name in state.variables:
        tensor = tensors[name]
        role: Role = "counter" if name in counters else role_of(name, tensor.dtype, tensor.shape)
        variables[name] = Variable(name, tensor, name, role, copies=joined.get(name, ())[1:])
    return Named(variables, tuple(_with_parts(s, joined) for s in state.optimizers), state.issues)


def _with_parts(state: OptimizerState, joined: Mapping[str, tuple[str, ...]]) -> OptimizerState:
    """Slots of partitioned variables, each with the keys of its other parts."""
    parted = {k: replace(s, copies=joined[s.key][1:]) for k, s in state.slots.items() if s.key in joined}
    return replace(state, slots={**state.slots, **parted}) if parted else state


def with_slots(source: Checkpoint, slots: Mapping[str, str]) -> Checkpoint:
    """A name-based checkpoint, its slots recognised by these endings, too; any other stays as it is.

    Args:
        source: As read.
        slots: Endings of home-made optimizers -> canonical slot (`{adam_m: m, adam_v: v}`).
    """
    if not slots or source.format not in NAMED or source.structure.objects is not None:
        return source
    tensors = {entry.key: entry.tensor for entry in source.rows()}
    joined = {v.key: (v.key, *v.copies) for v in source.variables.values() if v.copies}
    joined |= {s.key: (s.key, *s.copies) for o in source.optimizers for s in o.slots.values() if s.copies}
    before, found = named(tensors, joined), named(tensors, joined, slots)
    kept = (issue for issue in source.issues if issue not in before.issues)
    variables = {name: source.variables.get(name, variable) for name, variable in found.variables.items()}
    return replace(source, variables=variables, optimizers=found.optimizers, issues=(*kept, *found.issues))
