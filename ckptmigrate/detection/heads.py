"""Another number of classes: which variables depend on it, which rows of them go on, and what new ones start with.

Class scores have the background first and one row for each class, anchor after anchor; per-class boxes and masks have
no background. Facts: the same on both sides, bit for bit (object_detection/predictors/heads).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ckptmigrate.chosen import Chosen
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Drop, Fill, Move
from ckptmigrate.mapping.operations import Operation
from ckptmigrate.mapping.operations.select import NEW
from ckptmigrate.table import Checkpoint, Tensor, Variable

_KERNELS = ("kernel", "pointwise_kernel", "bias")


class Head(NamedTuple):
    """A head with rows for classes.

    Attributes:
        ending: What its layer's name ends in, in the TF2 model.
        width: Numbers in a row.
        has_background: Whether the first row is the background's.
    """

    ending: str
    width: int = 1
    has_background: bool = False


_SCORES = (Head("ClassHead/ClassPredictor", 1, True), Head("class_head/ClassPredictor_dense", 1, True))
_PER_CLASS = (Head("box_head/BoxEncodingPredictor_dense", 4), Head("mask_head/MaskPredictor_last_conv2d"))


@dataclass(frozen=True, slots=True)
class NewClasses:
    """A change of classes.

    Attributes:
        old: Classes of the old model.
        count: Classes of the new model.
        rows: For each of them the old one, from 0, or -1; None where none goes on.
    """

    old: int
    count: int
    rows: tuple[int, ...] | None = None

    @property
    def is_same(self) -> bool:
        """Whether every class stays where it is."""
        return self.count == self.old and self.rows in (None, tuple(range(self.old)))

    def revise(self, source: Checkpoint, chosen: Chosen) -> Chosen:
        """The choice with heads that keep the rows that go on, or start anew."""
        template = chosen.template
        assert template is not None
        moves, drops, fills = [], [], []
        issues: list[Issue] = []
        for move in chosen.assignment.moves:
            head = _head_of(template.variables[move.targets[0]]) if len(move.targets) == 1 else None
            old = source.variables[move.sources[0]].tensor.shape
            new = template.variables[move.targets[0]].tensor.shape
            if head is None or self.is_same or not self._has_rows(head, old):
                moves.append(move)
            elif self.rows is None:
                drops.append(Drop(move.sources[0], f"the head of {self.count} other classes starts anew"))
                fills.append(Fill(move.targets[0], "template", where="--num-classes"))
                issues.append(_anew(move))
            else:
                moves.append(replace(move, operations=(*move.operations, _taken(head, new, self, template, move))))
                issues.append(_kept(move, self.rows))
        assignment = replace(
            chosen.assignment,
            moves=tuple(moves),
            drops=(*chosen.assignment.drops, *drops),
            fills=(*chosen.assignment.fills, *fills),
        )
        return replace(chosen, assignment=assignment, issues=(*chosen.issues, *issues))

    def _has_rows(self, head: Head, shape: tuple[int, ...]) -> bool:
        """Whether a head of that shape has a row for each class: boxes and masks may be shared by all of them."""
        return bool(shape) and shape[-1] % ((self.old + head.has_background) * head.width) == 0


def with_initial_values(template: Checkpoint, config: Pipeline) -> Checkpoint:
    """A derived template whose heads hold what a new model's begin with: kernels 0, scores the configured bias."""
    at = config.predictor
    bias = config.number(0.0, *at, "class_prediction_bias_init")
    made = {v.name: replace(v, tensor=_initial(v, head, bias)) for v, head in _heads(template)}
    return replace(template, variables={**template.variables, **made})


def _initial(variable: Variable, head: Head, bias: float) -> Tensor:
    number = bias if head.has_background and variable.name.endswith("/bias") else 0.0
    return Tensor.of(np.full(variable.tensor.shape, number, np.float32), FLOAT32)


def _heads(template: Checkpoint) -> Iterator[tuple[Variable, Head]]:
    for variable in template.variables.values():
        head = _head_of(variable)
        if head is not None:
            yield variable, head


def _head_of(variable: Variable) -> Head | None:
    """The head that a variable of the TF2 model belongs to; the region proposals' has no classes."""
    full = variable.aliases.get("full_name", ("",))[0]
    layer, _, leaf = full.rpartition("/")
    if leaf not in _KERNELS or layer.startswith("FirstStage"):
        return None
    plain = "/".join(part.rstrip("0123456789").removesuffix("_") for part in layer.split("/"))
    return next((h for h in (*_SCORES, *_PER_CLASS) if plain.endswith(h.ending)), None)


def _taken(head: Head, new: tuple[int, ...], classes: NewClasses, template: Checkpoint, move: Move) -> Operation:
    assert classes.rows is not None
    rows = tuple(row + 1 if row != NEW else NEW for row in classes.rows) if head.has_background else classes.rows
    rows = (0, *rows) if head.has_background else rows
    blocks = new[-1] // (len(rows) * head.width)
    bias = template.variables[move.targets[0]].tensor.read().reshape(-1)[0]
    params: Mapping[str, object] = {
        "axis": -1,
        "blocks": blocks,
        "width": head.width,
        "rows": rows,
        "with": float(bias),
    }
    return Operation("take", params, "--classes")


def _anew(move: Move) -> Issue:
    text = "starts anew: its classes are others; --classes keeps the rows of those that go on"
    return Issue("classes", "warning", move.targets[0], text)


def _kept(move: Move, rows: tuple[int, ...]) -> Issue:
    new = sum(row == NEW for row in rows)
    text = f"rows of {len(rows) - new} classes go on, {new} start anew"
    return Issue("classes", "note", move.targets[0], text)
