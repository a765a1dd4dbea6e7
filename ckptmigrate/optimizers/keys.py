"""The names that optimizer state is stored under: keys of name-based files, children of an optimizer node."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import count
from typing import NamedTuple

from ckptmigrate.objects import ATTRIBUTES
from ckptmigrate.optimizers.catalog import BY_KIND, LOSS_SCALE, spelling
from ckptmigrate.optimizers.owners import without_part
from ckptmigrate.table import OptimizerState, SlotKey

KERAS_SCOPE = "training"  # tf.keras in graph mode: training/Adam/iter, training/Adam/d1/kernel/m
_NUMBER = re.compile(r"_([1-9][0-9]{0,5})$", re.ASCII)


class Keys(NamedTuple):
    """Keys of a name-based file."""

    slots: Mapping[SlotKey, str]
    scalars: Mapping[str, str]


class ObjectNames(NamedTuple):
    """Canonical name -> how an optimizer node spells it: slots, and scalars (`loss_scale/x` is a child's child)."""

    slots: Mapping[str, str]
    scalars: Mapping[str, str]


def split_number(name: str) -> tuple[str, int]:
    """A name without the number TF1 appends to repeated ones, and that number.

    >>> split_number("Adam_1"), split_number("Adam")
    (('Adam', 1), ('Adam', 0))
    """
    found = _NUMBER.search(name)
    return (name[: found.start()], int(found[1])) if found and found.start() else (name, 0)


def numbered(name: str, number: int) -> str:
    """The way back."""
    return f"{name}_{number}" if number else name


def tf1_keys(state: OptimizerState, taken: Collection[str] = ()) -> Keys:
    """The keys under which a name-based file stores the state.

    A stored key of such a file is kept where it still fits its variable. Else state of dialect tf1 is spelled as TF1's
    own optimizers do (`w/Adam_1`; with the state's name where the optimizer had one of its own), state of the Keras
    dialects as tf.keras does in graph mode (`training/Adam/w/m`).

    Args:
        state: Tensors are not looked at.
        taken: Keys that are in use; TF1's numbers are counted on from there (`w/Adam_2`, `beta1_power_1`).
    """
    used = set(taken)
    slots = {key: stored.key for key, stored in state.slots.items() if _is_kept(key, stored.key, used)}
    used.update(slots.values())
    missing = [key for key in state.slots if key not in slots]
    scope = "" if state.dialect == "tf1" else _scope(state, used)
    slots |= _named_slots(state, missing, scope) if scope else _numbered_slots(state, missing, used)
    used.update(slots.values())
    return Keys({key: slots[key] for key in state.slots}, _scalars(state, scope, used))


def _is_kept(key: SlotKey, stored: str, used: Collection[str]) -> bool:
    head = stored.rpartition("/")[0]
    whole = without_part(head, key.variable)
    fits = whole == key.variable or whole.endswith(f"/{key.variable}")
    return fits and ATTRIBUTES not in stored and stored not in used


def _numbered_slots(state: OptimizerState, missing: list[SlotKey], used: Collection[str]) -> dict[SlotKey, str]:
    spelled = spelling(state.kind, "tf1")
    if spelled is None or not spelled.numbered:
        return {
            key: f"{key.variable}/{key.slot}" for key in missing
        }  # slots of unknown kinds are named by their ending
    here = {key.slot for key in state.slots}
    variant = max(spelled.numbered, key=lambda v: (len(here & set(v)), -len(v)))
    numbers = {slot: number for number, slot in enumerate(variant)}
    title, first = _title(state, spelled.title, len(variant))
    for start in count(first, len(variant)):
        keys = {
            key: f"{key.variable}/{numbered(title, start + numbers[key.slot]) if key.slot in numbers else key.slot}"
            for key in missing
        }
        if not any(key in used for key in keys.values()) or start > first + len(used):
            break
    return keys


def _title(state: OptimizerState, title: str, size: int) -> tuple[str, int]:
    """The optimizer's own name and first number; its kind's where it only has the name of an attribute."""
    own, first = split_number(state.name.rpartition("/")[2])
    known = BY_KIND.get(state.kind)
    titles = {spelled.title for spelled in known.dialects.values()} if known else set()
    if not own or "optimizer" in own:
        return title, 0
    return title if own in titles else own, first if first % size == 0 else 0


def _named_slots(state: OptimizerState, missing: list[SlotKey], scope: str) -> dict[SlotKey, str]:
    names = object_names(state).slots
    return {key: f"{scope}{key.variable}/{names.get(key.slot, key.slot)}" for key in missing}


def _scope(state: OptimizerState, used: Collection[str]) -> str:
    """What Keras puts before the scalars and slots of its optimizer: that of a stored key, else the default."""
    for stored in state.scalars.values():
        if "/" in stored.key and ATTRIBUTES not in stored.key:
            return stored.key.rpartition("/")[0] + "/"
    spelled = spelling(state.kind, state.dialect)
    title = spelled.title if spelled else state.name.rpartition("/")[2]
    scopes = (f"{KERAS_SCOPE}/{numbered(title, number)}/" for number in range(len(used) + 1))
    return next(scope for scope in scopes if f"{scope}iter" not in used)


def _scalars(state: OptimizerState, scope: str, used: Collection[str]) -> dict[str, str]:
    spelled = spelling(state.kind, state.dialect)
    names = {**spelled.scalars, **spelled.hyper} if spelled else {}
    keys = {n: s.key for n, s in state.scalars.items() if s.key and ATTRIBUTES not in s.key and s.key not in used}
    missing = [name for name in state.scalars if name not in keys]
    taken = {*used, *keys.values()}
    # The pair of powers gets one number, the first that is free for both.
    number = next(
        n for n in count() if not any(numbered(scope + names.get(m, m), n) in taken for m in missing) or n > len(taken)
    )
    made = {name: name if name in LOSS_SCALE else numbered(scope + names.get(name, name), number) for name in missing}
    return {name: keys.get(name) or made[name] for name in state.scalars}


def object_names(state: OptimizerState) -> ObjectNames:
    """How the state's dialect spells slots and scalars as children of an optimizer node.

    All that the dialect knows of this kind of optimizer, and what the state holds beyond (as it is named there).
    """
    spelled = spelling(state.kind, state.dialect)
    slots = {key.slot: key.slot for key in state.slots}
    scalars = {name: f"loss_scale/{name}" if name in LOSS_SCALE else name for name in state.scalars}
    if spelled:
        slots |= {s.name: s.spelling for s in spelled.slots}
        scalars |= {**spelled.scalars, **spelled.hyper}
    return ObjectNames(slots, scalars)
