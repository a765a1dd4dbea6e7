"""An optimizer's list, given its variables by the order that its record tells; unbinding.py has the way back.

Every Keras lists its optimizer's variables: the step and other scalars, then slots of the trained variables, in blocks.
Facts: the files that tf_keras 2.21 (`optimizers`, `optimizers/legacy`), Keras 3.15, 2.3.1, 2.2.4 and 1.2.2 write.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import AVERAGE, SHADOWS, UNKNOWN, by_title, list_of, spelling
from ckptmigrate.optimizers.dialects import PLACEHOLDER, RATE
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.record import Block, Listed, Optimizer, Slot, Spelling
from ckptmigrate.optimizers.scalars import scalar_value, whole_value
from ckptmigrate.steps import Shape
from ckptmigrate.table import OptimizerState, SlotKey, Stored

# Settings that are hyperparameters, by the names Keras gives them.
_HYPER = {
    "lr": RATE,
    **{n: n for n in (RATE, "decay", "momentum", "rho", "beta_1", "beta_2", "schedule_decay")},
}
_DUMMY = (1,)  # the shape of what Keras 2 keeps for vhat without AMSGrad


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


_NOBODYS = SlotKey("", "")


class Seat(NamedTuple):
    """One place in a list: a scalar by its name, a slot, or a placeholder where a variable lacks the slot.

    Attributes:
        scalar: The scalar's name; "" for what is a slot's.
        key: The slot.
        shape: What stands there has it.
        spelled: The slot's variable, as files spell it.
        is_vacant: Whether it is a placeholder's.
    """

    scalar: str = ""
    key: SlotKey = _NOBODYS
    shape: Shape = ()
    spelled: str = ""
    is_vacant: bool = False


def seats(
    spelled: Spelling, blocks: Sequence[Block], owners: Sequence[Owner], *, is_padded: bool = False
) -> Iterator[Seat]:
    """The slots of these variables, in the list's order."""
    for block in blocks:
        slots = [spelled.slot(name) or Slot(name) for name in block.slots]
        for owner in owners:
            for slot in slots:
                key = SlotKey(owner.name, slot.name)
                shape = slot.shape(owner.full_name or owner.name, owner.shape) if slot.shape else owner.shape
                if shape is not None:
                    yield Seat("", key, shape, owner.full_name)
                elif is_padded:
                    yield Seat("", key, (), owner.full_name, is_vacant=True)


def bind(told: StateList, owners: Sequence[Owner]) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """The state behind a list, averages as a state of their own; what can't be told stays unbound, with a warning."""
    optimizer = by_title(told.title, told.dialect)
    listed = list_of(optimizer.kind, told.dialect) if optimizer else None
    found = _fitting(told, optimizer, listed, owners) if optimizer and listed else None
    if found is None:
        return _unbound(told, optimizer, listed, owners)
    scalars: dict[str, Stored] = {}
    slots: dict[SlotKey, Stored] = {}
    spare: list[Stored] = []
    layout, issues = found
    for seat, stored in zip(layout, told.stored, strict=True):
        if seat.scalar:
            scalars[seat.scalar] = stored
        elif seat.is_vacant:
            spare.append(stored)
        else:
            slots[seat.key] = stored
    if _is_dummy(told, slots):
        spare += [slots.pop(key) for key in tuple(slots) if key.slot == "vhat"]
    scalars |= {f"{PLACEHOLDER}/{number}": stored for number, stored in enumerate(spare)}
    own = {key: s for key, s in slots.items() if key.slot != AVERAGE}
    kind = optimizer.kind if optimizer else UNKNOWN
    if kind == "momentum" and not own and not told.settings.get("momentum"):
        kind = "sgd"  # with momentum, legacy Keras makes its slots at the first step
    state = _state(told, kind, scalars)
    state = replace(state, slots=own, order=tuple(own))
    averages = {key: s for key, s in slots.items() if key.slot == AVERAGE}
    if not averages:
        return (state,), issues
    shadow = OptimizerState(f"{told.name}/{AVERAGE}", "ema", told.dialect, slots=averages, parent=told.name)
    return (state, shadow), issues


