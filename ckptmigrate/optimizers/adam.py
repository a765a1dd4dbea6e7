"""Adam and AMSGrad.

The moments mean the same everywhere. TF1 counts steps by `beta1_power` and `beta2_power`, all others by a number; vhat
(AMSGrad) is the maximum of the uncorrected v in legacy Keras, and TF1 has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.powers import Reading, power_after, read_powers, steps_to_underflow
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
)
from ckptmigrate.optimizers.scalars import scalar_value, shown
from ckptmigrate.table import Stored, Tensor

POWERS = ("beta1_power", "beta2_power")
_EPSILON = (
    "epsilon is in no checkpoint, and its default differs (TF1 1e-8, Keras 1e-7): set it where you build the target."
)


def read_step(scalars: Mapping[str, Stored], hyper: Mapping[str, float]) -> Reading:
    """What the stored powers tell of steps and betas; nothing where they are missing, or several pairs disagree.

    AdaMax has the first power alone.
    """
    pairs = {_pair(scalars, suffix) for suffix in _suffixes(scalars)}
    pair = pairs.pop() if len(pairs) == 1 else (None, None)
    if pair[0] is None:
        return Reading()
    return read_powers(pair[0], pair[1], hyper.get("beta_1"), hyper.get("beta_2"))


def started(scalars: Mapping[str, Stored], hyper: Mapping[str, float]) -> dict[str, Stored]:
    """The scalars as they are before the first step, under their keys: no steps, first powers of the betas.

    Powers whose beta neither `hyper` nor their own bits tell stay as they are.
    """
    fresh: dict[str, Stored] = {}
    if "iter" in scalars:
        fresh["iter"] = Stored(scalars["iter"].key, Tensor.of(np.zeros((), np.int64), INT64))
    for suffix in _suffixes(scalars):
        pair = _pair(scalars, suffix)
        if pair[0] is None:
            continue
        reading = read_powers(pair[0], pair[1], hyper.get("beta_1"), hyper.get("beta_2"))
        for power, beta in zip(POWERS, (reading.beta_1, reading.beta_2), strict=True):
            if beta is not None and power + suffix in scalars:
                tensor = Tensor.of(power_after(beta, 0), FLOAT32)
                fresh[power + suffix] = Stored(scalars[power + suffix].key, tensor)
    return {**scalars, **fresh}


def _suffixes(scalars: Mapping[str, Stored]) -> list[str]:
    return [name.removeprefix(POWERS[0]) for name in scalars if name.startswith(POWERS[0])]


def _pair(scalars: Mapping[str, Stored], suffix: str) -> tuple[float | None, float | None]:
    first, second = (scalars.get(name + suffix) for name in POWERS)
    return scalar_value(first), scalar_value(second)


def change_adam(case: Case) -> Change:
    """Beta powers <-> step."""
    if case.dialect == "tf1":
        return _to_tf1(case)
    if case.state.dialect == "tf1":
        return _from_tf1(case)
    return Change(step=case.state.step)


def _to_tf1(case: Case) -> Change:
    step, issues = case.state.step, [_note(case, _EPSILON)]
    betas = [case.hyper.get(name) for name in ("beta_1", "beta_2")]
    if step is None:
        issues.append(_needed(case, "TF1 counts Adam's steps by beta powers, and the source stores no step"))
    if None in betas:
        issues.append(_needed(case, "TF1's beta powers are powers of beta_1 and beta_2, which the source doesn't tell"))
    dropped = {}
    if "vhat" in case.slots:
        dropped["vhat"] = "TF1's Adam has no AMSGrad"
        issues.append(Issue("slot", "loss", case.state.name, "slot vhat: TF1's Adam has no AMSGrad.", _VHAT_HINT))
    scalars, texts = {}, {}
    for power, name, beta in zip(POWERS, ("beta_1", "beta_2"), betas, strict=True):
        if step is not None and beta is not None:
            scalars[power] = Tensor.of(power_after(beta, step), FLOAT32)
            texts[power] = f"{name}^(iter + 1) = {shown(beta)}^{step + 1}, multiplied in float32 as TF1 does"
    return Change(dropped=dropped, step=step, scalars=scalars, texts=texts, issues=tuple(issues))


def _from_tf1(case: Case) -> Change:
    reading, issues = _reading(case)
    step = reading.step
    if reading.is_settled and step is None:
        betas = [case.hyper.get("beta_1", 0.9), case.hyper.get("beta_2", 0.999)]
        step = max(case.step or 0, *map(steps_to_underflow, betas))
        issues.append(
            _note(case, f"both beta powers have underflowed: the step is taken as {step}; any such large one does")
        )
    if step is None:
        issues.append(_needed(case, _why_no_step(case)))
    found = {n: b for n, b in (("beta_1", reading.beta_1), ("beta_2", reading.beta_2)) if b is not None}
    guessed = ", ".join(f"{name}={shown(value)}" for name, value in found.items() if name not in case.hyper)
    if guessed:
        issues.append(_note(case, f"{guessed} is read off the beta powers: its powers have their very bits"))
    is_read = bool(found) and "iter" not in case.given and reading.step is not None
    texts = {"iter": f"{step} completed steps, by the beta powers"} if is_read else {}
    return Change(step=step, hyper=found, texts=texts, issues=(*issues, _note(case, _EPSILON)))


def _reading(case: Case) -> tuple[Reading, list[Issue]]:
    """The step: what the powers tell, else what was set in the state, else (home-made, without powers) `case.step`."""
    reading = read_step(case.state.scalars, case.hyper)
    if "iter" in case.given and case.state.step is not None:
        return reading._replace(step=case.state.step), []
    if reading.step is None and case.state.step is not None and not case.given & {"beta_1", "beta_2"}:
        return Reading(case.state.step), []
    if _suffixes(case.state.scalars) or case.step is None:
        return reading, []
    text = f"it has no beta powers: the step is taken from elsewhere, {case.step}"
    hint = "An Adam without bias correction (BERT's) has no counterpart here: its first steps would differ."
    return Reading(case.step), [Issue("guess", "warning", case.state.name, text, hint)]


def _why_no_step(case: Case) -> str:
    count = len(_suffixes(case.state.scalars))
    if not count:
        return "Keras counts Adam's steps, and the source stores neither beta powers nor a step"
    if count > 1:
        return f"there are {count} pairs of beta powers, and names can't tell which belongs to these slots"
    return "the beta powers are no powers of the betas that are known or usual"


def _note(case: Case, text: str) -> Issue:
    return Issue("approximate" if text is _EPSILON else "guess", "note", case.state.name, text)


def _needed(case: Case, text: str) -> Issue:
    hint = (
        "--hyper beta_1=0.9 --hyper beta_2=0.999, --hyper iter=STEPS, "
        f"--dialect {case.state.dialect} (keep the state as it is), or --optimizer drop"
    )
    if len(_suffixes(case.state.scalars)) > 1:
        hint = f"{block_of(case.state.name)}, or {hint}"
    return Issue("needed", "error", case.state.name, text, hint)


def block_of(name: str) -> str:
    """The blocks of a mapping that tell of Adams whose powers names can't tell apart, to be filled in."""
    told = "hyper: {iter: STEPS, beta_1: 0.9, beta_2: 0.999}"
    return f'a mapping tells each: optimizers: [{{from: {name}, variables: "SCOPE/{{name:path}}", to: NAME, {told}}}]'


