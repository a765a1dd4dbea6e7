"""Casts of a plan: how much each rounds, and which values are beyond the range of the type they become."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.group import Group, Planned
from ckptmigrate.mapping.plan import Plan

CHUNK_BYTES = 1 << 20
_WIDER = ("bfloat16", "float32", "float64")

Array = np.ndarray[Any, Any]


class Rounding(NamedTuple):
    """What the casts of a group do to its values.

    Attributes:
        error: The largest difference that stays finite.
        infinite: How many finite values become infinite, or no number in types without infinities.
        largest: The largest absolute value of these; 0 for none.
    """

    error: float = 0.0
    infinite: int = 0
    largest: float = 0.0

    def __str__(self) -> str:
        values = "1 value becomes" if self.infinite == 1 else f"{self.infinite:,} values become"
        told = f"; {values} infinite, the largest is {self.largest:g}" if self.infinite else ""
        return f"largest rounding {self.error:.3g}{told}"


def rounding(group: Group) -> Rounding | None:
    """What the casts of a group do, by reading its sources; None where nothing is cast."""
    if not any(_is_cast(step.text) for step in group.steps):
        return None
    found = Rounding()
    with np.errstate(all="ignore"):
        for before, after in _pieces(group):
            wide, narrow = before.astype(np.complex128), after.astype(np.complex128)
            lost = np.isfinite(wide) & ~np.isfinite(narrow)
            errors = np.abs(wide - narrow)[np.isfinite(wide) & ~lost]
            found = Rounding(
                max(found.error, float(errors.max(initial=0))),
                found.infinite + int(lost.sum()),
                max(found.largest, float(np.abs(wide[lost]).max(initial=0))),
            )
    return found


def overflows(plan: Plan) -> list[Issue]:
    """The losses of casts that make values infinite. Reads what is cast to a type that doesn't hold all of its own."""
    groups: dict[int, tuple[Group, Planned]] = {}
    for planned in plan.planned:
        if planned.group is not None and any(_is_cast(s.text) and not s.is_exact for s in planned.group.steps):
            groups.setdefault(id(planned.group), (planned.group, planned))
    told = ((planned, rounding(group)) for group, planned in groups.values())
    return [_overflow(planned, found) for planned, found in told if found is not None and found.infinite]


def _overflow(planned: Planned, found: Rounding) -> Issue:
    name = f"{planned.name}:{planned.slot}" if planned.slot else planned.name
    _, _, values = str(found).partition("; ")
    with np.errstate(all="ignore"):
        wide = [n for n in _WIDER if np.isfinite(np.array(found.largest).astype(BY_NAME[n].numpy).astype(np.float64))]
    hint = f"--dtype {wide[0]} holds {'it' if found.infinite == 1 else 'them'}"
    return Issue("unholdable", "loss", name, f"cast to {planned.tensor.dtype}: {values}", hint, planned.where)


def _is_cast(text: str) -> bool:
    return text.startswith("cast")


def _pieces(group: Group) -> Iterator[tuple[Array, Array]]:
    """Values before and after every cast, about CHUNK_BYTES of them at a time."""
    arrays = [tensor.read() for tensor in group.sources]
    for step in group.steps:
        after = list(step.apply(arrays))
        if _is_cast(step.text):
            for a, b in zip(arrays, after, strict=True):
                yield from _side_by_side(a, b)
        arrays = after


def _side_by_side(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
    a, b = np.atleast_1d(a, b)
    rows = max(1, CHUNK_BYTES * len(a) // max(1, a.nbytes))
    for start in range(0, len(a), rows):
        yield a[start : start + rows], b[start : start + rows]
