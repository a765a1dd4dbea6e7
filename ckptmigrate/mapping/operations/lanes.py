"""Lane: an operation on those tensors of a group that it takes together; several lanes side by side make a step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.mapping.operations.operation import Forms, Kernel, Operation, Wish, render
from ckptmigrate.mapping.operations.table import spec_of
from ckptmigrate.steps import Arrays, Step


class Lane(NamedTuple):
    """One operation bound to its inputs, with its own way back where there is one."""

    operation: Operation
    inputs: Forms
    kernel: Kernel
    back: Kernel | None

    @property
    def text(self) -> str:
        """The operation as a mapping would write it, with all sizes as numbers."""
        name, params = self.operation.name, self.kernel.params
        bare = spec_of(self.operation).bare
        if bare != "axis" and list(params) == [bare]:
            return f"{name} {render(params[bare])}"
        return f"{name} {render(params)}" if params else name

    @property
    def is_exact(self) -> bool:
        """True when its way back gives the very bits."""
        spec = spec_of(self.operation)
        return self.back is not None and all(spec.is_exact(self.operation, form) for form in self.inputs)


def bind(operation: Operation, inputs: Forms, wish: Wish) -> Lane:
    """The operation on these inputs. Raises MappingError where they don't suit it."""
    spec = spec_of(operation)
    kernel = spec.bind(operation, inputs, wish)
    back = spec.invert(operation, inputs, kernel.outputs)
    if isinstance(back, str):
        return Lane(operation, inputs, kernel, None)
    undo = spec_of(back).bind(back, kernel.outputs, Wish(len(inputs), tuple(form.shape for form in inputs)))
    return Lane(operation, inputs, kernel, undo)


def make_step(lanes: Sequence[Lane]) -> Step:
    """The lanes side by side as one step; the inputs of the first come first."""
    outputs = list(chain.from_iterable(lane.kernel.outputs for lane in lanes))
    kernels = [lane.kernel for lane in lanes]
    backs = [lane.back for lane in lanes if lane.back is not None]
    takes = [len(lane.inputs) for lane in lanes]
    gives = [len(kernel.outputs) for kernel in kernels]
    return Step(
        " | ".join(dict.fromkeys(lane.text for lane in lanes)),
        tuple(form.shape for form in outputs),
        tuple(form.dtype for form in outputs),
        lambda arrays: _run(kernels, takes, arrays),
        (lambda arrays: _run(backs, gives, arrays)) if len(backs) == len(lanes) else None,
        all(lane.is_exact for lane in lanes),
    )


def _run(kernels: Sequence[Kernel], takes: Sequence[int], arrays: Arrays) -> Arrays:
    results: list[np.ndarray[Any, Any]] = []
    start = 0
    for kernel, take in zip(kernels, takes, strict=True):
        results += kernel.apply(arrays[start : start + take])
        start += take
    return results
