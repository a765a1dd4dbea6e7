"""Operations resolved against shapes into steps, there and back; what can't be undone, and what shapes can't prove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from ckptmigrate.dtypes import DType
from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.operations.lanes import Lane, bind, make_step
from ckptmigrate.mapping.operations.operation import Form, Forms, Operation, Wish, stop
from ckptmigrate.mapping.operations.sizes import TEMPLATE
from ckptmigrate.mapping.operations.table import spec_of
from ckptmigrate.steps import Shape, Step

# What leaves the shape as it is, or (pad) only a size that another pad to the template's size doesn't ask for.
_SHAPE_KEPT = frozenset({"pad", "cast", "add", "scale"})


def resolve(
    operations: Sequence[Operation],
    shapes: Sequence[Shape],
    dtypes: Sequence[DType],
    targets: Sequence[Shape | None],
    *,
    reverse: bool = False,
    target_dtypes: Sequence[DType | None] = (),
) -> tuple[Step, ...]:
    """The steps that a rule's operations are for tensors of these shapes.

    Args:
        operations: As the rule lists them, also when they are to be undone.
        shapes, dtypes: Of the tensors at hand: the rule's `from` side, or its `to` side when `reverse`.
        targets: One entry for each tensor wanted on the other side: the template's shape, or None where none tells.
            Whether the outputs have these shapes is the caller's to check.
        reverse: Undo the operations, from the last to the first.
        target_dtypes: Element types of the template, for the way back of a `cast` that doesn't say `from`.

    Raises:
        MappingError: Shapes or types that an operation doesn't take, or (issue of kind `irreversible`) no way back.

    >>> from ckptmigrate.dtypes import FLOAT32
    >>> from ckptmigrate.mapping.operations import parse
    >>> steps = resolve([parse("transpose", [1, 0])], [(2, 3)], [FLOAT32], [None])
    >>> steps[0].text, steps[0].shapes
    ('transpose [1, 0]', ((3, 2),))
    """
    forms = tuple(Form(tuple(shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    far = None if not targets or None in targets else tuple(tuple(t) for t in targets if t is not None)
    if not reverse:
        return tuple(make_step(lanes) for lanes in _forwards(operations, forms, len(targets), far))
    before, misfit = _before(operations, forms, len(targets), far, target_dtypes)
    try:
        return tuple(make_step(lanes) for lanes in _backwards(operations, forms, before))
    except MappingError as problem:
        if misfit is None or any(reversibility(operation, has_template=True) for operation in operations):
            raise
        raise misfit from problem


def reversibility(operation: Operation, has_template: bool) -> str:
    """Why an operation has no way back, empty when it has one.

    >>> from ckptmigrate.mapping.operations import parse
    >>> reversibility(parse("slice", {"axis": 0, "start": 1}), has_template=True)
    "what slice cuts off isn't in the target"
    """
    return spec_of(operation).no_way_back(operation, has_template)


def unproven(operation: Operation) -> str:
    """What equal shapes don't prove of this operation, empty when they prove it.

    >>> from ckptmigrate.mapping.operations import parse
    >>> unproven(parse("squeeze", 0))
    ''
    """
    return spec_of(operation).unproven(operation)


def _lanes(operation: Operation, forms: Forms, wish: Wish) -> list[Lane]:
    """The operation on each tensor by itself, or once on all of them."""
    arity = spec_of(operation).arity
    for form in forms:
        if not form.dtype.is_raw and form.dtype.name != "string":
            stop(operation, f"takes numbers or strings, found {form.dtype}")
    if arity == "each":
        shapes = wish.shapes if wish.shapes is not None and len(wish.shapes) == len(forms) else None
        wishes = [Wish(1, (shape,)) for shape in shapes] if shapes else [Wish(1)] * len(forms)
        return [bind(operation, (form,), w) for form, w in zip(forms, wishes, strict=True)]
    if arity == "part" and len(forms) != 1:
        stop(operation, f"takes one tensor, found {len(forms)}", kind="mapping")
    return [bind(operation, forms, wish)]


def _outputs(lanes: Sequence[Lane]) -> Forms:
    return tuple(chain.from_iterable(lane.kernel.outputs for lane in lanes))


def _forwards(
    operations: Sequence[Operation], forms: Forms, count: int, far: tuple[Shape, ...] | None
) -> Iterator[list[Lane]]:
    """Each operation in turn on the outputs of the one before, for `count` tensors at the end."""
    for index, operation in enumerate(operations):
        wish = Wish(_wished_count(operations[index + 1 :], count))
        if far is not None and operation.params.get("to") == TEMPLATE:
            wish = Wish(wish.count, _wished_shapes(operation, operations[index + 1 :], far, forms))
        lanes = _lanes(operation, forms, wish)
        yield lanes
        forms = _outputs(lanes)


def _wished_count(after: Sequence[Operation], count: int) -> int | None:
    """How many tensors must go into the operations `after` so that `count` come out; None where they don't tell."""
    wished: int | None = count
    for operation in reversed(after):
        arity = spec_of(operation).arity
        wished = {"each": wished, "join": None, "part": 1}[arity]
    return wished


