"""Recognition of the optimizer behind one node of an object graph, by the names of its children and slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckptmigrate.optimizers.adam import read_step
from ckptmigrate.optimizers.catalog import LOSS_SCALE, OPTIMIZERS, UNKNOWN, is_foreign, spelling
from ckptmigrate.optimizers.record import Spelling
from ckptmigrate.optimizers.scalars import scalar_value, whole_value
from ckptmigrate.table import OptimizerState, SlotKey, Stored


def recognise_object(
    name: str, scalars: Mapping[str, Stored], slots: Mapping[SlotKey, Stored], *, title: str = ""
) -> OptimizerState:
    """The state of one optimizer node.

    Args:
        name: Where the node stands.
        scalars: Its stored children by local name (`iter`, `beta_1`, `beta1_power`).
        slots: Variable and slot name as stored -> slot.
        title: The optimizer's class or own name, where the file tells (`Adam/iter` as the variable's full name).
    """
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
