"""Group: source tensors that go through the same steps together, and Planned: one tensor of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ckptmigrate.dtypes import DType
from ckptmigrate.steps import Arrays, Shape, Step
from ckptmigrate.table import Role, Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """Sources and the steps they take together; the outputs are the last step's.

    Attributes:
        labels: What the source calls each of them.
        sources: Their tensors.
        steps: In order; none for a plain rename.
    """

    labels: tuple[str, ...]
    sources: tuple[Tensor, ...]
    steps: tuple[Step, ...] = ()

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the outputs."""
        return self.steps[-1].shapes if self.steps else tuple(t.shape for t in self.sources)

    @property
    def dtypes(self) -> tuple[DType, ...]:
        """Element types of the outputs."""
        return self.steps[-1].dtypes if self.steps else tuple(t.dtype for t in self.sources)

    @property
    def is_exact(self) -> bool:
        """True when every step can be undone bit for bit."""
        return all(step.is_exact and step.undo is not None for step in self.steps)

    def run(self) -> Arrays:
        """Reads the sources and computes the outputs."""
        arrays: Arrays = [tensor.read() for tensor in self.sources]
        for step in self.steps:
            arrays = step.apply(arrays)
        return arrays

    def undo(self, outputs: Arrays) -> Arrays:
        """The sources again, from the outputs; only where `is_exact`."""
        for step in reversed(self.steps):
            assert step.undo is not None, step.text
            outputs = step.undo(outputs)
        return outputs

    def tensors(self) -> tuple[Tensor, ...]:
        """The outputs as lazy tensors; a plain rename is the source tensor itself, extents and all."""
        if not self.steps:
            return self.sources
        cache = _LastRun(self)
        return tuple(
            Tensor(shape, dtype, _reader(cache, index))
            for index, (shape, dtype) in enumerate(zip(self.shapes, self.dtypes, strict=True))
        )


class _LastRun:
    """The outputs of a group of several, kept until each was read once, so that a split doesn't read its input anew."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.waiting: dict[int, np.ndarray[Any, Any]] = {}

    def take(self, index: int) -> np.ndarray[Any, Any]:
        if index not in self.waiting:
            self.waiting = dict(enumerate(self.group.run()))
        return self.waiting.pop(index)


def _reader(cache: _LastRun, index: int) -> Any:
    return lambda: cache.take(index)


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor of the result: where it will stand, and what it is made from.

    Attributes:
        name, slot, optimizer: Its place in the target (see table.Entry).
        tensor: Its lazy value.
        origin: moved from the source; filled with a stated value; made from scalars (steps counted, powers computed).
        group, index: What a moved tensor is an output of.
        detail: Why and how, for the report.
        where: The rule, as file:line.
        key: The stored key it keeps; "" when the writer names it.
        role: Of a filled variable.
        replaces: The source variable in whose place a filled one stands; "" for none.
    """

    name: str
    slot: str
    optimizer: str
    tensor: Tensor
    origin: Literal["moved", "filled", "made"] = "moved"
    group: Group | None = field(default=None, compare=False)
    index: int = 0
    detail: str = ""
    where: str = ""
    key: str = ""
    role: Role = "weight"
    replaces: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """(optimizer, name, slot): unique in a plan."""
        return self.optimizer, self.name, self.slot

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps as text."""
        return tuple(step.text for step in self.group.steps) if self.group else ()

    @property
    def source(self) -> str:
        """What it was made from, as the source calls it."""
        return ", ".join(self.group.labels) if self.group else ""


def constant(shape: Shape, dtype: DType, number: float) -> Tensor:
    """A lazy tensor of one repeated value."""
    return Tensor(shape, dtype, lambda: np.full(shape, number).astype(dtype.numpy))


def lift(steps: Sequence[Sequence[Step]]) -> tuple[Step, ...]:
    """Joins the step lists of single tensors, all of one length, into steps on all of these tensors at once."""
    return tuple(_beside(together) for together in zip(*steps, strict=True))


def _beside(together: tuple[Step, ...]) -> Step:
    if len(together) == 1:
        return together[0]
    undos = [step.undo for step in together]

    def apply(arrays: Arrays) -> Arrays:
        return [step.apply([array])[0] for step, array in zip(together, arrays, strict=True)]

    def undo(arrays: Arrays) -> Arrays:
        return [back([array])[0] for back, array in zip(undos, arrays, strict=True) if back is not None]

    return Step(
        together[0].text,
        tuple(step.shapes[0] for step in together),
        tuple(step.dtypes[0] for step in together),
        apply,
        undo if all(undos) else None,
        all(step.is_exact for step in together),
    )
