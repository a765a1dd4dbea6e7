"""Operations that join tensors or cut one into several: concat, split, stack, unstack, reorder."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from ckptmigrate.mapping.operations.operation import (
    Field,
    Form,
    Forms,
    Kernel,
    Operation,
    Spec,
    Wish,
    opposite,
    single,
    stop,
)
from ckptmigrate.mapping.operations.sizes import (
    MAX_PARTS,
    axis_of,
    equal_parts,
    parts_of,
    read_integer,
    read_order,
    read_sizes,
)
from ckptmigrate.steps import Arrays, Shape

_AXIS = Field(read_integer, required=True)
_UNKNOWN_COUNT = "how many tensors it joined isn't known here: give `sizes`"


def cut(rank: int, axis: int, start: int, stop_at: int | None) -> tuple[slice, ...]:
    """The index of a range along one axis of a tensor of this rank."""
    return tuple(slice(start, stop_at) if a == axis else slice(None) for a in range(rank))


def same_dtype(operation: Operation, inputs: Forms) -> None:
    """Raises MappingError when the inputs are of different element types."""
    names = list(dict.fromkeys(form.dtype.name for form in inputs))
    if len(names) > 1:
        stop(operation, f"takes tensors of one type, found {', '.join(names)}", hint="put a `cast` before it")


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _bind_concat(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    same_dtype(operation, inputs)
    first = inputs[0].shape
    axis = axis_of(operation, operation.params["axis"], first)
    for form in inputs[1:]:
        if len(form.shape) != len(first) or _without(form.shape, axis) != _without(first, axis):
            stop(operation, f"shapes {list(first)} and {list(form.shape)} differ beyond axis {axis}")
    parts = tuple(form.shape[axis] for form in inputs)
    shape = (*first[:axis], sum(parts), *first[axis + 1 :])
    sizes = operation.params.get("sizes")
    if sizes is not None and parts_of(operation, sizes, axis, shape) != parts:
        stop(operation, f"the parts have sizes {list(parts)}, `sizes` says otherwise")
    output = Form(shape, inputs[0].dtype)
    return Kernel({"axis": axis}, (output,), lambda arrays: [np.concatenate(arrays, axis)])


def _invert_concat(operation: Operation, inputs: Forms | int | None, outputs: Forms) -> Operation | str:
    axis = axis_of(operation, operation.params["axis"], outputs[0].shape)
    sizes = operation.params.get("sizes")
    if isinstance(inputs, tuple):
        sizes = tuple(form.shape[axis] for form in inputs)
    elif sizes is None and inputs is None:
        return _UNKNOWN_COUNT
    elif sizes is None:
        assert isinstance(inputs, int)
        sizes = (equal_parts(operation, inputs, axis, outputs[0].shape),) * inputs
    return Operation("split", {"axis": axis, "sizes": sizes}, operation.where)


def _bind_split(operation: Operation, inputs: Forms, wish: Wish) -> Kernel:
    shape, dtype = inputs[0].shape, inputs[0].dtype
    axis = axis_of(operation, operation.params["axis"], shape)
    sizes = operation.params.get("sizes")
    if sizes is not None:
        parts = parts_of(operation, sizes, axis, shape)
    elif wish.count is not None:
        parts = (equal_parts(operation, wish.count, axis, shape),) * wish.count
    else:
        stop(operation, "how many parts isn't known here", hint="give their `sizes`")
    ends = tuple(accumulate(parts))
    outputs = tuple(Form((*shape[:axis], part, *shape[axis + 1 :]), dtype) for part in parts)
    ranges = [cut(len(shape), axis, end - part, end) for part, end in zip(parts, ends, strict=True)]
    return Kernel({"axis": axis, "sizes": parts}, outputs, lambda arrays: [arrays[0][range_] for range_ in ranges])


def _bind_stack(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    same_dtype(operation, inputs)
    shape = inputs[0].shape
    if any(form.shape != shape for form in inputs):
        stop(operation, f"takes tensors of one shape, found {', '.join(str(list(f.shape)) for f in inputs)}")
    axis = axis_of(operation, operation.params["axis"], (*shape, 1))
    output = Form((*shape[:axis], len(inputs), *shape[axis:]), inputs[0].dtype)
    return Kernel({"axis": axis}, (output,), lambda arrays: [np.stack(arrays, axis)])


def _bind_unstack(operation: Operation, inputs: Forms, wish: Wish) -> Kernel:
    shape = inputs[0].shape
    axis = axis_of(operation, operation.params["axis"], shape)
    count = shape[axis]
    if wish.count not in (None, count) or not 1 <= count <= MAX_PARTS:
        wanted = f"{wish.count} tensors" if wish.count is not None else f"1 to {MAX_PARTS} tensors"
        stop(operation, f"{wanted} wanted, axis {axis} of shape {list(shape)} gives {count}")

    def apply(arrays: Arrays) -> Arrays:
        first = np.moveaxis(arrays[0], axis, 0)
        return [first[index, ...] for index in range(count)]  # ... keeps a 0-d result an array

    return Kernel({"axis": axis}, (Form(_without(shape, axis), inputs[0].dtype),) * count, apply)


def _bind_reorder(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    shape, order = inputs[0].shape, operation.params["order"]
    axis = axis_of(operation, operation.params["axis"], shape)
    block = equal_parts(operation, len(order), axis, shape)
    blocks = (*shape[:axis], len(order), block, *shape[axis + 1 :])

    def apply(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        taken: np.ndarray[Any, Any] = np.take(x.reshape(blocks), order, axis)
        return taken.reshape(shape)

    return single({"axis": axis, "order": order}, inputs[0], apply)


def _invert_reorder(operation: Operation, _inputs: object, _outputs: Forms) -> Operation:
    order = operation.params["order"]
    back = tuple(order.index(block) for block in range(len(order)))
    return Operation("reorder", {"axis": operation.params["axis"], "order": back}, operation.where)


def _count_of_sizes(operation: Operation) -> int | None:
    sizes = operation.params.get("sizes")
    return None if sizes is None else len(sizes)


def _unproven_reorder(operation: Operation) -> str:
    order = operation.params["order"]
    same = order == tuple(range(len(order)))
    return "" if same else f"reorder {list(order)}: equal blocks in any order have the same shape"


_PARTS = {"axis": _AXIS, "sizes": Field(read_sizes)}
_PARTS_UNPROVEN = "parts of equal size in another order have the same shape"

JOIN = (
    Spec(
        "concat",
        _PARTS,
        _bind_concat,
        _invert_concat,
        "concat: {axis: -1}",
        bare="axis",
        arity="join",
        unproven=lambda _: f"concat: {_PARTS_UNPROVEN}",
    ),
    Spec(
        "split",
        _PARTS,
        _bind_split,
        opposite("concat"),
        "split: {axis: 0, sizes: [rest, dim1/4]}",
        bare="axis",
        arity="part",
        parts=_count_of_sizes,
        unproven=lambda _: f"split: {_PARTS_UNPROVEN}",
    ),
    Spec(
        "stack",
        {"axis": _AXIS},
        _bind_stack,
        opposite("unstack"),
        "stack: {axis: 0}",
        bare="axis",
        arity="join",
        unproven=lambda _: f"stack: {_PARTS_UNPROVEN}",
    ),
    Spec(
        "unstack",
        {"axis": _AXIS},
        _bind_unstack,
        opposite("stack"),
        "unstack: {axis: 0}",
        bare="axis",
        arity="part",
        unproven=lambda _: f"unstack: {_PARTS_UNPROVEN}",
    ),
    Spec(
        "reorder",
        {"axis": _AXIS, "order": Field(read_order, required=True)},
        _bind_reorder,
        _invert_reorder,
        "reorder: {axis: 1, order: [0, 2, 1, 3]}",
        unproven=_unproven_reorder,
    ),
)
