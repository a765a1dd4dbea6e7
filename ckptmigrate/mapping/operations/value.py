"""Operations that change values: add, scale, sum, cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptmigrate.dtypes import BY_NAME, DType
from ckptmigrate.mapping.operations.element import (
    element,
    is_integer,
    is_number,
    is_wider,
    read_dtype,
    read_number,
)
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
from ckptmigrate.mapping.operations.sizes import axis_of, equal_parts, read_count, read_integer
from ckptmigrate.steps import Arrays

_NEEDS_DTYPE = f"{NEEDS_TEMPLATE}, or `from` with the type before it"
_VALUES = "its values have no mark in the shape"
Array = np.ndarray[Any, Any]


def _arithmetic(operation: Operation, dtype: DType, *, integers: bool) -> None:
    """Raises MappingError for an element type that the operation can't count with."""
    if not is_number(dtype) or dtype.name == "bool" or (is_integer(dtype) and not integers):
        kinds = "numbers" if integers else "floating-point or complex numbers"
        stop(operation, f"takes {kinds}, found {dtype}", kind="mapping", hint="put a `cast` before it")


def _bind_add(change: Callable[[Array, Any], Any]) -> Callable[[Operation, Forms, Wish], Kernel]:
    def bind(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
        form, params = inputs[0], operation.params
        _arithmetic(operation, form.dtype, integers=True)
        number = element(operation, params["value"], form.dtype)
        where: tuple[slice, ...] = ()
        if params.get("axis") is not None:
            axis = axis_of(operation, params["axis"], form.shape)
            size = equal_parts(operation, params["of"], axis, form.shape)
            where = cut(len(form.shape), axis, params["block"] * size, (params["block"] + 1) * size)

        def apply(x: Array) -> Array:
            out: Array = x.copy()
            with np.errstate(all="ignore"):
                out[where] = change(out[where], number)
            return out

        return single(params, form, apply)

    return bind


def _check_add(params: dict[str, Any]) -> None:
    given = [params[name] is not None for name in ("axis", "block", "of")]
    if any(given) and not all(given):
        raise ValueError("takes `axis`, `block` and `of` together, or none of them")
    if all(given) and not 0 <= params["block"] < params["of"]:
        raise ValueError(f"takes a `block` from 0 to {params['of'] - 1}: `of` says how many blocks the axis has")


def _bind_scale(change: Callable[[Array, Any], Any]) -> Callable[[Operation, Forms, Wish], Kernel]:
    def bind(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
        _arithmetic(operation, inputs[0].dtype, integers=False)
        number = element(operation, operation.params["by"], inputs[0].dtype)
        if not number or not np.isfinite(number):
            stop(operation, f"as {inputs[0].dtype} the factor is {number}", kind="mapping")

        def apply(x: Array) -> Array:
            with np.errstate(all="ignore"):
                return np.asarray(change(x, number))

        return single(operation.params, inputs[0], apply)

    return bind


def _check_scale(params: dict[str, Any]) -> None:
    if params["by"] == 0:
        raise ValueError("takes a factor other than 0")


def _bind_sum(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    same_dtype(operation, inputs)
    _arithmetic(operation, inputs[0].dtype, integers=True)
    if any(form.shape != inputs[0].shape for form in inputs):
        stop(operation, f"takes tensors of one shape, found {', '.join(str(list(f.shape)) for f in inputs)}")

    def apply(arrays: Arrays) -> Arrays:
        total = arrays[0].copy()
        with np.errstate(all="ignore"):
            for array in arrays[1:]:
                np.add(total, array, out=total)
        return [total]

    return Kernel({}, inputs[:1], apply)


def _invert_sum(operation: Operation, inputs: Forms | int | None, _outputs: Forms) -> Operation | str:
    if inputs is None:
        return "how many tensors it added isn't known here"
    times = inputs if isinstance(inputs, int) else len(inputs)
    return Operation("all_to_first", {"times": times}, operation.where)


def _bind_all_to_first(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    times = operation.params["times"]
    outputs = inputs * times
    return Kernel(
        {"times": times}, outputs, lambda arrays: [arrays[0], *(np.zeros_like(arrays[0]) for _ in range(times - 1))]
    )


def _bind_cast(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    have, want = inputs[0].dtype, BY_NAME[operation.params["dtype"]]
    start = operation.params.get("from")
    if not is_number(have):
        stop(operation, f"takes numbers, found {have}", kind="mapping")
    if "complex" in have.name and "complex" not in want.name:
        stop(operation, f"{have} to {want} would drop the imaginary part", kind="mapping")
    if start is not None and start != have.name:
        stop(operation, f"the tensor is {have}, `from` says {start}", kind="mapping")

    def apply(x: Array) -> Array:
        with np.errstate(all="ignore"):
            cast: Array = x.astype(want.numpy, copy=False)
            return cast

    return single({"dtype": want.name, "from": have.name}, Form(inputs[0].shape, want), apply)


def _invert_cast(operation: Operation, inputs: Forms | int | None, outputs: Forms) -> Operation | str:
    start = inputs[0].dtype.name if isinstance(inputs, tuple) else operation.params.get("from")
    if start is not None and "complex" in outputs[0].dtype.name and "complex" not in start:
        return f"{outputs[0].dtype} to {start} would drop the imaginary part"
    return _NEEDS_DTYPE if start is None else Operation("cast", {"dtype": start}, operation.where)


def _cast_is_one_way(operation: Operation, has_template: bool) -> str:
    return "" if has_template or operation.params.get("from") is not None else _NEEDS_DTYPE


def _cast_is_exact(operation: Operation, form: Form) -> bool:
    return form.dtype.name == operation.params["dtype"] or is_wider(form.dtype, BY_NAME[operation.params["dtype"]])


def _integers(_operation: Operation, form: Form) -> bool:
    return is_integer(form.dtype) and form.dtype.is_raw and form.dtype.numpy.kind in "iu"


def _never(_operation: Operation, _form: Form) -> bool:
    return False


_ADD = {
    "axis": Field(read_integer),
    "of": Field(read_count),
    "block": Field(read_integer),
    "value": Field(read_number, required=True),
}
_BY = {"by": Field(read_number, required=True)}

VALUE = (
    Spec(
        "add",
        _ADD,
        _bind_add(lambda x, number: x + number),
        opposite("subtract"),
        "add: {axis: 0, of: 4, block: 1, value: 1.0}",
        bare="value",
        slots="skip",
        check=_check_add,
        is_exact=_integers,
        unproven=lambda _: f"add: {_VALUES}",
    ),
    Spec(
        "subtract",
        _ADD,
        _bind_add(lambda x, number: x - number),
        opposite("add"),
        slots="skip",
        is_exact=_integers,
        is_written=False,
    ),
    Spec(
        "scale",
        _BY,
        _bind_scale(lambda x, number: x * number),
        opposite("divide"),
        "scale: 0.5",
        bare="by",
        slots="stop",
        check=_check_scale,
        is_exact=_never,
        unproven=lambda _: f"scale: {_VALUES}",
    ),
    Spec(
        "divide",
        _BY,
        _bind_scale(lambda x, number: x / number),
        opposite("scale"),
        slots="stop",
        is_exact=_never,
        is_written=False,
    ),
    Spec("sum", {}, _bind_sum, _invert_sum, "sum", arity="join", slots="stop", is_exact=_never),
    Spec(
        "all_to_first",
        {"times": Field(read_count, required=True)},
        _bind_all_to_first,
        lambda operation, _inputs, _outputs: Operation("sum", {}, operation.where),
        arity="part",
        slots="stop",
        is_exact=_never,
        is_written=False,
    ),
    Spec(
        "cast",
        {"dtype": Field(read_dtype, required=True), "from": Field(read_dtype)},
        _bind_cast,
        _invert_cast,
        "cast: float32",
        bare="dtype",
        slots="skip",
        is_exact=_cast_is_exact,
        no_way_back=_cast_is_one_way,
    ),
)