_VHAT_HINT = "--dialect keras-legacy keeps it, --allow-loss goes on without it (as an Adam that is no AMSGrad)"

_SLOTS = (Slot("m"), Slot("v"))
_VHAT = Slot("vhat", is_optional=True)
_KERAS3_SLOTS = (
    Slot("m", "momentum"),
    Slot("v", "velocity"),
    Slot("vhat", "velocity_hat", is_optional=True),
)
_APART = (Block(("m",)), Block(("v",)), Block(("vhat",), "amsgrad"))
_TOGETHER = (Block(("m", "v")), Block(("vhat",), "amsgrad"))
_LISTS = {"m": "_momentums", "v": "_velocities", "vhat": "_velocity_hats"}


def by_tf1(title: str) -> Spelling:
    """As TF1 has it: numbered slots and beta powers."""
    return Spelling(title, _SLOTS, numbered=(("m", "v"),), scalars={n: n for n in POWERS})


def by_keras2(title: str) -> Spelling:
    """As tf_keras 2.11 and newer have it."""
    return Spelling(title, (*_SLOTS, _VHAT), (), KERAS_STEP, KERAS_RATE, Listed(_TOGETHER), _LISTS)


def by_keras3(title: str) -> Spelling:
    """As Keras 3 has it."""
    listed = Listed(_TOGETHER, ("iter", "learning_rate"))
    return Spelling(title, _KERAS3_SLOTS, (), KERAS_STEP, KERAS_RATE, listed, _LISTS)


ADAM = Optimizer(
    "adam",
    {
        "tf1": by_tf1("Adam"),
        "keras-legacy": Spelling(
            "Adam",
            (*_SLOTS, _VHAT),
            scalars={"iter": "iter"},
            hyper={n: n for n in ("learning_rate", "decay", "beta_1", "beta_2")},
            listed=Listed(_APART),
        ),
        "keras1": Spelling("Adam", (*_SLOTS, _VHAT), scalars={"iter": "iter"}, listed=Listed(_APART)),
        "keras2": by_keras2("Adam"),
        "keras3": by_keras3("Adam"),
    },
    change_adam,
)
