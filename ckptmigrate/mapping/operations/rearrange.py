"""The operation rearrange: axes taken apart, moved and joined by name, `i (g u) -> g (u i)`.

The notation is a small part of einops': names, one level of parentheses, no ellipsis, no repeated or new axes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

from ckptmigrate.mapping.operations.layout import NEEDS_TEMPLATE
from ckptmigrate.mapping.operations.operation import Field, Form, Forms, Kernel, Operation, Spec, Wish, single, stop
from ckptmigrate.mapping.operations.sizes import Dim, Size
from ckptmigrate.steps import Shape
from ckptmigrate.tiles import reshaped

Side = tuple[tuple[str, ...], ...]  # one entry per axis of the tensor: the named axes it consists of

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_SIDE = re.compile(rf"\s*(?:(?:{_NAME}|\(\s*{_NAME}(?:\s+{_NAME})*\s*\))(?:\s+|(?=\()|(?<=\))|$))*", re.ASCII)
_TERM = re.compile(rf"\(([^()]*)\)|({_NAME})", re.ASCII)
_ACCEPTED = 'text like "i (g u) -> g (u i)", each axis once on either side'


class Notation(NamedTuple):
    """Both sides of `i (g u) -> g (u i)`."""

    left: Side
    right: Side

    def __str__(self) -> str:
        return " -> ".join(" ".join(_spell(term) for term in side) for side in (self.left, self.right))


def _spell(term: tuple[str, ...]) -> str:
    return term[0] if len(term) == 1 else f"({' '.join(term)})"


def read_notation(value: object) -> Notation:
    """The two sides of the notation. Raises ValueError."""
    if isinstance(value, str) and value.count("->") == 1:
        left, right = (_side(text) for text in value.split("->"))
        if left and right and sorted(chain(*left)) == sorted(chain(*right)):
            return Notation(left, right)
    raise ValueError(_ACCEPTED)


def _side(text: str) -> Side:
    if not _SIDE.fullmatch(text):
        raise ValueError(_ACCEPTED)
    side = tuple(tuple(group.split()) or (name,) for group, name in _TERM.findall(text))
    axes = list(chain(*side))
    if len(set(axes)) < len(axes):
        raise ValueError(_ACCEPTED)
    return side


def _given(operation: Operation) -> Mapping[str, Size]:
    return {name: size for name, size in operation.params.items() if name != "as"}


def _sides(operation: Operation) -> tuple[Side, Side]:
    notation: Notation = operation.params["as"]
    return notation.left, notation.right


def _check(params: dict[str, Any]) -> None:
    axes = set(chain(*params["as"].left))
    if unknown := [name for name in params if name != "as" and name not in axes]:
        raise ValueError(f"takes sizes of {', '.join(sorted(axes))}; {', '.join(unknown)} is none of them")


def _solve(
    terms: Mapping[tuple[str, ...], int], given: Mapping[str, Size], left: Side, before: Shape | None
) -> dict[str, int]:
    """Sizes of the named axes, as many as follow: given ones, `dimK/N` of the left side, and what a term leaves over.

    Args:
        terms: The terms of the side whose shape is known, with their sizes.
        before: The shape of the left side, where known; else its terms' products stand in as they become known.
    """
    sizes = {name: size for name, size in given.items() if isinstance(size, int)}
    count = -1
    while count < len(sizes):
        count = len(sizes)
        for name, size in given.items():
            if isinstance(size, Dim) and size.axis < len(left) and name not in sizes:
                whole = _term_size(left[size.axis], sizes) if before is None else before[size.axis]
                if whole is not None and whole % size.divisor == 0:
                    sizes[name] = whole // size.divisor
        for term, size in terms.items():
            unknown = [name for name in term if name not in sizes]
            known = math.prod(sizes.get(name, 1) for name in term)
            if len(unknown) == 1 and known and size % known == 0:
                sizes[unknown[0]] = size // known
    return sizes


def _term_size(term: tuple[str, ...], sizes: Mapping[str, int]) -> int | None:
    return math.prod(sizes[name] for name in term) if all(name in sizes for name in term) else None


def _bind(operation: Operation, inputs: Forms, _wish: Wish) -> Kernel:
    left, right = _sides(operation)
    shape = inputs[0].shape
    if len(shape) != len(left):
        stop(operation, f"names {len(left)} axes, the tensor's shape is {list(shape)}")
    sizes = _solve(dict(zip(left, shape, strict=True)), _given(operation), left, shape)
    for term, size in zip(left, shape, strict=True):
        if any(name not in sizes for name in term) or _term_size(term, sizes) != size:
            stop(operation, f"no sizes for {_spell(term)} that make {size}; the tensor's shape is {list(shape)}")
    axes = list(chain(*left))
    apart = tuple(sizes[name] for name in axes)
    order = tuple(axes.index(name) for name in chain(*right))
    after = tuple(math.prod(sizes[name] for name in term) for term in right)
    params = {"as": operation.params["as"], **{name: sizes[name] for name in _given(operation)}}
    return single(params, Form(after, inputs[0].dtype), lambda x: reshaped(x.reshape(apart).transpose(order), after))


def _invert(operation: Operation, inputs: Forms | int | None, outputs: Forms) -> Operation | str:
    left, right = _sides(operation)
    given, after = _given(operation), outputs[0].shape
    if len(after) != len(right):
        stop(operation, f"gives {len(right)} axes, the tensor's shape is {list(after)}")
    if isinstance(inputs, tuple):
        shape = inputs[0].shape
        sizes = _solve(dict(zip(left, shape, strict=False)), given, left, shape)
    else:
        sizes = _solve(dict(zip(right, after, strict=True)), given, left, None)
    if missing := [name for name in chain(*left) if name not in sizes]:
        return _unsolved(missing)
    return Operation("rearrange", {"as": Notation(right, left), **sizes}, operation.where)


def _no_way_back(operation: Operation, has_template: bool) -> str:
    left, right = _sides(operation)
    ones = {name: Dim(size.axis) if isinstance(size, Dim) else 1 for name, size in _given(operation).items()}
    symbols = _solve(dict.fromkeys(right, 1), ones, left, None)
    missing = [name for name in chain(*left) if name not in symbols]
    return _unsolved(missing) if missing and not has_template else ""


def _unsolved(missing: list[str]) -> str:
    return f"{NEEDS_TEMPLATE}, or the sizes of {', '.join(missing)}"


REARRANGE = (
    Spec(
        "rearrange",
        {"as": Field(read_notation, required=True)},
        _bind,
        _invert,
        'rearrange: {as: "i (g u) -> g (u i)", g: 4}',
        check=_check,
        free=True,
        no_way_back=_no_way_back,
        unproven=lambda _: "rearrange: axes of equal size in another order have the same shape",
    ),
)
