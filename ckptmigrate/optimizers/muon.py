"""Muon: momentum made orthogonal for matrices, AdamW for all else. Only Keras 3 has it.

Variables of AdamW have a velocity: those that are no matrix, and embeddings (keras/src/optimizers/muon.py,
`_should_use_adamw`); `exclude_layers` adds others, a setting that weights files don't hold.
"""

from __future__ import annotations

from ckptmigrate.optimizers.record import KERAS_RATE, KERAS_STEP, Block, Listed, Optimizer, Slot, Spelling
from ckptmigrate.steps import Shape


def _of_adamw(name: str, shape: Shape) -> Shape | None:
    return shape if len(shape) != 2 or "embedding" in name.lower() else None


MUON = Optimizer(
    "muon",
    {
        "keras3": Spelling(
            "Muon",
            (Slot("m", "momentum"), Slot("v", "velocity", is_optional=True, shape=_of_adamw)),
            (),
            KERAS_STEP,
            KERAS_RATE,
            Listed((Block(("m", "v")),), ("iter", "learning_rate")),
            {"m": "momentums", "v": "adam_velocities"},
        ),
    },
)