def _counts(operations: Sequence[Operation], count: int) -> list[int | None]:
    """How many tensors go into each operation when `count` go into the first."""
    counts: list[int | None] = [count]
    for operation in operations:
        spec = spec_of(operation)
        counts.append({"each": counts[-1], "join": 1, "part": spec.parts(operation)}[spec.arity])
    return counts


def _wished_shapes(
    operation: Operation, after: Sequence[Operation], far: tuple[Shape, ...], forms: Forms
) -> tuple[Shape, ...]:
    """The template's shapes as they must be right behind `operation`: the operations after it undone."""
    wished = tuple(Form(shape, forms[0].dtype) for shape in far)
    hints = _counts(after, len(forms))
    for later, count in reversed(list(zip(after, hints, strict=False))):
        if later.name in _SHAPE_KEPT:
            continue
        try:
            wished = _outputs(_undone(later, wished, count))
        except MappingError as error:
            message = f"`to: template` needs to undo what follows it ({error.message})"
            stop(operation, message, hint="write it behind the other operations")
    return tuple(form.shape for form in wished)


def _before(
    operations: Sequence[Operation],
    forms: Forms,
    count: int,
    far: tuple[Shape, ...] | None,
    dtypes: Sequence[DType | None],
) -> tuple[list[Forms | int | None], MappingError | None]:
    """What is known of the inputs of each operation that is to be undone: their shapes, else how many they are.

    With it, why the template's shapes don't go through the operations, where they don't: what can be undone without
    them is, and the caller sees in which shapes it ends.
    """
    counts: list[Forms | int | None] = [*_counts(operations, count)[: len(operations)]]
    if far is None:
        return counts, None
    known = [d for d in dtypes if d is not None]
    typed = len(known) == len(far)
    start = tuple(Form(shape, known[i] if typed else forms[0].dtype) for i, shape in enumerate(far))
    shapes = tuple(form.shape for form in forms)
    walked = [op for op in operations if typed or op.name != "cast"]
    try:
        inputs = iter([_inputs(lanes) for lanes in _forwards(walked, start, len(forms), shapes)])
    except MappingError as error:
        message = f"the template's tensors don't go through the operations: {error.message}"
        return counts, MappingError(message, where=error.where, hint=error.hint, issues=error.issues)
    before = [next(inputs) if typed or op.name != "cast" else n for op, n in zip(operations, counts, strict=True)]
    return before, None


def _inputs(lanes: Sequence[Lane]) -> Forms:
    return tuple(chain.from_iterable(lane.inputs for lane in lanes))


def _backwards(
    operations: Sequence[Operation], forms: Forms, before: Sequence[Forms | int | None]
) -> Iterator[list[Lane]]:
    for operation, known in reversed(list(zip(operations, before, strict=True))):
        lanes = _undone(operation, forms, known)
        yield lanes
        forms = _outputs(lanes)


def _undone(operation: Operation, outputs: Forms, known: Forms | int | None) -> list[Lane]:
    """The way back from an operation's outputs. Raises MappingError of kind irreversible where there is none."""
    spec = spec_of(operation)
    if spec.arity == "join" and len(outputs) != 1:
        stop(operation, f"gives one tensor, found {len(outputs)} to undo it from", kind="mapping")
    single = spec.arity == "each"
    groups = [(form,) for form in outputs] if single else [outputs]
    hints: list[Forms | int | None] = [known] * len(groups)
    if single:
        fits = isinstance(known, tuple) and len(known) == len(groups)
        hints = [(form,) for form in known] if isinstance(known, tuple) and fits else [None] * len(groups)
    lanes = []
    for group, hint in zip(groups, hints, strict=True):
        back = spec.invert(operation, hint, group)
        if isinstance(back, str):
            stop(operation, f"no way back: {back}", kind="irreversible")
        count = len(hint) if isinstance(hint, tuple) else hint
        lanes += _lanes(back, group, Wish(count))
    return lanes
