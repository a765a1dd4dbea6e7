"""How far two arrays are from each other: what forward and resume checks say of outputs, weights and slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 1 << 20  # elements that are compared at a time

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two arrays of one shape are from each other.

    Attributes:
        largest: The largest absolute difference; infinite where one side alone isn't finite.
        scale: The largest finite absolute value of the source.
        at: Where the largest difference is; () for scalars.
        source, target: The two numbers there.
        is_constant: All numbers of the source have one absolute value, or none is finite.
    """

    largest: float
    scale: float
    at: tuple[int, ...]
    source: Any
    target: Any
    is_constant: bool

    @property
    def relative(self) -> float:
        """The largest difference, of the source's largest value."""
        return self.largest / self.scale if self.scale else (0.0 if self.largest == 0 else float("inf"))

    def __str__(self) -> str:
        if self.largest == 0:
            return "no difference"
        where = f" at [{','.join(map(str, self.at))}]" if self.at else ""
        numbers = f"{self.source:.7g} and {self.target:.7g}"
        return f"largest difference {self.largest:.2g}{where} ({numbers}), {self.relative:.2g} of the largest value"


def difference(ours: Array, theirs: Array) -> Difference:
    """Compares two arrays of one shape, block by block; NaN equals NaN, an infinity itself."""
    if ours.size == 0:
        return Difference(0.0, 0.0, (), 0.0, 0.0, True)
    left, right = ours.reshape(-1), theirs.reshape(-1)
    largest, scale, at = -1.0, 0.0, 0
    low, high = np.inf, -np.inf
    for start in range(0, left.size, BLOCK):
        a, b = (_wide(x[start : start + BLOCK]) for x in (left, right))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        apart[np.isnan(apart)] = np.inf
        worst = int(apart.argmax())
        if apart[worst] > largest:
            largest, at = float(apart[worst]), start + worst
        sizes = np.abs(a[np.isfinite(a)])
        scale = max(scale, float(sizes.max(initial=0.0)))
        low, high = min(low, float(sizes.min(initial=np.inf))), max(high, float(sizes.max(initial=-np.inf)))
    place = tuple(int(i) for i in np.unravel_index(at, ours.shape))
    return Difference(largest, scale, place, _number(left[at]), _number(right[at]), ours.size > 1 and low >= high)


def _wide(block: Array) -> Array:
    """Numbers in which a difference doesn't overflow: complex128 or float64."""
    return block.astype(np.complex128 if block.dtype.kind == "c" else np.float64)


def _number(value: Any) -> Any:
    return complex(value) if np.iscomplexobj(value) else float(value)
