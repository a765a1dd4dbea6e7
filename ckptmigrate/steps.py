"""Step: one operation of a plan, resolved against shapes, ready to run on arrays and, where it can, to be undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmigrate.dtypes import DType

Arrays = Sequence[np.ndarray[Any, Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on the tensors of a row's group.

    Attributes:
        text: As reports show it: `transpose [3, 2, 0, 1]`.
        shapes, dtypes: Of the outputs, one each per output.
        apply: Inputs to outputs. Never writes into its inputs; may return views of them.
        undo: Outputs back to inputs; None where there is no way back.
        is_exact: True when `undo(apply(x))` gives the very bits of x.
    """

    text: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[DType, ...]
    apply: Callable[[Arrays], Arrays]
    undo: Callable[[Arrays], Arrays] | None = None
    is_exact: bool = False
