"""The optimizers we know, and look-ups in that table."""

from __future__ import annotations

from ckptmigrate.optimizers.adam import ADAM
from ckptmigrate.optimizers.ema import EMA
from ckptmigrate.optimizers.record import Optimizer, Spelling
from ckptmigrate.optimizers.rmsprop import RMSPROP
from ckptmigrate.optimizers.sgd import MOMENTUM, SGD

OPTIMIZERS: tuple[Optimizer, ...] = (SGD, MOMENTUM, ADAM, RMSPROP, EMA)

UNKNOWN = "unknown"

# Titles of optimizers that exist and have no record here: their state is held, under the names the file has.
FOREIGN = frozenset(
    (
        *(
            "Adagrad",
            "Adadelta",
            "AdagradDA",
            "ProximalAdagrad",
            "Ftrl",
            "AdaMax",
            "Adamax",
            "Nadam",
            "AdamW",
            "MomentumW",
        ),
        *("LARSOptimizer", "AddSignOptimizer", "PowerSignOptimizer", "Shampoo", "Lamb", "LAMB", "Adafactor"),
    )
)

BY_KIND = {o.kind: o for o in OPTIMIZERS}

# Loss scaling: one graph-wide pair, beside whatever optimizer it wraps.
LOSS_SCALE = ("current_loss_scale", "good_steps")


def spelling(kind: str, dialect: str) -> Spelling | None:
    """How `dialect` spells that optimizer; None where it has none, or we don't know it."""
    optimizer = BY_KIND.get(kind)
    return optimizer.dialects.get(dialect) if optimizer else None


def initial_value(kind: str, dialect: str, slot: str) -> float:
    """What `dialect` fills a fresh slot with; 0 for what isn't known.

    >>> initial_value("rmsprop", "tf1", "rms"), initial_value("rmsprop", "keras-legacy", "rms")
    (1.0, 0.0)
    """
    spelled = spelling(kind, dialect)
    found = spelled.slot(slot) if spelled else None
    return found.initial if found else 0.0
