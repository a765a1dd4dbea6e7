"""Where the state of a list-based optimizer stands in an object graph: the number of each member, and its lists."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.optimizers.catalog import list_of, spelling
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.lists import ITERATIONS, SHADOW_LISTS
from ckptmigrate.optimizers.record import Slot, Spelling
from ckptmigrate.optimizers.wrapping import WRAPPER, WRAPPER_SCALARS
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor

LISTED = ("keras2", "keras3")
_RATE = "learning_rate"


class Place(NamedTuple):
    """Where a slot stands.

    Attributes:
        key: Which it is.
        stored: Its value; None for a placeholder, where its variable hasn't this slot.
        number: In `_variables`; None for what stands in its own list alone.
        at: The list of its own, and its number there; None where it has none.
        full_name: What Keras calls it.
    """

    key: SlotKey
    stored: Stored | None
    number: int | None
    at: tuple[str, int] | None
    full_name: str


class ListLayout(NamedTuple):
    """A node's lists.

    Attributes:
        dialect: Whose they are.
        scalars: Scalars that stand in `_variables`, too -> their number.
        places: The slots.
        own: The lists that such an optimizer has, those that its settings leave empty, too.
    """

    dialect: str
    scalars: Mapping[str, int]
    places: tuple[Place, ...]
    own: frozenset[str]


class _Seat(NamedTuple):
    """A slot of one variable, maybe vacant: its number in its own list, and whether it counts in `_variables`."""

    key: SlotKey
    owner: Owner
    number: int
    is_counted: bool
    is_placeholder: bool


def lay_out(
    state: OptimizerState,
    averages: Mapping[SlotKey, Stored],
    owners: Sequence[Owner],
    *,
    has_rate: bool | None,
    title: str = "",
) -> ListLayout:
    """Gives every slot its place, in the order in which Keras makes them.

    Args:
        state: Of dialect keras2 or keras3.
        averages: Averages that this optimizer keeps.
        owners: The trained variables in the model's order; one that lacks a slot leaves its number free.
        has_rate: Whether the optimizer has a learning rate of its own, which Keras 3 counts; None where that isn't
            known. Slots then stand in their own lists alone, whose numbers don't depend on it.
        title: What the optimizer is called in full names; its class' own where empty.
    """
    spelled = spelling(state.kind, state.dialect) or Spelling(state.name)
    title = title or title_of(spelled.title, state.dialect)
    lists = {**spelled.lists, **SHADOW_LISTS}
    is_counted = has_rate is not None or state.dialect == "keras2" or not spelled.lists
    first = [n for n in _first(state, spelled) if n != _RATE or has_rate]
    count = len(first)
    held = {**averages, **state.slots}
    places = []
    for seat in _seats(state, {key.slot for key in held}, owners):
        stored = held.get(seat.key)
        if stored is not None or seat.is_placeholder:
            slot = spelled.slot(seat.key.slot) or Slot(seat.key.slot)
            at = (lists[slot.name], seat.number) if slot.name in lists else None
            name = _full_name(state.dialect, title, slot.spelling, seat.owner)
            number = count if (is_counted and seat.is_counted) or at is None else None
            places.append(Place(seat.key, stored, number, at, name))
        count += seat.is_counted
    last = [n for n in (spelled.listed.last if spelled.listed else ()) if n in state.scalars]
    numbers = {**{name: number for number, name in enumerate(first)}, **{n: count + at for at, n in enumerate(last)}}
    scalars = {n: at for n, at in numbers.items() if n in state.scalars and (is_counted or n == "iter")}
    return ListLayout(state.dialect, scalars, tuple(places), frozenset(spelled.lists.values()))


# The value of a placeholder.
ZERO = Tensor.of(np.zeros((), np.int32), BY_NAME["int32"])


def _first(state: OptimizerState, spelled: Spelling) -> Sequence[str]:
    if state.kind == WRAPPER:
        return tuple(WRAPPER_SCALARS)
    return spelled.listed.first if spelled.listed else ("iter", _RATE) if state.dialect == "keras3" else ("iter",)


def _seats(state: OptimizerState, present: Container[str], owners: Sequence[Owner]) -> Iterator[_Seat]:
    """The slots that these variables have: none of a block that the settings leave out."""
    listed, spelled = list_of(state.kind, state.dialect), spelling(state.kind, state.dialect)
    for block in listed.blocks if listed and spelled else ():
        slots = [spelled.slot(name) or Slot(name) for name in block.slots] if spelled else []
        for number, owner in enumerate(owners) if any(slot.name in present for slot in slots) else ():
            for slot in slots:
                key = SlotKey(owner.name, slot.name)
                shape = slot.shape(owner.full_name, owner.shape) if slot.shape else owner.shape
                is_padded = listed is not None and listed.is_padded
                if shape is not None or key in state.slots:
                    yield _Seat(key, owner, number, is_counted=True, is_placeholder=False)
                elif is_padded or state.dialect == "keras2":
                    yield _Seat(key, owner, number, is_counted=is_padded, is_placeholder=True)


def title_of(title: str, dialect: str) -> str:
    """What an optimizer's variables are called after: its class, by Keras 3 as one of its own names.

    >>> title_of("RMSprop", "keras2"), title_of("RMSprop", "keras3"), title_of("AdamW", "keras3")
    ('RMSprop', 'rm_sprop', 'adam_w')
    """
    if dialect != "keras3":
        return title
    return re.sub(r"(?<=.)([A-Z])(?=[a-z])|(?<=[a-z])([A-Z])", r"_\1\2", title).lower()


def scalar_name(title: str, local: str, dialect: str) -> str:
    """What Keras calls a scalar that stands as `local` below an optimizer's node.

    >>> scalar_name("Adam", "iter", "keras-legacy"), scalar_name("Adam", "_iterations", "keras3")
    ('Adam/iter', 'adam/iteration')
    """
    if dialect not in LISTED:
        return f"{title}/{local}"
    leaf = "iteration" if local == ITERATIONS else local.rpartition("/")[2].removeprefix("_")
    return leaf if dialect == "keras2" else f"{title_of(title, dialect)}/{leaf}"


def _full_name(dialect: str, title: str, slot: str, owner: Owner) -> str:
    if dialect == "keras2":
        return f"{title}/{slot}/{owner.full_name}"
    return f"{title}/{owner.full_name.replace('/', '_')}_{slot}"
