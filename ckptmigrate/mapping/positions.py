"""Pairing by position: what one file only numbers below an object, in the order in which the object made it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.table import Variable

_SHOWN = 20  # names in a message
_NUMBER = re.compile(r"(?:^|/)vars/\d+$", re.ASCII)
_ORDERED = frozenset({"keras-h5", "keras-v3"})  # files that list an object's variables in one order: trained ones first

# The names that Keras' own layers give their variables, in the order in which every one of them makes them
_NAMES = (
    *(
        "embeddings",
        "kernel",
        "pointwise_kernel",
        "recurrent_kernel",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ),
    *("moving_stddev", "renorm_mean", "renorm_stddev", "mean", "variance", "count", "bias"),
)
_MADE = {name: number for number, name in enumerate(_NAMES)}


@dataclass(frozen=True, slots=True)
class Placed:
    """A variable and the paths that it goes by, in the one spelling, the surest first."""

    variable: Variable
    paths: tuple[str, ...]

    @property
    def leaf(self) -> str:
        return self.paths[0].rpartition("/")[2]

    @property
    def is_numbered(self) -> bool:
        return any(map(_NUMBER.search, self.paths))


@dataclass(frozen=True, slots=True)
class Side:
    """The variables of one side that have no pair yet, in the file's order, and where it is from."""

    placed: tuple[Placed, ...]
    origin: str


def by_position(near: Side, far: Side) -> tuple[dict[str, str], tuple[Issue, ...]]:
    """Pairs the variables of objects that go by one name on both sides, one of which only numbers them (`td/vars/0`).

    As many are left on each side, of the same shapes. Names that Keras' own layers give tell the order, and shapes that
    all differ within the object do, else the files' own order, where both keep the same one.
    """
    found: dict[str, str] = {}
    guessed = []
    here, there = _objects(near.placed), _objects(far.placed)
    for path in (path for path in here if path in there):
        one, other = here[path], there[path]
        if not any(placed.is_numbered for placed in (*one, *other)):
            continue
        pairs = _pairs(_Object(one, near.origin), _Object(other, far.origin))
        names = {a.variable.name: b.variable.name for a, b in pairs}
        if found.keys().isdisjoint(names) and set(found.values()).isdisjoint(names.values()):
            found |= names
            guessed += [path] * (bool(pairs) and _is_guess(pairs))
    return found, tuple(_guessed(guessed))


class _Object(NamedTuple):
    """The variables of one object, in the file's order."""

    held: list[Placed]
    origin: str

    @property
    def is_known(self) -> bool:
        """Whether its variables have the names that Keras' own layers give."""
        return all(one.leaf in _MADE for one in self.held)

    @property
    def is_ordered(self) -> bool:
        return self.origin in _ORDERED or all(one.is_numbered for one in self.held)

    def made(self) -> list[Placed]:
        """Its variables in the order in which it made them."""
        return sorted(self.held, key=lambda one: _MADE[one.leaf]) if self.is_known else self.held

    def by_shape(self) -> dict[tuple[int, ...], Placed]:
        return {one.variable.tensor.shape: one for one in self.held}


def _pairs(one: _Object, other: _Object) -> list[tuple[Placed, Placed]]:
    """Pairs of two objects' variables; [] where nothing tells the order."""
    here, there = one.by_shape(), other.by_shape()
    if here.keys() != there.keys() or len(one.held) != len(other.held):
        return []
    if len(here) == len(one.held):
        return [(placed, there[shape]) for shape, placed in here.items()]
    if not all(side.is_known or side.is_ordered for side in (one, other)):
        return []
    pairs = list(zip(one.made(), other.made(), strict=True))
    return pairs if all(a.variable.tensor.shape == b.variable.tensor.shape for a, b in pairs) else []


def _is_guess(pairs: list[tuple[Placed, Placed]]) -> bool:
    """Whether variables of one shape have names, which say less of the order than those of Keras' own layers."""
    shapes = [one.variable.tensor.shape for one, _ in pairs]
    named = [one.leaf for pair in pairs for one in pair if not one.is_numbered]
    return len(set(shapes)) < len(shapes) and any(leaf not in _MADE for leaf in named)


def _guessed(paths: list[str]) -> Iterator[Issue]:
    if paths:
        listed = ", ".join(paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
        message = f"variables of one shape that a file only numbers are paired by their order, in {listed}"
        yield Issue("order", "warning", "", message, "see that the order is the same; a mapping says it for certain")


def _objects(placed: Iterable[Placed]) -> dict[str, list[Placed]]:
    """Path of an object -> its variables, by the surest paths first; also without a root that all paths have."""
    objects: dict[str, list[Placed]] = {}
    for number in range(max((len(one.paths) for one in placed), default=0)):
        held: dict[str, list[Placed]] = defaultdict(list)
        for one in placed:
            if number < len(one.paths):
                held[
                    _NUMBER.sub("", path) if _NUMBER.search(path := one.paths[number]) else path.rpartition("/")[0]
                ].append(one)
        objects |= {path: found for path, found in held.items() if path not in objects}
    roots = {path.partition("/")[0] for path in objects}
    below = {path.partition("/")[2]: found for path, found in objects.items()} if len(roots) == 1 else {}
    return objects | {path: found for path, found in below.items() if path not in objects}


def _object(path: str) -> str:
    return _NUMBER.sub("", path) if _NUMBER.search(path) else path.rpartition("/")[0]
