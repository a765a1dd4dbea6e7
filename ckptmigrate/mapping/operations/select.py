"""`take`: rows of an axis by number, in every one of its equal blocks; what other numbers of classes leave of a head.

Mapping files don't write it: it comes up where the rows to keep are told by two lists of classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmigrate.mapping.operations.element import element, read_number
from ckptmigrate.mapping.operations.operation import Field, Form, Forms, Kernel, Operation, Spec, Wish, single, stop
from ckptmigrate.mapping.operations.sizes import axis_of, read_count, read_integer

NEW = -1  # in the place of a row's number: a row that the source lacks
_ONE_WAY = "what take leaves out isn't in the target"


def _read_rows(value: object) -> tuple[int, ...]:
    if isinstance(value, (list, tuple)) and value and all(type(v) is int and v >= NEW for v in value):
        return tuple(value)
    raise ValueError("a list of rows from 0, -1 for new ones")


def _bind_take(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    form, params = inputs[0], operation.params
    axis = axis_of(operation, params["axis"], form.shape)
    blocks, width, rows = params["blocks"], params["width"], params["rows"]
    count, rest = divmod(form.shape[axis], blocks * width)
    if rest or max(rows) >= count:
        stop(operation, f"axis {axis} of shape {list(form.shape)} isn't {blocks} blocks of more than {max(rows)} rows")
    outside, inside = form.shape[:axis], form.shape[axis + 1 :]
    output = Form((*outside, blocks * len(rows) * width, *inside), form.dtype)
    filler = element(operation, params["with"], form.dtype)
    index = np.array(rows)

    def apply(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        split = x.reshape(*outside, blocks, count, width, *inside)
        taken = split.take(np.maximum(index, 0), axis=axis + 1)
        taken[(slice(None),) * (axis + 1) + (index == NEW,)] = filler
        result: np.ndarray[Any, Any] = taken.reshape(output.shape)
        return result

    return single({**params, "axis": axis}, output, apply)


SELECT = (
    Spec(
        "take",
        {
            "axis": Field(read_integer, required=True),
            "blocks": Field(read_count, 1),
            "width": Field(read_count, 1),
            "rows": Field(_read_rows, required=True),
            "with": Field(read_number, 0),
        },
        _bind_take,
        lambda _operation, _inputs, _outputs: _ONE_WAY,
        slots="initial",
        no_way_back=lambda _operation, _has_template: _ONE_WAY,
        is_written=False,
    ),
)
