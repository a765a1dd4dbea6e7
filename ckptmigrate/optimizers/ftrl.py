"""Ftrl: the sum of squared gradients, and the linear term, in which the learning rate is baked.

`l <- l + g - (a'^-p - a^-p)/lr * w` in every dialect: at the same rate the state goes on exactly.
"""

from __future__ import annotations

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.record import (
    KERAS_RATE,
    KERAS_STEP,
    Block,
    Case,
    Change,
    Listed,
    Optimizer,
    Slot,
    Spelling,
    unchanged,
)
from ckptmigrate.optimizers.scalars import shown


def change_ftrl(case: Case) -> Change:
    """Slots as they are, for a target of the same learning rate."""
    rate = case.hyper.get("learning_rate")
    told = "" if rate is None else f" ({shown(rate)})"
    text = f"the learning rate is baked into Ftrl's slot linear: build the target with the same{told}."
    return unchanged(case)._replace(issues=(Issue("rate", "note", case.state.name, text),))


_LINEAR = Slot("linear")
_SLOTS = (Slot("accumulator", initial=0.1), _LINEAR)
_HYPER = (
    "learning_rate",
    "decay",
    "learning_rate_power",
    "l1_regularization_strength",
    "l2_regularization_strength",
    "beta",
)
_BLOCKS = (Block(("accumulator", "linear")),)
_LISTS = {"accumulator": "_accumulators", "linear": "_linears"}

FTRL = Optimizer(
    "ftrl",
    {
        "tf1": Spelling(
            "Ftrl", (Slot("accumulator", "accum", initial=0.1), _LINEAR), numbered=(("accumulator", "linear"),)
        ),
        "keras-legacy": Spelling(
            "Ftrl", _SLOTS, scalars={"iter": "iter"}, hyper={n: n for n in _HYPER}, listed=Listed(_BLOCKS)
        ),
        "keras2": Spelling("Ftrl", _SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS), _LISTS),
        "keras3": Spelling(
            "Ftrl", _SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS, ("iter", "learning_rate")), _LISTS
        ),
    },
    change_ftrl,
)
