"""Optimizer state of an object-based file: slots by slot reference, all else by the path below the optimizer's node."""

from __future__ import annotations

from dataclasses import replace

from ckptmigrate.formats.object_lists import holds_lists, read_lists
from ckptmigrate.formats.object_view import View, is_value
from ckptmigrate.issues import Issue
from ckptmigrate.objects import ATTRIBUTES
from ckptmigrate.optimizers import recognise_object
from ckptmigrate.optimizers.keys import split_number
from ckptmigrate.table import OptimizerState, SlotKey, Stored

AVERAGE = "average"


def states_of(view: View) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """Every optimizer's state, averages behind it as a state of kind `ema`; an inner optimizer is one of its own.

    Also what was guessed, or isn't told.
    """
    taken: set[str] = set()  # keys of slots: hostile graphs give one to two variables
    states: list[OptimizerState] = []
    issues: list[Issue] = []
    for number, name in view.paths.optimizers.items():
        if holds_lists(view, number):
            found = read_lists(view, number, name)
            states += found.states
            issues += found.issues
        else:
            states += _states(view, number, name, taken)
    return tuple(states), tuple(issues)


def _states(view: View, number: int, name: str, taken: set[str]) -> list[OptimizerState]:
    """The state of one node, and the averages that stand among its slots."""
    slots: dict[SlotKey, Stored] = {}
    unbound: list[Stored] = []
    for reference in view.graph.nodes[number].slots:
        value = view.value(reference.node)
        if value is None or value.stored.key in taken:
            continue
        taken.add(value.stored.key)
        owner = view.names.get(reference.variable)
        key = SlotKey(owner or "", reference.slot)
        if owner is None or key in slots:
            unbound.append(value.stored)
        else:
            slots[key] = value.stored
    averages = {key: stored for key, stored in slots.items() if key.slot == AVERAGE}
    own = {key: stored for key, stored in slots.items() if key.slot != AVERAGE}
    scalars = _scalars(view, number)
    if averages and not own and not scalars and not unbound:
        return [OptimizerState(name, "ema", "keras-legacy", slots=averages)]
    state = recognise_object(name, scalars, own, title=_title(view, number))
    state = replace(state, unbound=(*state.unbound, *unbound))
    shadows = OptimizerState(f"{name}/{AVERAGE}", "ema", state.dialect, slots=averages, parent=name)
    return [state, shadows] if averages else [state]


def _scalars(view: View, number: int) -> dict[str, Stored]:
    """What the optimizer owns, by the path below its node; what is no variable's value with its attribute."""
    scalars: dict[str, Stored] = {}
    for node, path in view.paths.owned[number].items():
        for attribute, stored in view.values.get(node, ()):
            name = path if is_value(attribute) else path + ATTRIBUTES + stored.key.rpartition(ATTRIBUTES)[2]
            scalars.setdefault(name, stored)
    return scalars


def _title(view: View, number: int) -> str:
    """The optimizer's own name, from a full name: `Adam/iter`, `training/Adam/beta_1`, a slot's `conv/w/Adam_1`.

    What was made before the first step stands in no scope: `iter`, also where all else is `Adam/...`.
    """
    for node, path in view.paths.owned[number].items():
        value = view.value(node)
        if value and value.attribute.full_name.endswith(f"/{path}"):
            return value.attribute.full_name.removesuffix(f"/{path}").rpartition("/")[2]
    for reference in view.graph.nodes[number].slots:
        value = view.value(reference.node)
        ending = value.attribute.full_name.rpartition("/")[2] if value else ""
        if ending and ending != reference.slot:
            return split_number(ending)[0]
    return ""