def bind_in_an_order(
    told: StateList, orders: Sequence[Sequence[Owner]]
) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """The state behind a list whose owners stand in one of these orders; bound where only one of them fits."""
    found = [bind(told, owners) for owners in orders]
    fits = [one for one in found if not one[0][0].unbound]
    if len({states[0].order for states, _ in fits}) == 1:
        return fits[0]
    return found[0] if len(found) == 1 else bind(told, ())


def _state(told: StateList, kind: str, scalars: Mapping[str, Stored]) -> OptimizerState:
    numbers = {n: v for n, v in told.settings.items() if n in _HYPER and type(v) in (int, float)}
    hyper = {_HYPER[name]: float(value) for name, value in numbers.items()}
    rate = scalar_value(scalars.get(RATE))
    hyper |= {RATE: rate} if rate is not None else {}
    return OptimizerState(told.name, kind, told.dialect, whole_value(scalars.get("iter")), hyper, dict(scalars))


def _unbound(
    told: StateList, optimizer: Optimizer | None, listed: Listed | None, owners: Sequence[Owner]
) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """What can be told of a list whose slots aren't: its leading scalars, the order of its owners, its kind."""
    left = list(told.stored)
    scalars: dict[str, Stored] = {}
    for name in listed.first if listed else leading(told.dialect):
        if left and left[0].tensor.shape == () and _is_scalar(name, told, left[0]):
            scalars[name] = left.pop(0)
    kind = optimizer.kind if optimizer else UNKNOWN
    state = _state(told, kind if kind != "momentum" else UNKNOWN if left else "sgd", scalars)
    if not left:
        return (state,), ()
    title = told.title or "an unknown optimizer"
    is_unsettled = optimizer and listed and len(_ways(told, optimizer, listed, owners)) > 1
    kind = kind if is_unsettled else UNKNOWN
    open_ = f"which they are, of {', '.join(making_slots(kind, told.dialect))}," if is_unsettled else "whose they are"
    message = (
        f"{len(left)} slots of {title}: {open_} isn't told. They stay in their order, for the same model and "
        f"the dialect {told.dialect}"
    )
    state = replace(state, kind=kind, unbound=tuple(left), order=tuple(SlotKey(owner.name, "") for owner in owners))
    return (state,), (Issue("guess", "warning", told.name, message),)


def _is_scalar(name: str, told: StateList, stored: Stored) -> bool:
    """The step is an integer; Keras 1 counted in float32."""
    return (name == "iter") == (not stored.tensor.dtype.is_float) or (name == "iter" and told.dialect == "keras1")


Fitting = tuple[tuple[Seat, ...], tuple[Issue, ...]]


def _fitting(told: StateList, optimizer: Optimizer, listed: Listed, owners: Sequence[Owner]) -> Fitting | None:
    """The seats that this list fills, where only one way to fill them is left; None if that isn't told."""
    fits = _ways(told, optimizer, listed, owners)
    if len(fits) > 1:
        asked = tuple(b for b in listed.blocks if not b.when or told.settings.get(b.when))
        exact = {f: b for f, b in fits.items() if b == asked and told.settings}
        if not exact:
            return _likeliest(told, fits)
        fits = exact
    return (next(iter(fits)), ()) if len(fits) == 1 else None


def _ways(
    told: StateList, optimizer: Optimizer, listed: Listed, owners: Sequence[Owner]
) -> dict[tuple[Seat, ...], tuple[Block, ...]]:
    """Every way to fill this list, and its blocks: by number and shapes, of several by names, then by settings."""
    fits: dict[tuple[Seat, ...], tuple[Block, ...]] = {}
    spelled = optimizer.dialects[told.dialect]
    held = {b: tuple(seats(spelled, (b,), owners, is_padded=listed.is_padded)) for b in listed.blocks}
    for blocks in _choices(listed.blocks):
        count = sum(len(held[b]) for b in blocks) + len(listed.last)
        for first in _fronts(told.dialect, listed):
            if len(first) + count != len(told.stored):
                continue
            middle = itertools.chain.from_iterable(held[b] for b in blocks)
            layout = (*map(Seat, first), *middle, *map(Seat, listed.last))
            if _fit(told, layout):
                fits.setdefault(layout, blocks)
    if len(fits) > 1 and told.slots:
        fits = {f: b for f, b in fits.items() if _agrees(told, f)}
    if len(fits) > 1:
        known = [b for b in listed.blocks if b.when in told.settings]
        fits = {f: b for f, b in fits.items() if all((k in b) == bool(told.settings[k.when]) for k in known)}
    return fits


