"""Numbers of a mapping as elements of a tensor, and which element types take part in which operation."""

from __future__ import annotations

import math
from typing import Any

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
    """True when a cast keeps every value of an integer or truth value and can be taken back.

    Never for floating-point sources: signalling NaNs come back quiet.
    """
    low, high = _range(have)
    if is_integer(want):
        return _range(want)[0] <= low < high <= _range(want)[1]
    return want.is_float and low < high and max(high, -low) <= _largest_counted(want)


def _range(dtype: DType) -> tuple[int, int]:
    if dtype.name == "bool":
        return 0, 1
    if not is_integer(dtype):
        return 0, 0
    import ml_dtypes

    limits: Any = ml_dtypes.iinfo(dtype.numpy)  # type: ignore[no-untyped-call]
    return int(limits.min), int(limits.max)


def _largest_counted(dtype: DType) -> int:
    """The integer up to which a floating-point type holds them all."""
    import ml_dtypes

    limits: Any = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    return int(min(2 ** (limits.nmant + 1), float(limits.max)))


def element(operation: Operation, number: float, dtype: DType) -> Any:
    """The number as one element of this type, rounded where it is floating point.

    Raises:
        MappingError: The type doesn't hold it.
    """
    if not is_number(dtype):
        stop(operation, f"{dtype} elements take no number", kind="mapping")
    low, high = _range(dtype)
    if low == high:
        return dtype.numpy.type(number)
    if number != int(number) or not low <= number <= high:
        stop(operation, f"{dtype} holds integers from {low} to {high}, not {number}", kind="mapping")
    return dtype.numpy.type(int(number))
