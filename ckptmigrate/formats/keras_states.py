"""Optimizer state of Keras files: a list without owners, given its variables by the order that each optimizer keeps.

Every Keras lists its optimizer's variables: the step and other scalars, then slots of the trainable variables, one slot
after the other or variable by variable. Facts: tf_keras 2.21 (`optimizers`, `optimizers/legacy`), Keras 3.15, 2.3.1,
2.2.4 and 1.2.2, by the files they write.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import AVERAGE, SHADOWS, by_title, list_of
from ckptmigrate.optimizers.record import Block, Listed
from ckptmigrate.optimizers.scalars import whole_value
from ckptmigrate.table import OptimizerState, SlotKey, Stored

PLACEHOLDER = "placeholder"  # Keras 2 keeps (1,)-shaped vhats without AMSGrad: scalars called so, with their number


@dataclass(frozen=True, slots=True)
class Owner:
    """A trainable variable, in the model's order: its name, shape, and how files spell it ("" for unknown)."""

    name: str
    shape: tuple[int, ...]
    spelled: str = ""


@dataclass(frozen=True, slots=True)
class StateList:
    """An optimizer's list as a file has it.

    Attributes:
        name: What the state is called.
        stored: The list.
        dialect: Of table.DIALECTS.
        title: The optimizer's class, or how files spell it (`Adam`, `adam_w`); "" for unknown.
        settings: Its configuration.
        has_names: True when the keys tell the variables' names, which then must agree.
        slots: The slot that each key tells, "" for none; () where keys tell none.
    """

    name: str
    stored: tuple[Stored, ...]
    dialect: str
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    has_names: bool = False
    slots: tuple[str, ...] = ()


def _one(slot: str, when: str = "") -> Block:
    return Block((slot,), when)


# Optimizers whose records don't tell their lists yet, by class.
_APART = {
    "adagrad": Listed((_one("accumulator"),)),
    "adadelta": Listed((_one("accum_grad"), _one("accum_var"))),
    "adamax": Listed((_one("m"), _one("v"))),
    "nadam": Listed((_one("m"), _one("v")), ("iter", "momentum_cache")),
    "ftrl": Listed((Block(("accumulator", "linear")),)),
}
_TOGETHER = {
    **_APART,
    "lamb": Listed((Block(("m", "v")), _one("vhat", "amsgrad"))),
    "adadelta": Listed((Block(("accum_grad", "accum_var")),)),
    "adamax": Listed((Block(("m", "v")),)),
    "nadam": Listed((Block(("m", "v")),)),
    "lion": Listed((_one("m"),)),
}
_KERAS3 = {title: listed._replace(first=("iter", "learning_rate")) for title, listed in _TOGETHER.items()}
_UNTOLD: Mapping[str, Mapping[str, Listed]] = {
    "keras1": _APART,
    "keras-legacy": _APART,
    "keras2": _TOGETHER,
    "keras3": {**_KERAS3, "nadam": _KERAS3["nadam"]._replace(last=("momentum_cache",))},
}


def listed_of(title: str, dialect: str) -> Listed | None:
    """The order of the list of an optimizer of that class or kind; None where it isn't known."""
    found = by_title("SGD" if title == "momentum" else title, dialect)
    listed = list_of(found.kind, dialect) if found else None
    if listed is None and (untold := _UNTOLD.get(dialect, {}).get(title)):
        return untold._replace(blocks=(*(SHADOWS if dialect in ("keras2", "keras3") else ()), *untold.blocks))
    return listed


# Settings that are hyperparameters, by the names Keras gives them.
_HYPER = {"lr": "learning_rate", **{n: n for n in ("learning_rate", "decay", "momentum", "rho", "beta_1", "beta_2")}}


def bind(told: StateList, owners: Sequence[Owner]) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """The state behind a list, averages as a state of their own; what can't be told stays unbound, with a warning."""
    title = told.title.replace("_", "").lower()
    scalars, slots = _scalars(told, title)
    hyper = _hyper(told.settings)
    step = whole_value(scalars.get("iter"))
    kind = "momentum" if title == "sgd" and slots else title or "unknown"
    blocks = _fitting(told, title, slots, owners)
    if blocks is None:
        issue = _unclear(told, slots) if slots else None
        state = OptimizerState(told.name, kind if not slots else "unknown", told.dialect, step, hyper, scalars)
        return (replace(state, unbound=tuple(slots)),), (issue,) if issue else ()
    places = list(_places(blocks, owners))
    bound = dict(zip(places, slots, strict=True))
    spare = {k: s for k, s in bound.items() if _is_placeholder(told, k, s, bound)}
    scalars |= {f"{PLACEHOLDER}/{number}": stored for number, stored in enumerate(spare.values())}
    averages = {k: s for k, s in bound.items() if k.slot == AVERAGE}
    own = {k: s for k, s in bound.items() if k not in averages and k not in spare}
    if kind == "momentum" and not own:
        kind = "sgd"
    order = tuple(k for k in places if k in own)
    state = OptimizerState(told.name, kind, told.dialect, step, hyper, scalars, own, order)
    if not averages:
        return (state,), ()
    shadow = OptimizerState(f"{told.name}/{AVERAGE}", "ema", told.dialect, slots=averages, parent=told.name)
    return (state, shadow), ()


