"""The list of an optimizer, made of a state whose slots have owners: the way back from binding.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.optimizers.binding import leading, seats
from ckptmigrate.optimizers.catalog import list_of, spelling
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.record import Listed, Spelling
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor

VACANT = Tensor.of(np.zeros((), np.int32), BY_NAME["int32"])  # what Keras 3 has where a variable lacks a slot

Listing = tuple[str, SlotKey | None, Stored | None]


def unbind(state: OptimizerState, averages: OptimizerState | None, owners: Sequence[Owner]) -> list[Listing]:
    """The list of a state: scalars by name, slots, what has no owner with neither; no value for a placeholder to make.

    Args:
        state: In a dialect with lists.
        averages: Its averages, or None.
        owners: The trained variables in the model's order; those without slots are passed over.
    """
    listed = list_of(state.kind, state.dialect) or Listed((), leading(state.dialect))
    spelled = spelling(state.kind, state.dialect) or Spelling("")
    scalars = state.scalars
    front: list[Listing] = [(n, None, scalars[n]) for n in listed.first if n in scalars]
    held = {**(averages.slots if averages else {}), **state.slots}
    having = {key.variable for key in held}
    present = {key.slot for key in held}
    blocks = [b for b in listed.blocks if present.intersection(b.slots)]
    trained = [owner for owner in owners if owner.name in having]
    spare = iter([(n, s) for n, s in scalars.items() if n.startswith(PLACEHOLDER)])
    placed: dict[SlotKey, Listing] = {}
    for seat in seats(spelled, blocks, trained, is_padded=listed.is_padded):
        if seat.is_vacant:
            name, stored = next(spare, ("", None))
            placed[seat.key] = (name, seat.key, stored)
        elif seat.key in held:
            placed[seat.key] = ("", seat.key, held[seat.key])
    placed |= {key: ("", key, held[key]) for key in (*state.order, *held) if key in held and key not in placed}
    behind = [(n, None, scalars[n]) for n in listed.last if n in scalars]
    rest = [(PLACEHOLDER, None, stored) for _, stored in spare]
    return [*front, *placed.values(), *(("", None, s) for s in state.unbound), *rest, *behind]


def listed_scalars(state: OptimizerState) -> list[str]:
    """Its scalars that stand in the list."""
    listed = list_of(state.kind, state.dialect) or Listed((), leading(state.dialect))
    return [n for n in state.scalars if n in (*listed.first, *listed.last) or n.startswith(PLACEHOLDER)]


def is_ordered(state: OptimizerState) -> bool:
    """Whether the order of its list is known: by its kind, or as it was read."""
    listed = list_of(state.kind, state.dialect)
    slots = {slot for block in (listed.blocks if listed else ()) for slot in block.slots}
    return slots.issuperset(key.slot for key in state.slots) or set(state.order) >= set(state.slots)
