"""Gradient descent, plain and with (Nesterov) momentum.

TF1 keeps the sum of gradients, `a <- mu*a + g; w -= lr*a`; Keras keeps the velocity, `v <- mu*v - lr*g; w += v`. Hence
`v = -lr*a`, with the rate of the last executed step; the slot has the same name in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmigrate.dtypes import DType
from ckptmigrate.errors import TargetError
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
    StepFactory,
    unchanged,
)
from ckptmigrate.optimizers.scalars import shown
from ckptmigrate.steps import Arrays, Shape, Step

MAX_RATE = 1e30  # a rate beyond, or below its inverse, leaves float32
_ITER = {"iter": "iter"}
_HYPER = {"learning_rate": "learning_rate", "decay": "decay", "momentum": "momentum"}


def last_rate(case: Case) -> float | None:
    """The learning rate of the last executed step; None where neither file nor flags tell.

    Keras up to 2.10 divides by `1 + decay * iterations`, counted before the step (optimizer_v2.py, `_decayed_lr`).
    """
    rate = case.hyper.get("learning_rate")
    if rate is None or "learning_rate" in case.given:
        return rate
    divisor = 1.0 + case.hyper.get("decay", 0.0) * max((case.state.step or 0) - 1, 0)
    return rate / divisor if divisor > 0 else None


def _times(factor: float, text: str) -> StepFactory:
    def steps(shape: Shape, dtype: DType) -> tuple[Step, ...]:
        if not (dtype.is_float or dtype.name.startswith("complex")):
            raise TargetError(f"a momentum slot of {dtype} can't be multiplied; expected a floating-point type")
        return (Step(text, (shape,), (dtype,), lambda a: _scaled(a, factor), lambda a: _scaled(a, 1.0 / factor)),)

    return steps


def _scaled(arrays: Arrays, factor: float) -> Arrays:
    """Products rounded once: small types are multiplied in float32, float32 in its own arithmetic."""
    return tuple(_product(values, factor) for values in arrays)


def _product(values: np.ndarray[Any, Any], factor: float) -> np.ndarray[Any, Any]:
    wide = values.astype(np.float32) if values.dtype.itemsize < 4 else values
    product: np.ndarray[Any, Any] = (wide * wide.dtype.type(factor)).astype(values.dtype, copy=False)
    return product


_UNREAD = "without momentum it is read by nothing"
_ALWAYS_SLOTS = ("keras1", "keras2")  # whose SGD has the slot without momentum, too


def change_sgd(case: Case) -> Change:
    """No slots; but those that some dialects have without momentum."""
    plain = unchanged(case)
    has_place = case.has_place("momentum")
    if has_place or (has_place is None and case.dialect in _ALWAYS_SLOTS):
        return plain._replace(kind="momentum", new_slots={"momentum": 0.0})
    return plain


def change_momentum(case: Case) -> Change:
    """Accumulator <-> velocity; nothing between Keras dialects."""
    to_tf1 = case.dialect == "tf1"
    plain = unchanged(case)
    has_place = case.has_place("momentum")
    momentum = case.hyper.get("momentum")
    if case.state.dialect in _ALWAYS_SLOTS and not has_place and not momentum:
        if momentum == 0 and (has_place is False or case.dialect not in _ALWAYS_SLOTS):
            return plain._replace(kind="sgd", dropped={"momentum": _UNREAD})
        if has_place is False:  # and nothing tells the momentum
            text = "the template's SGD has no momentum: the slots, which the source has without momentum too, go"
            note = Issue("guess", "warning", case.state.name, text, "--hyper momentum=0.9 keeps them")
            return plain._replace(kind="sgd", dropped={"momentum": _UNREAD}, issues=(note,))
    if to_tf1 == (case.state.dialect == "tf1") or "momentum" not in case.slots:
        return plain
    rate = last_rate(case)
    if rate is None or not 1 / MAX_RATE < rate < MAX_RATE:
        return Change(step=plain.step, issues=(_needs_rate(case, rate),))
    factor, text = (-1.0 / rate, f"a = -v / {shown(rate)}") if to_tf1 else (-rate, f"v = -{shown(rate)} * a")
    note = Issue(
        "rate",
        "note",
        case.state.name,
        f"{text}, with the learning rate of the last executed step; under a rate that changes, TF1 and Keras go on "
        "differently by design: TF1 applies the new rate to past gradients too.",
    )
    return Change(slot_steps={"momentum": _times(factor, text)}, step=plain.step, issues=(note,))


def _needs_rate(case: Case, rate: float | None) -> Issue:
    found = "the source stores no learning rate" if rate is None else f"the learning rate found is {rate:g}"
    return Issue(
        "needed",
        "error",
        case.state.name,
        f"momentum of dialect {case.state.dialect} into {case.dialect}: Keras' velocity is -learning_rate times TF1's "
        f"accumulator, and {found}; expected a positive number.",
        f"--hyper learning_rate=0.01 (the rate of the last step), --dialect {case.state.dialect} (keep the state as it "
        "is), or --optimizer drop",
    )


_MOMENTUM = Slot("momentum")
_APART = (Block(("momentum",), "momentum"),)
_ALWAYS = (Block(("momentum",)),)  # also where momentum is 0
_LISTS = {"momentum": "momentums"}

SGD = Optimizer(
    "sgd",
    {
        "tf1": Spelling("GradientDescent"),
        "keras-legacy": Spelling("SGD", scalars=_ITER, hyper=_HYPER, listed=Listed(())),
        "keras1": Spelling("SGD", scalars=_ITER, listed=Listed(())),
        "keras2": Spelling("SGD", scalars=KERAS_STEP, hyper=KERAS_RATE, listed=Listed(())),
        "keras3": Spelling("SGD", scalars=KERAS_STEP, hyper=KERAS_RATE, listed=Listed((), ("iter", "learning_rate"))),
    },
    change_sgd,
)

MOMENTUM = Optimizer(
    "momentum",
    {
        "tf1": Spelling("Momentum", (_MOMENTUM,), numbered=(("momentum",),)),
        "keras-legacy": Spelling("SGD", (_MOMENTUM,), scalars=_ITER, hyper=_HYPER, listed=Listed(_APART)),
        "keras1": Spelling("SGD", (_MOMENTUM,), scalars=_ITER, listed=Listed(_ALWAYS)),
        "keras2": Spelling(
            "SGD",
            (Slot("momentum", "m"),),
            scalars=KERAS_STEP,
            hyper=KERAS_RATE,
            listed=Listed(_ALWAYS),
            lists=_LISTS,
        ),
        "keras3": Spelling(
            "SGD",
            (_MOMENTUM,),
            scalars=KERAS_STEP,
            hyper=KERAS_RATE,
            listed=Listed(_APART, ("iter", "learning_rate")),
            lists=_LISTS,
        ),
    },
    change_momentum,
)
