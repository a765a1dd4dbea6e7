"""Adamax: the first moment and the infinity norm u, which mean the same everywhere; slot `v` in TF1 and legacy Keras.

TF1's (contrib) counts steps by `beta1_power` alone, all others by a number.
"""

from __future__ import annotations

from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.adam import POWERS, read_step
from ckptmigrate.optimizers.epsilon import epsilon_notes
from ckptmigrate.optimizers.powers import power_after, steps_to_underflow
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
from ckptmigrate.table import Tensor

POWER = POWERS[0]


def change_adamax(case: Case) -> Change:
    """Beta power <-> step."""
    if case.dialect == "tf1":
        return _to_tf1(case)
    if case.state.dialect == "tf1":
        return _from_tf1(case)
    return unchanged(case)


def _to_tf1(case: Case) -> Change:
    step, beta, issues = case.state.step, case.hyper.get("beta_1"), epsilon_notes(case)
    if step is None or beta is None:
        lacking = "no step" if beta is not None else "no beta_1" if step is not None else "neither step nor beta_1"
        text = f"TF1 counts AdaMax's steps by a power of beta_1, and the source stores {lacking}"
        return Change(step=step, issues=(*issues, _needed(case, text)))
    text = f"beta_1^(iter + 1) = {shown(beta)}^{step + 1}, multiplied in float32 as TF1 does"
    power = Tensor.of(power_after(beta, step), FLOAT32)
    return Change(step=step, scalars={POWER: power}, texts={POWER: text}, issues=issues)


def _from_tf1(case: Case) -> Change:
    reading, issues = read_step(case.state.scalars, case.hyper), epsilon_notes(case)
    found = {} if reading.beta_1 is None else {"beta_1": reading.beta_1}
    step, text = reading.step, f"{reading.step} completed steps, by the beta power"
    if "iter" in case.given or (step is None and POWER not in case.state.scalars):
        step, text = unchanged(case).step, f"{unchanged(case).step} completed steps"
    elif step is None and reading.is_settled:
        step = max(case.step or 0, steps_to_underflow(case.hyper.get("beta_1", 0.9)))
        text = f"{step}, as the beta power has underflowed: any such large number does"
    if step is None:
        text = "Keras counts Adamax's steps, and the source's beta1_power is missing or no power of a known beta_1"
        return Change(hyper=found, issues=(*issues, _needed(case, text)))
    return Change(step=step, hyper=found, texts={"iter": text}, issues=issues)


def _needed(case: Case, text: str) -> Issue:
    hint = (
        f"--hyper beta_1=0.9, --hyper iter=STEPS, --dialect {case.state.dialect} (keep the state as it is), or "
        "--optimizer drop"
    )
    return Issue("needed", "error", case.state.name, text, hint)


_SLOTS = (Slot("m"), Slot("v"))
_APART = (Block(("m",)), Block(("v",)))
_TOGETHER = (Block(("m", "v")),)
_LISTS = {"m": "_m", "v": "_u"}

ADAMAX = Optimizer(
    "adamax",
    {
        "tf1": Spelling("AdaMax", _SLOTS, numbered=(("m", "v"),), scalars={POWER: POWER}),
        "keras-legacy": Spelling(
            "Adamax",
            _SLOTS,
            scalars={"iter": "iter"},
            hyper={n: n for n in ("learning_rate", "decay", "beta_1", "beta_2")},
            listed=Listed(_APART),
        ),
        "keras1": Spelling("Adamax", _SLOTS, scalars={"iter": "iter"}, listed=Listed(_APART)),
        "keras2": Spelling(
            "Adamax", (Slot("m"), Slot("v", "u")), (), KERAS_STEP, KERAS_RATE, Listed(_TOGETHER), _LISTS
        ),
        "keras3": Spelling(
            "Adamax",
            (Slot("m", "momentum"), Slot("v", "norm")),
            (),
            KERAS_STEP,
            KERAS_RATE,
            Listed(_TOGETHER, ("iter", "learning_rate")),
            _LISTS,
        ),
    },
    change_adamax,
)
