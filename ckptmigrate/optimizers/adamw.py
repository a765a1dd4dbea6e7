"""AdamW: Adam whose weights also decay on their own.

Keras decays by `learning_rate * weight_decay` before each step, TF1's contrib optimizer by `weight_decay` alone: a
setting, in no file. The state is Adam's.
"""

from __future__ import annotations

from ckptmigrate.optimizers.adam import by_keras2, by_keras3, by_tf1, change_adam
from ckptmigrate.optimizers.record import Optimizer

ADAMW = Optimizer(
    "adamw",
    {"tf1": by_tf1("AdamW"), "keras2": by_keras2("AdamW"), "keras3": by_keras3("AdamW")},
    change_adam,
)
