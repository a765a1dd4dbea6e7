"""Values of stored scalars: the only values that recognition reads."""

from __future__ import annotations

import math

import numpy as np

from ckptmigrate.table import Stored

MAX_SCALAR_BYTES = 64


def scalar_value(stored: Stored | None) -> float | None:
    """The number a stored scalar holds; None for what is no finite number, has more elements, or has no values."""
    if stored is None:
        return None
    tensor = stored.tensor
    if (
        tensor.is_open
        or tensor.size != 1
        or not 0 < tensor.nbytes <= MAX_SCALAR_BYTES
        or "complex" in tensor.dtype.name
    ):
        return None
    try:
        value = float(tensor.read().reshape(-1)[0])
    except LookupError:  # a template's tensor
        return None
    return value if math.isfinite(value) else None


def shown(value: float) -> str:
    """A hyperparameter as people write it; those in a file are float32.

    >>> shown(0.8999999761581421)
    '0.9'
    """
    return str(np.float32(value))


def whole_value(stored: Stored | None) -> int | None:
    """The same for a counter: a whole number from 0."""
    value = scalar_value(stored)
    return int(value) if value is not None and value >= 0 and value == int(value) else None
