"""Sizes and axes as a mapping writes them: `4`, `dim1`, `dim1/4`, `rest`, `template`, `-1`; read, then resolved."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ckptmigrate.mapping.operations.operation import Operation, stop
from ckptmigrate.steps import Shape

REST = "rest"
TEMPLATE = "template"
MAX_PARTS = 65536  # outputs of one operation; a header may claim any size for the axis that unstack takes apart

_DIM = re.compile(r"dim(0|[1-9][0-9]?)(?:/([1-9][0-9]{0,8}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Dim:
    """`dimK` or `dimK/N`: the K-th size of the operation's input, divided."""

    axis: int
    divisor: int = 1

    def __str__(self) -> str:
        return f"dim{self.axis}" + (f"/{self.divisor}" if self.divisor > 1 else "")


Size = int | str | Dim


def read_integer(value: object) -> int:
    """An integer. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("an integer")


def read_count(value: object) -> int:
    """A number of parts, 1 or more. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_PARTS:
        return value
    raise ValueError(f"an integer from 1 to {MAX_PARTS}")


def read_axes(value: object) -> tuple[int, ...]:
    """An axis or a list of different axes. Raises ValueError."""
    items = value if isinstance(value, (list, tuple)) else [value]
    try:
        axes = tuple(read_integer(v) for v in items)
    except ValueError:
        raise ValueError("an axis or a list of axes") from None
    if not axes or len(set(axes)) < len(axes):
        raise ValueError("an axis or a list of different axes")
    return axes


def read_order(value: object) -> tuple[int, ...]:
    """A list that holds each of 0, 1, ... once. Raises ValueError."""
    if isinstance(value, (list, tuple)) and value:
        order = [v for v in value if isinstance(v, int) and not isinstance(v, bool)]
        if len(order) == len(value) and sorted(order) == list(range(len(order))):
            return tuple(order)
    raise ValueError("a list that holds each of 0, 1, 2, ... once")


def read_size(value: object, *words: str) -> Size:
    """A size: N, dimK, dimK/N or one of the words. Raises ValueError."""
    if isinstance(value, Dim):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        if value in words:
            return value
        if found := _DIM.fullmatch(value):
            return Dim(int(found[1]), int(found[2] or 1))
    raise ValueError(", ".join(["a size (N, dimK or dimK/N)", *words]))


def read_end(value: object) -> Size:
    """A size, or template. Raises ValueError."""
    return read_size(value, TEMPLATE)


def read_sizes(value: object) -> tuple[Size, ...]:
    """A list of sizes, one of which may be `rest`. Raises ValueError."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("a list of sizes: N, dimK, dimK/N, and once `rest`")
    sizes = tuple(read_size(v, REST) for v in value)
    if sizes.count(REST) > 1:
        raise ValueError("a list with one `rest` at most")
    return sizes


def read_shape(value: object) -> tuple[Size, ...]:
    """A shape: a list of sizes, one of which may be -1. Raises ValueError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("a list of sizes: N, dimK, dimK/N, and once -1")
    shape = tuple(-1 if v == -1 and v is not True else read_size(v) for v in value)
    if shape.count(-1) > 1:
        raise ValueError("a list with one -1 at most")
    return shape


def axis_of(operation: Operation, axis: int, shape: Shape) -> int:
    """The axis, counted from 0, of a tensor of this shape. Raises MappingError."""
    if not -len(shape) <= axis < len(shape):
        stop(operation, f"axis {axis} of a tensor of shape {list(shape)}, which has {len(shape)} axes")
    return axis % len(shape)


def axes_of(operation: Operation, axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Different axes, counted from 0, of a tensor of this rank. Raises MappingError."""
    found = tuple(a % rank if -rank <= a < rank else rank for a in axes)
    if rank in found or len(set(found)) < len(found):
        stop(operation, f"axes {list(axes)} are not different axes of a tensor with {rank} axes")
    return found


def size_of(operation: Operation, size: Size, shape: Shape) -> int:
    """A size (not `rest`, not `template`) for an input of this shape. Raises MappingError."""
    if isinstance(size, int):
        return size
    if not isinstance(size, Dim):
        raise TypeError(size)
    if size.axis >= len(shape):
        stop(operation, f"{size} of a tensor of shape {list(shape)}, which has {len(shape)} axes")
    whole = shape[size.axis]
    if whole % size.divisor:
        stop(operation, f"{size} is no whole number: the tensor's shape is {list(shape)}")
    return whole // size.divisor


def parts_of(operation: Operation, sizes: Sequence[Size], axis: int, shape: Shape) -> tuple[int, ...]:
    """Sizes of the parts that an axis is cut into; `rest` is what the others leave. Raises MappingError."""
    known = [0 if s == REST else size_of(operation, s, shape) for s in sizes]
    left = shape[axis] - sum(known)
    if left < 0 or (left and REST not in sizes):
        stop(operation, f"sizes add up to {sum(known)}, axis {axis} of shape {list(shape)} has {shape[axis]}")
    return tuple(left if s == REST else k for s, k in zip(sizes, known, strict=True))


def equal_parts(operation: Operation, count: int, axis: int, shape: Shape) -> int:
    """The size of one of `count` equal parts of an axis. Raises MappingError."""
    if shape[axis] % count:
        stop(operation, f"axis {axis} of shape {list(shape)} has no {count} equal parts", hint="give their sizes")
    return shape[axis] // count


def shape_of(operation: Operation, wanted: Sequence[Size], shape: Shape) -> Shape:
    """A shape for the elements of an input of this shape; -1 is what is left. Raises MappingError."""
    sizes = [1 if s == -1 else size_of(operation, s, shape) for s in wanted]
    total, known = math.prod(shape), math.prod(sizes)
    if -1 in wanted:
        if not known or total % known:
            stop(operation, f"the {total} elements of shape {list(shape)} don't fit {_spell(wanted)}")
        sizes[list(wanted).index(-1)] = total // known
    elif total != known:
        stop(operation, f"shape {list(shape)} has {total} elements, {_spell(wanted)} has {known}")
    return tuple(sizes)


def _spell(sizes: Sequence[Size]) -> str:
    return "[" + ", ".join(map(str, sizes)) + "]"
