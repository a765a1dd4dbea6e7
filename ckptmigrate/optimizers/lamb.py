"""Lamb: Adam's moments, with a rate of its own for every layer. Only Keras 3 has it."""

from __future__ import annotations

from ckptmigrate.optimizers.record import KERAS_RATE, KERAS_STEP, Block, Listed, Optimizer, Slot, Spelling

LAMB = Optimizer(
    "lamb",
    {
        "keras3": Spelling(
            "Lamb",
            (Slot("m", "momentum"), Slot("v", "velocity")),
            (),
            KERAS_STEP,
            KERAS_RATE,
            Listed((Block(("m", "v")),), ("iter", "learning_rate")),
            {"m": "_momentums", "v": "_velocities"},
        ),
    },
)
