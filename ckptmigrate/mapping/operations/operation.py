"""What an operation of the mapping language is: a name and parameters as written, and the record that gives it meaning.

A record (`Spec`) says how an operation is bound to shapes (a `Kernel`), which operation is its way back, and how slots
follow. Both directions of a run, and every `Step.undo`, come from the same two functions: `bind` and `invert`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

from ckptmigrate.dtypes import DType
from ckptmigrate.errors import MappingError
from ckptmigrate.issues import Issue
from ckptmigrate.steps import Arrays, Shape


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a rule: its name, its parameters by name, and the file:line it was written at."""

    name: str
    params: Mapping[str, Any]
    where: str = ""

    def __str__(self) -> str:
        return f"{self.name} {render(self.params)}" if self.params else self.name


@dataclass(frozen=True, slots=True)
class Form:
    """Shape and element type of one tensor."""

    shape: Shape
    dtype: DType


Forms = tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the far end of a run expects behind one operation, as far as it is known.

    Attributes:
        count: Number of tensors, or None.
        shapes: Their shapes, or None where no template tells.
    """

    count: int | None = None
    shapes: tuple[Shape, ...] | None = None


class Kernel(NamedTuple):
    """An operation bound to shapes.

    Attributes:
        params: With every size resolved to a number, as reports show them.
        outputs: Shape and type of each output.
        apply: Inputs to outputs; never writes into its inputs, returns views where numpy can.
    """

    params: Mapping[str, Any]
    outputs: Forms
    apply: Callable[[Arrays], Arrays]


def single(
    params: Mapping[str, Any], outputs: Form, apply: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> Kernel:
    """A kernel of one tensor to one tensor."""
    return Kernel(params, (outputs,), lambda arrays: [apply(arrays[0])])


def opposite(name: str) -> Callable[[Operation, object, Forms], Operation]:
    """The `invert` of an operation whose way back is this other one with the same parameters."""
    return lambda operation, _inputs, _outputs: Operation(name, operation.params, operation.where)


class Field(NamedTuple):
    """A parameter: how it is read (raising ValueError with what it accepts), and what it is when left out."""

    read: Callable[[object], Any]
    default: Any = None
    required: bool = False


Arity = Literal["each", "join", "part"]  # each tensor by itself | many to one | one to many
Policy = Literal["same", "initial", "skip", "stop"]  # how a slot follows, see `follow.py`


@dataclass(frozen=True, slots=True)
class Spec:
    """One row of the table of operations.

    Attributes:
        name: As written in a mapping.
        fields: Its parameters, in the order reports show them.
        bare: The parameter that a value without a name belongs to (`squeeze: 0`); empty when there is none.
        example: How it is written, for messages.
        bind: (operation, inputs, what is wished behind it) to a kernel. One input where arity is `each`.
        invert: (operation, its inputs or how many or None, its outputs) to the operation of the way back, or the reason
            why there is none.
        arity: How many tensors it takes and gives.
        slots: How a slot follows.
        check: Raises ValueError where parameters don't go together.
        free: True when parameters of any other name are sizes (rearrange).
        is_exact: Whether no bit is lost for an input of this type.
        no_way_back: (operation, there is a template) to the reason, or empty.
        unproven: What the shapes can't prove of this operation, or empty.
        parts: How many outputs, where its parameters tell.
        is_written: False for those that only come up as a way back.
    """

    name: str
    fields: Mapping[str, Field]
    bind: Callable[[Operation, Forms, Wish], Kernel]
    invert: Callable[[Operation, Forms | int | None, Forms], Operation | str]
    example: str = ""
    bare: str = ""
    arity: Arity = "each"
    slots: Policy = "same"
    check: Callable[[dict[str, Any]], None] = lambda _: None
    free: bool = False
    is_exact: Callable[[Operation, Form], bool] = lambda _operation, _form: True
    no_way_back: Callable[[Operation, bool], str] = lambda _operation, _has_template: ""
    unproven: Callable[[Operation], str] = lambda _: ""
    parts: Callable[[Operation], int | None] = field(default=lambda _: None)
    is_written: bool = True


def stop(operation: Operation, message: str, *, kind: str = "shape", hint: str = "") -> NoReturn:
    """Raises a MappingError of this kind that points at the operation's line.

    Raises:
        MappingError: Always.
    """
    text = f"{operation}: {message}"
    issue = Issue(kind, "error", operation.name, text, hint, operation.where)
    raise MappingError(text, where=operation.where, hint=hint, issues=[issue])


def render(value: object) -> str:
    """A parameter's value as YAML writes it in one line.

    >>> render({"axis": 0, "sizes": [28, 4]})
    '{axis: 0, sizes: [28, 4]}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {render(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(render(v) for v in value) + "]"
    return str(value)
