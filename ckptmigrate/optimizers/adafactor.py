"""Adafactor: the second moment as a row and a column, and the moment itself.

The row `r` lacks the last axis of its variable, the column `c` the last but one; vectors have neither, and int32
scalars in their place: in Keras 3's list, in tf_keras beside it (optimizers/adafactor.py of both).
"""

from __future__ import annotations

from ckptmigrate.optimizers.record import KERAS_RATE, KERAS_STEP, Block, Listed, Optimizer, Slot, Spelling
from ckptmigrate.steps import Shape


def _row(_: str, shape: Shape) -> Shape | None:
    return shape[:-1] if len(shape) > 1 else None


def _column(_: str, shape: Shape) -> Shape | None:
    return (*shape[:-2], shape[-1]) if len(shape) > 1 else None


_ROW, _COLUMN = Slot("r", shape=_row), Slot("c", shape=_column)
_BLOCKS = (Block(("r", "c", "v")),)
_LISTS = {"r": "_r", "c": "_c", "v": "_v"}

ADAFACTOR = Optimizer(
    "adafactor",
    {
        "keras2": Spelling(
            "Adafactor", (_ROW, _COLUMN, Slot("v")), (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS), _LISTS
        ),
        "keras3": Spelling(
            "Adafactor",
            (_ROW, _COLUMN, Slot("v", "velocity")),
            (),
            KERAS_STEP,
            KERAS_RATE,
            Listed(_BLOCKS, ("iter", "learning_rate"), is_padded=True),
            _LISTS,
        ),
    },
)
