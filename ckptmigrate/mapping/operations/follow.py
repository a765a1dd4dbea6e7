"""How an optimizer's slot follows its variable through a rule's operations."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmigrate.dtypes import DType
from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.operations.operation import Operation
from ckptmigrate.mapping.operations.resolve import resolve
from ckptmigrate.mapping.operations.sizes import axes_of
from ckptmigrate.mapping.operations.table import spec_of
from ckptmigrate.steps import Shape, Step

_FACTORED = (
    "it is one factor of two (rows, columns) and follows only a transpose that leaves the last two axes in place"
)


def resolve_slot(
    operations: Sequence[Operation],
    shapes: Sequence[Shape],
    dtypes: Sequence[DType],
    targets: Sequence[Shape | None],
    *,
    initial: float,
    is_average: bool,
    reverse: bool = False,
    target_dtypes: Sequence[DType | None] = (),
    variables: Sequence[Shape] = (),
) -> tuple[Step, ...] | str:
    """The steps for a slot, or the reason why it can't follow its variable.

    Element-wise state is moved as its variable is; what `pad` adds gets the slot's initial value; `add` and `cast`
    change the variable only. An average is treated as the variable itself.

    Args:
        operations, targets, reverse, target_dtypes: As in `resolve`.
        shapes, dtypes: Of the slots.
        initial: What an optimizer starts this slot with.
        is_average: The slot is an average of the variable.
        variables: Shapes of the variables, where a slot's own shape may be another (factored second moments).
    """
    try:
        if variables and list(map(tuple, variables)) != list(map(tuple, shapes)):
            return _resolve_factor(operations, shapes, dtypes, variables, reverse)
        followed = list(operations) if is_average else _followed(operations, initial)
        if isinstance(followed, str):
            return followed
        return resolve(followed, shapes, dtypes, targets, reverse=reverse, target_dtypes=target_dtypes)
    except MappingError as error:
        return error.message


def _followed(operations: Sequence[Operation], initial: float) -> list[Operation] | str:
    followed = []
    for operation in operations:
        policy = spec_of(operation).slots
        if policy == "stop":
            return f"{operation} says nothing of how optimizer state changes"
        if policy == "initial":
            followed.append(Operation(operation.name, {**operation.params, "with": initial}, operation.where))
        elif policy == "same":
            followed.append(operation)
    return followed


def _resolve_factor(
    operations: Sequence[Operation],
    shapes: Sequence[Shape],
    dtypes: Sequence[DType],
    variables: Sequence[Shape],
    reverse: bool,
) -> tuple[Step, ...] | str:
    moves = [operation for operation in operations if spec_of(operation).slots != "skip"]
    if len(shapes) != 1 or any(operation.name != "transpose" for operation in moves):
        return _FACTORED
    variable, shape = tuple(variables[0]), tuple(shapes[0])
    if len(variable) < 2 or shape not in (variable[:-1], (*variable[:-2], variable[-1])):
        return f"its shape {list(shape)} is neither that of its variable, {list(variable)}, nor a factor of it"
    rank = len(variable)
    order = tuple(range(rank))
    for operation in moves:
        order = tuple(order[axis] for axis in axes_of(operation, operation.params["axes"], rank))
    if order[-2:] == (rank - 1, rank - 2):
        return "the last two axes change places, so its two factors (rows, columns) do as well"
    if order[-2:] != (rank - 2, rank - 1):
        return _FACTORED
    move = Operation("transpose", {"axes": (*order[:-2], rank - 2)}, moves[0].where if moves else "")
    return resolve([move], [shape], dtypes, [None], reverse=reverse) if order != tuple(range(rank)) else ()
