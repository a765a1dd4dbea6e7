"""Nadam.

`mu_T = beta_1 * (1 - 0.5 * 0.96^(c*T))`: a momentum that warms up, and the product of all mu so far, a scalar. c is the
`schedule_decay` of multi-backend and legacy Keras, 0.004 by default (the latter stores it as `decay`), and 1 in the two
Keras of today. The moments mean the same everywhere; tf_keras writes no product into `.h5` and `.keras` files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.powers import MAX_PRODUCTS, SMALLEST
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
from ckptmigrate.optimizers.scalars import scalar_value, shown
from ckptmigrate.table import Stored, Tensor

PRODUCT = "momentum_cache"
_WARM_UP = 0.96
_SETTABLE = 0.004  # the default where the schedule's decay is a setting
_FIXED = {"keras2": 1.0, "keras3": 1.0}
_BETA_1 = 0.9


def product_after(beta_1: float, steps: int, decay: float) -> np.ndarray[Any, Any]:
    """The product of the momenta of that many steps: a float32 scalar.

    >>> round(float(product_after(0.9, 1, 1.0)), 3)
    0.468
    """
    counted = np.arange(1, min(steps, MAX_PRODUCTS) + 1)
    momenta = np.float32(beta_1) * (1 - 0.5 * np.power(_WARM_UP, decay * counted)).astype(np.float32)
    product = np.multiply.reduce(momenta)
    return np.array(product if product >= SMALLEST else 0, np.float32)


def schedule_decay(dialect: str, hyper: Mapping[str, float]) -> float:
    """The c of a dialect: fixed, or a setting."""
    return _FIXED.get(dialect, hyper.get("decay", hyper.get("schedule_decay", _SETTABLE)))


def change_nadam(case: Case) -> Change:
    """Moments as they are; the product as it is, or computed where the file lost it or the schedule differs."""
    plain = unchanged(case)
    source, target = (schedule_decay(dialect, case.hyper) for dialect in (case.state.dialect, case.dialect))
    is_alike = abs(source - target) < 1e-6 or plain.step == 0
    issues = [] if is_alike else [_not_portable(case, source, target)]
    plain = plain._replace(hyper={"decay": target} if case.dialect == "keras-legacy" else {})
    stored = case.state.scalars.get(PRODUCT)
    texts = {}
    if stored is not None and is_alike and plain.step != 0:
        product = stored.tensor
    elif plain.step is None:
        return plain._replace(issues=(*issues, _needed(case)))
    else:
        beta_1 = case.hyper.get("beta_1", _BETA_1)
        if "beta_1" not in case.hyper and plain.step:
            issues.append(_guessed(case))
        product = Tensor.of(product_after(beta_1, plain.step, target), FLOAT32)
        settings = f"by beta_1={shown(beta_1)} and a schedule decay of {shown(target)}"
        texts[PRODUCT] = f"the product of {plain.step} momenta, {settings}"
    if case.dialect == "keras2" and plain.step:
        issues.append(by_hand(case.state.name, plain.step, scalar_value(Stored("", product))))
    return plain._replace(scalars={PRODUCT: product}, texts=texts, issues=tuple(issues))


def regain_product(case: Case) -> Change:
    """The product of an object-based file, for state from tf_keras' `.h5` and `.keras` files."""
    if case.state.dialect != "keras2" or PRODUCT in case.state.scalars:
        return Change()
    return change_nadam(case)


def _not_portable(case: Case, source: float, target: float) -> Issue:
    text = (
        f"Nadam is not portable from {case.state.dialect} to {case.dialect}: its momentum warms up by "
        f"0.96^({shown(source)}*T) there, by 0.96^({shown(target)}*T) here, so that updates would differ."
    )
    hint = (
        "--optimizer fresh, or drop; --hyper decay=1 for a legacy Nadam built with schedule_decay=1.0, which has the "
        "new schedule; --allow-loss takes the moments along, with the product that the new schedule has by now"
    )
    return Issue("slot", "loss", case.state.name, text, hint)


def by_hand(name: str, step: int, product: float | None) -> Issue:
    """What has to be set in tf_keras after loading, for what its files lack.

    Args:
        name: The optimizer.
        step: Its completed steps.
        product: The product of as many momenta.
    """
    text = (
        "tf_keras' Nadam counts the factors of its product in an attribute that no file holds, and `.h5` and `.keras` "
        f"files lack the product, too: after loading, set optimizer._u_product_counter = {step + 1}, or the next steps "
        f"multiply it too often, and where it is missing optimizer._u_product.assign({product})."
    )
    return Issue("approximate", "warning", name, text)


def _guessed(case: Case) -> Issue:
    text = f"the source stores neither Nadam's product nor beta_1: computed with {_BETA_1}"
    return Issue("guess", "warning", case.state.name, text, "--hyper beta_1=0.9")


def _needed(case: Case) -> Issue:
    text = "the source stores neither Nadam's product nor the step that it could be computed from"
    hint = f"--hyper iter=STEPS, --dialect {case.state.dialect} (keep the state as it is), or --optimizer drop"
    return Issue("needed", "error", case.state.name, text, hint)


_SLOTS = (Slot("m"), Slot("v"))
_APART = (Block(("m",)), Block(("v",)))
_TOGETHER = (Block(("m", "v")),)
_LISTS = {"m": "_momentums", "v": "_velocities"}
_KERAS_SCALARS = {**KERAS_STEP, PRODUCT: "_u_product"}

NADAM = Optimizer(
    "nadam",
    {
        "keras-legacy": Spelling(
            "Nadam",
            _SLOTS,
            scalars={"iter": "iter", PRODUCT: PRODUCT},
            hyper={n: n for n in ("learning_rate", "decay", "beta_1", "beta_2")},
            listed=Listed(_APART, ("iter", PRODUCT)),
        ),
        "keras1": Spelling(
            "Nadam",
            _SLOTS,
            scalars={"iter": "iter", PRODUCT: "m_schedule"},
            listed=Listed(_APART, ("iter", PRODUCT)),
        ),
        "keras2": Spelling("Nadam", _SLOTS, (), _KERAS_SCALARS, KERAS_RATE, Listed(_TOGETHER), _LISTS),
        "keras3": Spelling(
            "Nadam",
            (Slot("m", "momentum"), Slot("v", "velocity")),
            (),
            _KERAS_SCALARS,
            KERAS_RATE,
            Listed(_TOGETHER, ("iter", "learning_rate"), (PRODUCT,)),
            _LISTS,
        ),
    },
    change_nadam,
    {PRODUCT: 1.0},
    regain_product,
)
