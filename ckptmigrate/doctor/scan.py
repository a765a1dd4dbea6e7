"""Scan: what a tensor's values are like, found in one pass over a million of them at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.listing import CHUNK
from ckptmigrate.table import Tensor


class Scan(NamedTuple):
    """The values of one tensor.

    Attributes:
        elements: How many.
        nan, inf: How many of them are NaN, and infinite.
        first: Index of the first that is one of those, or ().
        low, high: Smallest and largest of the finite ones; 0 where there is none.
    """

    elements: int
    nan: int
    inf: int
    first: tuple[int, ...]
    low: float
    high: float

    def is_all(self, number: float) -> bool:
        """Whether every value is that number."""
        return self.elements > 0 and not (self.nan or self.inf) and self.low == self.high == number


def scan(tensor: Tensor) -> Scan | None:
    """Looks at every value; None for what is no floating-point number, complex ones aside.

    Raises:
        CkptMigrateError: The values can't be read.
    """
    if tensor.is_open or not (tensor.dtype.is_float or tensor.dtype.numpy.kind == "c"):
        return None
    flat = tensor.read().reshape(-1)
    lows, highs, nans, infs, first = [], [], 0, 0, -1
    for start in range(0, flat.size, CHUNK):
        part = _comparable(flat[start : start + CHUNK])
        low, high = float(part.min()), float(part.max())
        if not (np.isfinite(low) and np.isfinite(high)):  # NaN spreads to both, infinities are one of them
            bad = ~np.isfinite(part)
            nan = int(np.isnan(part).sum())
            nans, infs = nans + nan, infs + int(bad.sum()) - nan
            first = start + int(bad.argmax()) if first < 0 else first
            part = part[~bad]
            if not part.size:
                continue
            low, high = float(part.min()), float(part.max())
        lows.append(low)
        highs.append(high)
    where = tuple(int(i) for i in np.unravel_index(first, tensor.shape)) if first >= 0 else ()
    return Scan(int(flat.size), nans, infs, where, min(lows, default=0.0), max(highs, default=0.0))


def _comparable(part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values that NumPy can order: small types in float32, complex numbers by size."""
    if part.dtype.kind == "c":
        sizes: np.ndarray[Any, Any] = np.abs(part)
        return sizes
    return part if part.dtype in (np.float32, np.float64) else part.astype(np.float32)


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape hold the same values, up to the first million that differs."""
    if one.shape != other.shape or one.dtype is not other.dtype:
        return False
    near, far = one.read().reshape(-1), other.read().reshape(-1)
    return all(np.array_equal(near[at : at + CHUNK], far[at : at + CHUNK]) for at in range(0, near.size, CHUNK))
