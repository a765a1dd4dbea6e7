"""Lion: one momentum, which means the same in both Keras that have it."""

from __future__ import annotations

from ckptmigrate.optimizers.record import KERAS_RATE, KERAS_STEP, Block, Listed, Optimizer, Slot, Spelling

_BLOCKS = (Block(("m",)),)

LION = Optimizer(
    "lion",
    {
        "keras2": Spelling("Lion", (Slot("m"),), (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS), {"m": "momentums"}),
        "keras3": Spelling(
            "Lion",
            (Slot("m", "momentum"),),
            (),
            KERAS_STEP,
            KERAS_RATE,
            Listed(_BLOCKS, ("iter", "learning_rate")),
            {"m": "_momentums"},
        ),
    },
)