def making_slots(kind: str, dialect: str) -> tuple[str, ...]:
    """The settings that make an optimizer keep further slots of its own in its list."""
    listed = list_of("momentum" if kind == "sgd" else kind, dialect)
    return tuple(b.when for b in (listed.blocks if listed else ()) if b.when and b not in SHADOWS)


def settings_of(place: OptimizerState, dialect: str) -> dict[str, bool]:
    """The settings that make slots in a list of `dialect`, as another state of that kind tells them.

    By slots that its own dialect has under that setting alone (not TF1's momentum), else by its hyperparameters.
    """
    spelled, listed = spelling(place.kind, place.dialect), list_of(place.kind, dialect)
    present = {key.slot for key in place.slots}
    telling = {slot.name for slot in (spelled.slots if spelled and present else ()) if slot.is_optional}
    found = {}
    for block in listed.blocks if listed else ():
        if telling.intersection(block.slots):
            found[block.when] = bool(present.intersection(block.slots))
        elif block.when in place.hyper:
            found[block.when] = bool(place.hyper[block.when])
    return found


def _likeliest(told: StateList, fits: Mapping[tuple[Seat, ...], tuple[Block, ...]]) -> Fitting | None:
    """The one of several ways that has slots of the optimizer's own alone, where no settings tell; with a warning."""
    own = [f for f, blocks in fits.items() if not set(SHADOWS) & set(blocks)]
    if len(own) != 1:
        return None
    slots = ", ".join(dict.fromkeys(seat.key.slot for seat in own[0] if seat.key.slot))
    text = f"the file doesn't tell the settings of {told.title}: its slots are taken for {slots}, not for averages"
    return own[0], (Issue("guess", "warning", told.name, text),)


def _choices(blocks: Sequence[Block]) -> Iterator[tuple[Block, ...]]:
    """All, then all less one that only a setting makes, and so on."""
    optional = [b for b in blocks if b.when]
    for count in range(len(optional) + 1):
        for without in itertools.combinations(optional, count):
            yield tuple(b for b in blocks if b not in without)


def _fronts(dialect: str, listed: Listed) -> Iterator[tuple[str, ...]]:
    """The scalars in front, less those that aren't always there: Keras 3's rate, any of Keras 1's."""
    for count in range(len(listed.first), -1, -1):
        missing = listed.first[count:]
        if dialect == "keras1" or (dialect == "keras3" and set(missing) <= {RATE}) or not missing:
            yield listed.first[:count]


def _fit(told: StateList, layout: Sequence[Seat]) -> bool:
    for seat, stored in zip(layout, told.stored, strict=True):
        is_dummy = seat.key.slot == "vhat" and told.dialect == "keras1" and stored.tensor.shape == _DUMMY
        if stored.tensor.shape != seat.shape and not is_dummy:
            return False
        if seat.scalar == "iter" and not _is_scalar("iter", told, stored):
            return False
        if told.has_names and seat.key.slot and _flat(seat.spelled) not in _flat(stored.key):
            return False
    return True


def _agrees(told: StateList, layout: Sequence[Seat]) -> bool:
    return all(name in ("", seat.key.slot) for name, seat in zip(told.slots, layout, strict=False) if seat.key.slot)


def _flat(text: str) -> str:
    return text.removesuffix(":0").replace("/", "_")


def _is_dummy(told: StateList, slots: Mapping[SlotKey, Stored]) -> bool:
    if told.dialect != "keras1" or told.settings.get("amsgrad"):
        return False
    return all(s.tensor.shape == _DUMMY for k, s in slots.items() if k.slot == "vhat")


def leading(dialect: str) -> tuple[str, ...]:
    """The scalars in front of an unknown optimizer's slots."""
    return ("iter", RATE) if dialect == "keras3" else ("iter",)
