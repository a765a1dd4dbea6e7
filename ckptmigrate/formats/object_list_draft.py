"""State of list-based optimizers in a graph in the making, as tf_keras 2.11+ and Keras 3 find it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ckptmigrate.formats.object_draft import Draft
from ckptmigrate.objects import VALUE_SUFFIX
from ckptmigrate.optimizers.catalog import OPTIMIZERS
from ckptmigrate.optimizers.list_layout import LISTED, ZERO, ListLayout
from ckptmigrate.optimizers.lists import INDEX, ITERATIONS, TRAINED, VARIABLES
from ckptmigrate.table import SlotKey, Stored

_RATE = "_learning_rate"


def is_of(children: Mapping[str, int], dialect: str) -> bool:
    """Whether an optimizer's node with those children may be one of that dialect."""
    if not {ITERATIONS, VARIABLES} & children.keys():
        return dialect not in LISTED
    if INDEX in children or f"_current{_RATE}" in children:
        return dialect == "keras2"
    return dialect == "keras3" or (dialect == "keras2" and TRAINED not in children)


def has_rate(children: Mapping[str, int], scalars: Mapping[str, Stored]) -> bool | None:
    """Whether an optimizer has a rate of its own: as the base's node, else as the state; None where neither says."""
    if ITERATIONS in children:
        return _RATE in children
    return True if "learning_rate" in scalars else None


def put_lists(
    draft: Draft, node: tuple[int, str], layout: ListLayout, scalars: Mapping[str, int], kept: Mapping[SlotKey, str]
) -> Iterator[Stored]:
    """Makes the lists of an optimizer's node, and gives what is to be stored.

    Args:
        draft: The graph.
        node: The optimizer's number and path.
        layout: What stands where.
        scalars: Name -> node of those that are in the draft.
        kept: The keys that the base has for slots; the names of those that stay where they are aren't changed.
    """
    number, path = node
    lists: dict[str, dict[int, int]] = {VARIABLES: {at: scalars[name] for name, at in layout.scalars.items()}}
    used = set(scalars.values())
    for place in layout.places:
        spots = [(VARIABLES, place.number)] if place.number is not None else []
        spots += [place.at] if place.at is not None else []
        below = "/".join(map(str, spots[0]))
        slot = draft.along(number, below)
        if slot in used:
            slot = draft.renew(number, below)
        used.add(slot)
        is_kept = draft.keyed(kept.get(place.key, "")) == slot if place.stored else draft.full_name(slot) != ""
        key = draft.hold(slot, f"{path}/{below}{VALUE_SUFFIX}", "" if is_kept else place.full_name)
        yield Stored(key, place.stored.tensor if place.stored else ZERO)
        for name, at in spots:
            lists.setdefault(name, {})[at] = slot
    draft.forget(number, _every_list() - lists.keys() - layout.own)
    for name, members in lists.items():
        draft.relist(number, name, members)
    if layout.dialect == "keras2":
        draft.along(number, INDEX)


def put_trained(draft: Draft, number: int, owners: Sequence[str]) -> None:
    """Makes the list of the variables that an optimizer trains.

    tf_keras has none: names of slots tell there, which two models may share.
    """
    draft.relist(number, TRAINED, {at: draft.variable(name) for at, name in enumerate(owners)})


def _every_list() -> set[str]:
    spelled = [s for o in OPTIMIZERS for d in LISTED if (s := o.dialects.get(d)) is not None]
    return {name for s in spelled for name in s.lists.values()}
