"""Numbers of a mapping as elements of a tensor, and which element types take part in which operation."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from ckptmigrate.dtypes import BY_NAME, DType
from ckptmigrate.mapping.operations.operation import Operation, stop


def read_number(value: object) -> float:
    """A finite number. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise ValueError("a number")


def read_dtype(value: object) -> str:
    """The name of an element type that values can be cast to. Raises ValueError."""
    names = [d.name for d in BY_NAME.values() if is_number(d)]
    if isinstance(value, str) and value in names:
        return value
    raise ValueError(f"one of {', '.join(names)}")


def is_quantised(dtype: DType) -> bool:
    """True for the q types: the scale that gives their integers a meaning isn't in the file."""
    return dtype.name.startswith(("qint", "quint"))


def is_number(dtype: DType) -> bool:
    """True for types whose elements are numbers (or truth values): no strings, no opaque bytes, nothing quantised."""
    return dtype.is_raw and not is_quantised(dtype)


def is_integer(dtype: DType) -> bool:
    """True for plain integers, the small ones included."""
    return dtype.name.startswith(("int", "uint"))


def is_wider(have: DType, want: DType) -> bool:
    """True when a cast keeps every bit of an integer or truth value.

    Never for floating-point sources: signalling NaNs come back quiet.
    """
    return (is_integer(have) or have.name == "bool") and bool(np.can_cast(have.numpy, want.numpy, "safe"))


def element(operation: Operation, number: float, dtype: DType) -> Any:
    """The number as one element of this type, rounded where it is floating point.

    Raises:
        MappingError: The type doesn't hold it.
    """
    if not is_number(dtype):
        stop(operation, f"{dtype} elements take no number", kind="mapping")
    if dtype.name == "bool":
        low, high = 0, 1
    elif is_integer(dtype):
        limits: Any = ml_dtypes.iinfo(dtype.numpy)  # type: ignore[no-untyped-call]
        low, high = int(limits.min), int(limits.max)
    else:
        return dtype.numpy.type(number)
    if number != int(number) or not low <= number <= high:
        stop(operation, f"{dtype} holds integers from {low} to {high}, not {number}", kind="mapping")
    return dtype.numpy.type(int(number))
