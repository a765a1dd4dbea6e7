"""Every optimizer with the same settings in every dialect that has it; epsilon is equal, no learning rate a default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tf_keras

V1 = tf.compat.v1.train
OLD = tf_keras.optimizers.legacy
NEW = tf_keras.optimizers
V3 = keras.optimizers

Make = Callable[[], Any]


class Case(NamedTuple):
    """One optimizer.

    Attributes:
        kind: What a mapping calls it.
        known: Its settings, as --hyper takes them.
        make: Dialect -> a new one. A dialect that isn't listed has none.
        lone: Whether nothing but the step and settings is its state, so that dropped slots are no loss.
        unsaved: The dialect and form in which its framework itself can't save it.
    """

    kind: str
    known: Mapping[str, float]
    make: Mapping[str, Make]
    lone: bool = False
    unsaved: tuple[str, str] = ("", "")


def everywhere(
    old: str, rate: float, tf1: Make | None = None, *, new: str = "", legacy: Any = None, **settings: Any
) -> Case:
    """An optimizer that goes by one name and takes the same settings in all of Keras.

    Args:
        old: Its class in Keras; none in keras-legacy where `legacy` is False.
        rate: Its learning rate.
        tf1: TF1's, where it has one.
        new: Its class in the new dialects, where that is another.
        legacy: Settings that only keras-legacy takes, or False.
        settings: Of all of them.
    """
    name = new or old
    make: dict[str, Make] = {} if tf1 is None else {"tf1": tf1}
    if legacy is not False:
        make["keras-legacy"] = lambda: getattr(OLD, old)(rate, **{**settings, **(legacy or {})})
    if hasattr(NEW, name):
        make["keras2"] = lambda: getattr(NEW, name)(rate, **settings)
    make["keras3"] = lambda: getattr(V3, name)(rate, **settings)
    numbers = {k: float(v) for k, v in settings.items() if isinstance(v, float)}
    kind = "momentum" if "momentum" in settings and old == "SGD" else old.lower()
    return Case(kind, {"beta_1": 0.9, "beta_2": 0.999, "learning_rate": rate, **numbers}, make)


E = {"epsilon": 1e-7}
FTRL = {"l1_regularization_strength": 0.001, "l2_regularization_strength": 0.01}


def rmsprop(momentum: float, centered: bool, epsilon: float) -> Case:
    """RMSprop with these settings."""
    settings = {"momentum": momentum, "centered": centered, "epsilon": epsilon}
    return everywhere("RMSprop", 0.02, lambda: V1.RMSPropOptimizer(0.02, **settings), **settings)


CASES: dict[str, Case] = {
    "SGD": everywhere("SGD", 0.1, lambda: V1.GradientDescentOptimizer(0.1))._replace(lone=True),
    "momentum": everywhere("SGD", 0.05, lambda: V1.MomentumOptimizer(0.05, 0.8), momentum=0.8),
    "Nesterov momentum": everywhere(
        "SGD", 0.05, lambda: V1.MomentumOptimizer(0.05, 0.8, use_nesterov=True), momentum=0.8, nesterov=True
    ),
    "Adam": everywhere("Adam", 0.03, lambda: V1.AdamOptimizer(0.03, **E), **E),
    "Adam, other betas": everywhere(
        "Adam", 0.03, lambda: V1.AdamOptimizer(0.03, 0.5, 0.99, **E), beta_1=0.5, beta_2=0.99, **E
    ),
    "AMSGrad": everywhere("Adam", 0.03, amsgrad=True, **E),
    "AdamW": everywhere("AdamW", 0.03, legacy=False, weight_decay=0.02, **E),
    "RMSprop": rmsprop(0.0, False, 1e-7),
    "RMSprop, epsilon 1e-3": rmsprop(0.0, False, 1e-3),
    "RMSprop, momentum": rmsprop(0.8, False, 1e-3),
    "RMSprop, centered": rmsprop(0.0, True, 1e-3),
    "RMSprop, centered, momentum": rmsprop(0.8, True, 1e-3),
    "Adagrad": everywhere("Adagrad", 0.1, lambda: V1.AdagradOptimizer(0.1), **E),
    "Adadelta": everywhere("Adadelta", 2.0, lambda: V1.AdadeltaOptimizer(2.0, **E), **E),
    "Adamax": everywhere("Adamax", 0.05, **E),
    "Nadam": everywhere("Nadam", 0.03, **E),
    "Ftrl": everywhere("Ftrl", 0.1, lambda: V1.FtrlOptimizer(0.1, **FTRL), **FTRL),
    "Lion": everywhere("Lion", 0.01, legacy=False),
    "LAMB": everywhere("Lamb", 0.03, legacy=False, **E),
    # Keras 3 gives two of its slots one name
    "Adafactor": everywhere("Adafactor", 0.05, legacy=False)._replace(unsaved=("keras3", ".h5")),
    "Muon": everywhere("Muon", 0.02, legacy=False),
}
