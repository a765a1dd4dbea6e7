"""Averages of variables: `ExponentialMovingAverage` of TF1, moving-average wrappers in object-based files.

Averages of variables are never debiased (tensorflow/python/training/moving_averages.py): the slot is the average.
"""

from __future__ import annotations

from ckptmigrate.optimizers.record import Optimizer, Slot, Spelling

EMA = Optimizer(
    "ema",
    {
        "tf1": Spelling("ExponentialMovingAverage", (Slot("average"),), numbered=(("average",),)),
        "keras-legacy": Spelling("MovingAverage", (Slot("average"),)),
        "keras2": Spelling("Average", (Slot("average"),)),  # use_ema: of any optimizer
        "keras3": Spelling("Average", (Slot("average"),)),
    },
)