def unbind(state: OptimizerState, averages: OptimizerState | None, owners: Sequence[str]) -> list[tuple[str, Stored]]:
    """The list of a state, each with its label: a scalar's name, `slot/variable`, or "" for what has no owner.

    Args:
        state: In a dialect with lists.
        averages: Its averages, or None.
        owners: The trainable variables in the model's order; those without slots are passed over.
    """
    listed = listed_of(state.kind, state.dialect) or Listed(())
    front = [(n, s) for n, s in state.scalars.items() if n not in listed.last and not n.startswith(PLACEHOLDER)]
    behind = [(n, s) for n, s in state.scalars.items() if n in listed.last or n.startswith(PLACEHOLDER)]
    held = {**(averages.slots if averages else {}), **state.slots}
    names = [SlotKey(owner, slot) for b in listed.blocks for owner in owners for slot in b.slots]
    ordered = [key for key in names if key in held]
    ordered += [key for key in (*state.order, *held) if key in held]
    slots = [(f"{key.slot}/{key.variable}", held[key]) for key in dict.fromkeys(ordered)]
    return [*front, *slots, *(("", stored) for stored in state.unbound), *behind]


def is_ordered(state: OptimizerState) -> bool:
    """Whether the order of its list is known: by its kind, or as it was read."""
    listed = listed_of(state.kind, state.dialect)
    slots = {slot for block in (listed.blocks if listed else ()) for slot in block.slots}
    return slots.issuperset(key.slot for key in state.slots) or set(state.order) >= set(state.slots)


def _scalars(told: StateList, title: str) -> tuple[dict[str, Stored], list[Stored]]:
    """What stands before and behind the slots, by canonical name, and the slots."""
    left = list(told.stored)
    scalars: dict[str, Stored] = {}
    listed = listed_of(title, told.dialect) or Listed((), ("iter", "learning_rate")[: 1 + (told.dialect == "keras3")])
    for name in listed.first:
        if left and left[0].tensor.shape == () and (name != "iter" or _is_step(told, left[0])):
            scalars[name] = left.pop(0)
    for name in listed.last:
        if left and left[-1].tensor.shape == ():
            scalars[name] = left.pop()
    return scalars, left


def _is_step(told: StateList, stored: Stored) -> bool:
    """The step is an integer; Keras 1 counted in float32."""
    return not stored.tensor.dtype.is_float or told.dialect == "keras1"


def _fitting(told: StateList, title: str, slots: Sequence[Stored], owners: Sequence[Owner]) -> tuple[Block, ...] | None:
    """The blocks that these slots are, or None: by number and shapes, then by the settings if that leaves several."""
    listed = listed_of(title, told.dialect)
    if listed is None:
        return None
    blocks = listed.blocks
    optional = [b for b in blocks if b.when]
    fits = []
    for count in range(len(optional) + 1):
        for without in itertools.combinations(optional, count):
            kept = tuple(b for b in blocks if b not in without)
            if _fit(told, kept, slots, owners):
                fits.append(kept)
    if len(fits) > 1 and told.slots:
        names = told.slots[len(told.stored) - len(slots) :]
        fits = [f for f in fits if all(n in ("", k.slot) for n, k in zip(names, _places(f, owners), strict=False))]
    if len(fits) > 1:
        asked = tuple(b for b in blocks if not b.when or told.settings.get(b.when))
        fits = [f for f in fits if f == asked]
    return fits[0] if len(fits) == 1 else None


def _fit(told: StateList, blocks: Sequence[Block], slots: Sequence[Stored], owners: Sequence[Owner]) -> bool:
    if sum(len(b.slots) for b in blocks) * len(owners) != len(slots):
        return False
    by_name = {owner.name: owner for owner in owners}
    for key, stored in zip(_places(blocks, owners), slots, strict=True):
        owner = by_name[key.variable]
        loose = key.slot == "vhat" and told.dialect == "keras1" and stored.tensor.shape == (1,)
        if stored.tensor.shape != owner.shape and not loose:
            return False
        if told.has_names and _flat(owner.spelled) not in _flat(stored.key):
            return False
    return True


def _flat(text: str) -> str:
    return text.removesuffix(":0").replace("/", "_")


def _places(blocks: Sequence[Block], owners: Sequence[Owner]) -> Iterator[SlotKey]:
    return (SlotKey(owner.name, slot) for b in blocks for owner in owners for slot in b.slots)


def _is_placeholder(told: StateList, key: SlotKey, stored: Stored, bound: Mapping[SlotKey, Stored]) -> bool:
    if told.dialect != "keras1" or key.slot != "vhat" or told.settings.get("amsgrad"):
        return False
    return all(s.tensor.shape == (1,) for k, s in bound.items() if k.slot == "vhat")


def _hyper(settings: Mapping[str, Any]) -> dict[str, float]:
    numbers = {n: v for n, v in settings.items() if n in _HYPER and type(v) in (int, float)}
    return {_HYPER[name]: float(value) for name, value in numbers.items()}


def _unclear(told: StateList, slots: Sequence[Stored]) -> Issue:
    title = told.title or "an unknown optimizer"
    message = (
        f"{len(slots)} slots of {title}: whose they are isn't told. They stay in their order, for the same model and "
        f"the dialect {told.dialect}"
    )
    return Issue("guess", "warning", told.name, message)
