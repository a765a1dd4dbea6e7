"""Which variable each number of an optimizer's lists stands for, by the names of slots, else by shapes in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ckptmigrate.steps import Shape

_MAX_TRIES = 200_000  # look-ups in a search for the part of a model that an optimizer trains


class Owner(NamedTuple):
    """A variable of the model: its name, its shape, and its own name in the program that saved it ("" for unknown)."""

    name: str
    shape: Shape
    full_name: str = ""


class Claim(NamedTuple):
    """A slot in a list: its number, its variable's shape (None where the slot's differs), its variable's own name."""

    number: int
    shape: Shape | None
    tail: str


class Owned(NamedTuple):
    """Number -> variable for every number, nothing when one of them isn't told; and what was taken for the whole."""

    owners: Mapping[int, Owner] = MappingProxyType({})
    part: str = ""


def owners_of(claims: Sequence[Claim], owners: Sequence[Owner]) -> Owned:
    """Whose the slots are.

    Args:
        claims: Slots of one optimizer.
        owners: The model's weights in its order; each has one slot of a kind at most.
    """
    shapes = {c.number: c.shape for c in claims if c.shape is not None}
    if any(shapes[c.number] != c.shape for c in claims if c.shape is not None):
        return Owned()
    tails: dict[int, set[str]] = defaultdict(set)
    for claim in claims:  # Adafactor's placeholders in the list of columns are called after the rows
        tails[claim.number] |= {claim.tail} - {""}
    numbers = sorted(tails)
    named: dict[tuple[str, Shape | None], list[Owner]] = defaultdict(list)
    for owner in owners:
        named[owner.full_name, owner.shape].append(owner)
    choices = [named.get((min(tails[n]), shapes.get(n)), []) if len(tails[n]) == 1 else [] for n in numbers]
    part = ""
    if not any(tails.values()):
        found = _in_order([shapes.get(number) for number in numbers], owners)
    elif all(len(choice) == 1 for choice in choices):
        found = [choice[0] for choice in choices]
    else:
        found, part = _of_one_part(choices, owners) if all(choices) else (None, "")
    is_told = found is not None and len({o.name for o in found}) == len(found)
    return Owned(dict(zip(numbers, found, strict=True)), part) if found and is_told else Owned()


def _of_one_part(choices: Sequence[Sequence[Owner]], owners: Sequence[Owner]) -> tuple[list[Owner] | None, str]:
    """Where names repeat (two models with layers of one name): the only part of the whole that has one of each.

    Of several parts the only one that has nothing else, with its name: an optimizer is taken to train all of a model.
    """
    found: dict[str, list[Owner]] = {}
    tries = 0
    for part in dict.fromkeys(part for owner in choices[0] for part in _above(owner.name)):
        tries += sum(map(len, choices))
        inside = [[o for o in choice if o.name.startswith(part)] for choice in choices]
        if tries > _MAX_TRIES:
            return None, ""
        chosen = [choice[0] for choice in inside if len(choice) == 1]
        if len(chosen) == len(choices) and chosen not in found.values():  # the largest such part comes first
            found[part] = chosen
    if len(found) == 1:
        return next(iter(found.values())), ""
    whole = [part for part in found if sum(o.name.startswith(part) for o in owners) == len(choices)]
    return (found[whole[0]], whole[0]) if len(whole) == 1 else (None, "")


def _above(name: str) -> Iterator[str]:
    parts = name.split("/")[:16]
    return ("".join(f"{part}/" for part in parts[:end]) for end in range(1, len(parts)))


def _in_order(shapes: Sequence[Shape | None], owners: Sequence[Owner]) -> list[Owner] | None:
    """The owners that these shapes are, in their order; None when there are none, or several ways to choose them."""
    if len(shapes) > len(owners):
        return None
    first, last = _leftmost(shapes, owners), _leftmost(shapes[::-1], owners[::-1])
    if first is None or last is None or first != last[::-1]:
        return None
    return first


def _leftmost(shapes: Sequence[Shape | None], owners: Sequence[Owner]) -> list[Owner] | None:
    """The first owners, one after the other, that have these shapes."""
    rest = iter(owners)
    found = [next((o for o in rest if shape in (None, o.shape)), None) for shape in shapes]
    return [o for o in found if o is not None] if None not in found else None
