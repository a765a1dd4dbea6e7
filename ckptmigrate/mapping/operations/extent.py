"""Operations that change how far a tensor extends: slice, pad, tile, copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmigrate.dtypes import STRING
from ckptmigrate.mapping.operations.element import element, read_number
from ckptmigrate.mapping.operations.join import cut, same_dtype
from ckptmigrate.mapping.operations.layout import NEEDS_TEMPLATE
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
    TEMPLATE,
    axis_of,
    equal_parts,
    read_count,
    read_end,
    read_integer,
    read_size,
    size_of,
)
from ckptmigrate.steps import Arrays, Shape

_AXIS = Field(read_integer, required=True)
_TIMES = Field(read_count, required=True)
_CUT_OFF = "what slice cuts off isn't in the target"
_NEEDS_SIZE = f"{NEEDS_TEMPLATE}, or `from` with the size before it"


def _resized(form: Form, axis: int, size: int) -> Form:
    return Form((*form.shape[:axis], size, *form.shape[axis + 1 :]), form.dtype)


def _bind_slice(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    form, params = inputs[0], operation.params
    axis = axis_of(operation, params["axis"], form.shape)
    start = size_of(operation, params.get("start") or 0, form.shape)
    end = form.shape[axis] if params.get("stop") is None else size_of(operation, params["stop"], form.shape)
    if not start <= end <= form.shape[axis]:
        stop(operation, f"expected start <= stop <= {form.shape[axis]}, the size of axis {axis}; found {start}, {end}")
    range_ = cut(len(form.shape), axis, start, end)
    params = {"axis": axis, "start": start, "stop": end}
    return single(params, _resized(form, axis, end - start), lambda x: x[range_])


def _check_slice(params: dict[str, Any]) -> None:
    if params["start"] is None and params["stop"] is None:
        raise ValueError("takes `start`, `stop` or both")


def _pad_end(operation: Operation, shape: Shape, axis: int, wish: Wish) -> int:
    to = operation.params["to"]
    if to != TEMPLATE:
        return size_of(operation, to, shape)
    if wish.shapes is None:
        stop(operation, "`to: template` has no template's shape to go by", hint="--template, or a number for `to`")
    if len(wish.shapes[0]) != len(shape):
        stop(operation, f"the tensor's shape is {list(shape)}, the template's {list(wish.shapes[0])}")
    return wish.shapes[0][axis]


def _bind_pad(operation: Operation, inputs: Forms, wish: Wish) -> Kernel:
    form, number = inputs[0], operation.params.get("with") or 0
    axis = axis_of(operation, operation.params["axis"], form.shape)
    start, end = form.shape[axis], _pad_end(operation, form.shape, axis, wish)
    output = _resized(form, axis, end)
    if end < start:
        stop(operation, f"axis {axis} of shape {list(form.shape)} has {start} already, more than {end}")
    if operation.params.get("from") is not None and size_of(operation, operation.params["from"], output.shape) != start:
        stop(operation, f"`from` isn't the size of axis {axis}, the tensor's shape is {list(form.shape)}")
    is_text = form.dtype is STRING and not number
    filler = b"" if is_text else element(operation, number, form.dtype)
    inside = cut(len(form.shape), axis, 0, start)
    outside = cut(len(form.shape), axis, start, None)

    def apply(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        padded = np.empty(output.shape, x.dtype)
        padded[inside] = x
        padded[outside] = filler
        return padded

    return single({"axis": axis, "to": end, "with": number}, output, apply)


def _invert_pad(operation: Operation, inputs: Forms | int | None, outputs: Forms) -> Operation | str:
    axis = axis_of(operation, operation.params["axis"], outputs[0].shape)
    size = inputs[0].shape[axis] if isinstance(inputs, tuple) else operation.params.get("from")
    if size is None:
        return _NEEDS_SIZE
    return Operation("slice", {"axis": axis, "stop": size}, operation.where)


def _pad_is_one_way(operation: Operation, has_template: bool) -> str:
    return "" if has_template or operation.params.get("from") is not None else _NEEDS_SIZE


def _bind_tile(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    form, times = inputs[0], operation.params["times"]
    axis = axis_of(operation, operation.params["axis"], form.shape)
    output = _resized(form, axis, form.shape[axis] * times)
    return single({"axis": axis, "times": times}, output, lambda x: np.concatenate([x] * times, axis))


def _bind_untile(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    form, times = inputs[0], operation.params["times"]
    axis = axis_of(operation, operation.params["axis"], form.shape)
    size = equal_parts(operation, times, axis, form.shape)

    def apply(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        tiles = [x[cut(x.ndim, axis, index * size, (index + 1) * size)] for index in range(times)]
        return _the_one(operation, tiles)

    return single({"axis": axis, "times": times}, _resized(form, axis, size), apply)


def _bind_copy(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    times = operation.params["times"]
    return Kernel({"times": times}, inputs * times, lambda arrays: [arrays[0]] * times)


def _bind_merge(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    same_dtype(operation, inputs)
    if any(form.shape != inputs[0].shape for form in inputs) or len(inputs) != operation.params["times"]:
        shapes = ", ".join(str(list(form.shape)) for form in inputs)
        stop(operation, f"takes {operation.params['times']} tensors of one shape, found {shapes}")

    def apply(arrays: Arrays) -> Arrays:
        return [_the_one(operation, arrays)]

    return Kernel(operation.params, inputs[:1], apply)


def _the_one(operation: Operation, copies: Arrays) -> np.ndarray[Any, Any]:
    if not all(_same_bits(copies[0], other) for other in copies[1:]):
        stop(operation, "the copies have different values, so there is no one value to take back", kind="irreversible")
    return copies[0]


def _same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype == object:
        return bool(np.array_equal(a, b))
    left, right = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
    return bool(np.array_equal(left, right))


def _times(operation: Operation) -> int:
    times: int = operation.params["times"]
    return times


_TILE = {"axis": _AXIS, "times": _TIMES}
_COPY = {"times": _TIMES}

EXTENT = (
    Spec(
        "slice",
        {"axis": _AXIS, "start": Field(read_size), "stop": Field(read_size)},
        _bind_slice,
        lambda _operation, _inputs, _outputs: _CUT_OFF,
        "slice: {axis: 1, start: 1}",
        check=_check_slice,
        no_way_back=lambda _operation, _has_template: _CUT_OFF,
    ),
    Spec(
        "pad",
        {"axis": _AXIS, "to": Field(read_end, required=True), "from": Field(read_size), "with": Field(read_number, 0)},
        _bind_pad,
        _invert_pad,
        "pad: {axis: 3, to: template, with: 0}",
        slots="initial",
        no_way_back=_pad_is_one_way,
    ),
    Spec("tile", _TILE, _bind_tile, opposite("untile"), "tile: {axis: 0, times: 2}", slots="stop"),
    Spec("untile", _TILE, _bind_untile, opposite("tile"), slots="stop", is_written=False),
    Spec("copy", _COPY, _bind_copy, opposite("merge"), "copy: {times: 2}", "times", "part", "stop", parts=_times),
    Spec("merge", _COPY, _bind_merge, opposite("copy"), arity="join", slots="stop", is_written=False),
)
