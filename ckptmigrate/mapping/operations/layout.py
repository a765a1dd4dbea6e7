"""Operations that move elements of one tensor and change none: transpose, squeeze, expand_dims, flip, reshape."""

from __future__ import annotations

from collections.abc import Callable

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
from ckptmigrate.mapping.operations.sizes import axes_of, read_axes, read_shape, shape_of
from ckptmigrate.tiles import reshaped

NEEDS_TEMPLATE = "needs a template"
_NEEDS_SHAPE = f"{NEEDS_TEMPLATE}, or `from` with the shape before it"


def _order(operation: Operation, form: Form) -> tuple[int, ...]:
    rank = len(form.shape)
    order = axes_of(operation, operation.params["axes"], rank)
    if len(order) != rank:
        stop(operation, f"names {len(order)} axes, the tensor's shape is {list(form.shape)}")
    return order


def _bind_transpose(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    order = _order(operation, inputs[0])
    shape = tuple(inputs[0].shape[axis] for axis in order)
    return single({"axes": order}, Form(shape, inputs[0].dtype), lambda x: x.transpose(order))


def _invert_transpose(operation: Operation, _inputs: object, outputs: Forms) -> Operation:
    order = _order(operation, outputs[0])
    back = tuple(order.index(axis) for axis in range(len(order)))
    return Operation("transpose", {"axes": back}, operation.where)


def _unproven_transpose(operation: Operation) -> str:
    axes = operation.params["axes"]
    if axes == tuple(range(len(axes))):
        return ""
    return f"transpose {list(axes)}: between axes of equal size the shape can't tell which order is right"


def _bind_squeeze(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    before = inputs[0].shape
    axes = axes_of(operation, operation.params["axes"], len(before))
    if any(before[axis] != 1 for axis in axes):
        stop(operation, f"expected size 1 at axes {list(axes)}, the tensor's shape is {list(before)}")
    shape = tuple(size for axis, size in enumerate(before) if axis not in axes)
    return single({"axes": axes}, Form(shape, inputs[0].dtype), lambda x: x.reshape(shape))


def _bind_expand(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    rank = len(inputs[0].shape) + len(operation.params["axes"])
    axes = axes_of(operation, operation.params["axes"], rank)
    sizes = iter(inputs[0].shape)
    shape = tuple(1 if axis in axes else next(sizes) for axis in range(rank))
    return single({"axes": axes}, Form(shape, inputs[0].dtype), lambda x: x.reshape(shape))


def _bind_flip(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    axes = axes_of(operation, operation.params["axes"], len(inputs[0].shape))
    return single({"axes": axes}, inputs[0], lambda x: np.flip(x, axes))


def _bind_reshape(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    before, start = inputs[0].shape, operation.params.get("from")
    shape = shape_of(operation, operation.params["to"], before)
    if start is not None and shape_of(operation, start, shape) != before:
        stop(operation, f"the tensor's shape is {list(before)}, not the one that `from` names")
    return single({"to": shape}, Form(shape, inputs[0].dtype), lambda x: reshaped(x, shape))


def _invert_reshape(operation: Operation, inputs: Forms | int | None, _outputs: Forms) -> Operation | str:
    if isinstance(inputs, tuple):
        return Operation("reshape", {"to": inputs[0].shape}, operation.where)
    start = operation.params.get("from")
    return _NEEDS_SHAPE if start is None else Operation("reshape", {"to": start}, operation.where)


def _reshape_is_one_way(operation: Operation, has_template: bool) -> str:
    return "" if has_template or operation.params.get("from") is not None else _NEEDS_SHAPE


def _axes(
    name: str, bind: Callable[[Operation, Forms, Wish], Kernel], back: str, example: str, unproven: str = ""
) -> Spec:
    return Spec(
        name,
        {"axes": Field(read_axes, required=True)},
        bind,
        opposite(back),
        example,
        bare="axes",
        unproven=lambda _: unproven,
    )


LAYOUT = (
    Spec(
        "transpose",
        {"axes": Field(read_axes, required=True)},
        _bind_transpose,
        _invert_transpose,
        "transpose: [3, 2, 0, 1]",
        bare="axes",
        unproven=_unproven_transpose,
    ),
    _axes("squeeze", _bind_squeeze, "expand_dims", "squeeze: [0, 1]"),
    _axes("expand_dims", _bind_expand, "squeeze", "expand_dims: 0"),
    _axes("flip", _bind_flip, "flip", "flip: [0, 1]", "flip: an axis that runs the other way has the same shape"),
    Spec(
        "reshape",
        {"to": Field(read_shape, required=True), "from": Field(read_shape)},
        _bind_reshape,
        _invert_reshape,
        "reshape: {to: [-1, 64], from: [3, 3, -1, 64]}",
        bare="to",
        no_way_back=_reshape_is_one_way,
    ),
)
