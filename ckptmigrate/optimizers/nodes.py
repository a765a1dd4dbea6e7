"""Recognition of the optimizer behind one node of an object graph, by the names of its children and slots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ckptmigrate.optimizers.adam import read_step
from ckptmigrate.optimizers.catalog import LOSS_SCALE, OPTIMIZERS, UNKNOWN, is_foreign, spelling
from ckptmigrate.optimizers.record import Spelling
from ckptmigrate.optimizers.scalars import scalar_value, whole_value
from ckptmigrate.table import OptimizerState, SlotKey, Stored

# Children of the optimizers of tf_keras 2.11+ and Keras 3, whose slots stand in lists.
_LISTS = re.compile(r"_[a-z_]+/(0|[1-9][0-9]{0,8})$", re.ASCII)
_NEW_NAMES = {
    "_iterations": "iter",
    "_learning_rate": "learning_rate",
    "_current_learning_rate": "learning_rate",
}


def recognise_object(
    name: str, scalars: Mapping[str, Stored], slots: Mapping[SlotKey, Stored], *, title: str = ""
) -> OptimizerState:
    """The state of one optimizer node.

    Args:
        name: Where the node stands.
        scalars: Its stored children by local name (`iter`, `beta_1`, `beta1_power`, `_variables/3`); what is no
            scalar, or stands in a list, becomes unbound state.
        slots: Variable and slot name as stored -> slot.
        title: The optimizer's class or own name, where the file tells (`Adam/iter` as the variable's full name).
    """
    if any(child in _NEW_NAMES or _LISTS.match(child) for child in scalars):
        return _list_based(name, scalars, slots)
    plain = {child.removeprefix("loss_scale/"): stored for child, stored in scalars.items()}
    dialect = "keras-legacy" if {"iter", "learning_rate", "decay"} & plain.keys() else "tf1"
    kind = identify(dialect, {key.slot for key in slots}, set(plain) - set(LOSS_SCALE), title)
    spelled = spelling(kind, dialect) or Spelling("")
    canonical = {s.spelling: s.name for s in spelled.slots}
    named = {spelt: n for n, spelt in {**spelled.scalars, **spelled.hyper}.items()}
    held = {named.get(child, child): stored for child, stored in plain.items()}
    hyper = read_hyper(held, spelled.hyper)
    if kind == "sgd" and hyper.get("momentum"):
        kind = "momentum"  # saved before its first step: the slots don't exist yet
    step = whole_value(held.get("iter")) if dialect == "keras-legacy" else read_step(held, hyper).step
    bound = {SlotKey(key.variable, canonical.get(key.slot, key.slot)): stored for key, stored in slots.items()}
    return OptimizerState(name, kind, dialect, step=step, hyper=hyper, scalars=held, slots=bound)


def read_hyper(scalars: Mapping[str, Stored], names: Iterable[str]) -> dict[str, float]:
    """The values of those hyperparameters that the file holds."""
    values = {name: scalar_value(scalars.get(name)) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def identify(dialect: str, slots: set[str], scalars: set[str], title: str = "") -> str:
    """The kind whose slots and scalars these are; "unknown" when there is none.

    Among several, the one by that title, else the one that misses the fewest of its hyperparameters.
    """
    if is_foreign(title, dialect):
        return UNKNOWN
    fits = []
    for optimizer in OPTIMIZERS:
        spelled = optimizer.dialects.get(dialect)
        if spelled is None or not _holds(spelled, slots, scalars):
            continue
        fits.append((spelled.title != title, len(spelled.hyper.keys() - scalars), optimizer.kind))
    best = min(fits, key=lambda fit: fit[:2], default=None)
    if best is None or (
        not slots and best[1] > 1
    ):  # a schedule takes the learning rate away, nothing else is ever missing
        return UNKNOWN
    return best[2]


def _holds(spelled: Spelling, slots: set[str], scalars: set[str]) -> bool:
    names = {*spelled.scalars.values(), *spelled.hyper.values()}
    required = {s.spelling for s in spelled.slots if not s.is_optional}
    fits = slots <= {s.spelling for s in spelled.slots} and (required <= slots or not slots)
    return fits and scalars <= names and (bool(slots) or bool(scalars))


def _list_based(name: str, scalars: Mapping[str, Stored], slots: Mapping[SlotKey, Stored]) -> OptimizerState:
    """State of the newer Keras optimizers, held as it is: which variable a list's member belongs to isn't told here."""
    held = {_NEW_NAMES.get(c, c): s for c, s in scalars.items() if not _LISTS.match(c) and s.tensor.size == 1}
    children = [
        c for c, s in scalars.items() if _NEW_NAMES.get(c, c) not in held or held[_NEW_NAMES.get(c, c)] is not s
    ]
    unbound = tuple(scalars[child] for child in sorted(children, key=_in_list))
    return OptimizerState(
        name,
        UNKNOWN,
        _list_dialect(scalars),
        step=whole_value(held.get("iter")),
        hyper=read_hyper(held, ("learning_rate",)),
        scalars=held,
        slots=dict(slots),
        unbound=unbound,
    )


def _in_list(child: str) -> tuple[str, int]:
    head, _, last = child.rpartition("/")
    return (head, int(last)) if last.isascii() and last.isdigit() and len(last) < 10 else (child, 0)


def _list_dialect(scalars: Mapping[str, Stored]) -> str:
    """tf_keras counts its slots from 1; Keras 3 from 2, or from 1 under a schedule, without any learning rate then."""
    members = [_in_list(child)[1] for child in scalars if child.startswith("_variables/")]
    first = min((number for number in members if number > 0), default=0)
    told = {"_learning_rate", "_current_learning_rate"} & scalars.keys()
    return "keras2" if (first == 1 and told) or "_current_learning_rate" in told else "keras3"
