"""From one dialect of optimizer state to another: what changes, as steps, values and issues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.errors import UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.adam import POWERS, started
from ckptmigrate.optimizers.catalog import BY_KIND, LOSS_SCALE
from ckptmigrate.optimizers.record import NOTHING, Case, Change, Spelling, StepFactory
from ckptmigrate.optimizers.scalars import shown
from ckptmigrate.table import OptimizerState, Stored, Tensor


class Conversion(NamedTuple):
    """A state in another dialect, its slots still to be made.

    Attributes:
        state: The state without slots; its scalars are as stored, or in memory (with an empty key) where computed.
        slot_steps: Slot -> the steps it needs, given its shape and dtype. A slot that isn't named needs none.
        new_slots: Slots that every variable with slots gets in addition -> their initial value.
        dropped: Slots that the target hasn't -> why.
        steps_text: Computed scalars -> how.
        issues: Everything guessed, lost or needed.
    """

    state: OptimizerState
    slot_steps: Mapping[str, StepFactory] = NOTHING
    new_slots: Mapping[str, float] = NOTHING
    dropped: Mapping[str, str] = NOTHING
    steps_text: Mapping[str, str] = NOTHING
    issues: tuple[Issue, ...] = ()


def to_dialect(
    state: OptimizerState, dialect: str, *, hyper: Mapping[str, float] | None = None, step: int | None = None
) -> Conversion:
    """The state in `dialect`; in its own dialect it stays as it is, bit for bit.

    Args:
        state: As stored.
        dialect: One of table.DIALECTS.
        hyper: Hyperparameters from flags, by canonical name; they win over the file's. `iter` sets the step.
        step: Completed steps for optimizers that store none (`global_step`).

    Raises:
        UsageError: `iter` is no number of steps.
    """
    if dialect == state.dialect:
        return Conversion(replace(state, slots={}))
    if state.wraps is not None:
        return _around(to_dialect(state.wraps, dialect, hyper=hyper, step=step), state, dialect)
    optimizer = BY_KIND.get(state.kind)
    if optimizer is None or dialect not in optimizer.dialects or state.dialect not in optimizer.dialects:
        return _refused(state, dialect)
    given = dict(hyper or {})
    if "iter" in given:
        state = replace(state, step=_steps(given.pop("iter")))
    known = {**(_NEVER_DECAYS if state.dialect == "tf1" else {}), **state.hyper, **given}
    flags = frozenset(hyper or {})
    step = None if step is None or step < 0 else step
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, as it does in TensorFlow
        change = optimizer.change(Case(state, dialect, known, step, flags))
        return _finished(state, dialect, {**change.hyper, **known}, change, optimizer.dialects[dialect])


_NEVER_DECAYS = {"decay": 0.0}  # TF1's optimizers have no decay of their own; legacy Keras multiplies by 1 then


def anew(state: OptimizerState) -> OptimizerState:
    """The state before its first step: no steps counted, first powers of the betas; slots are their caller's."""
    slots = {} if state.kind == "momentum" else state.slots  # velocities that start at 0 need no learning rate
    scalars = started(state.scalars, state.hyper)
    start = BY_KIND[state.kind].start if state.kind in BY_KIND else NOTHING
    for name in scalars.keys() & start.keys():
        dtype = scalars[name].tensor.dtype
        first = Tensor.of(np.array(start[name], dtype.numpy), dtype)
        scalars[name] = Stored(scalars[name].key, first)
    return replace(state, step=0, scalars=scalars, slots=slots, unbound=())


def _steps(number: float) -> int:
    if not 0 <= number < 2.0**63 or number != int(number):
        raise UsageError(f"--hyper iter={number:g}: expected a number of steps, a whole number from 0")
    return int(number)


def _finished(
    state: OptimizerState, dialect: str, known: Mapping[str, float], change: Change, target: Spelling
) -> Conversion:
    scalars = {name: Stored("", tensor) for name, tensor in change.scalars.items()}
    texts, issues = dict(change.texts), list(change.issues)
    if "iter" in target.scalars and change.step is not None:
        scalars["iter"] = Stored("", Tensor.of(np.array(change.step, np.int64), INT64))
        texts.setdefault("iter", f"{change.step} completed steps")
    for name in target.hyper:
        if name in known:
            scalars[name] = Stored("", Tensor.of(np.array(known[name], np.float32), FLOAT32))
            texts[name] = shown(known[name])
    scalars |= {name: state.scalars[name] for name in LOSS_SCALE if name in state.scalars}
    issues += _unknown_scalars(state, dialect, target, scalars)
    issues += _unwritten(state, dialect, known, target)
    issues += _unbound(state, dialect)
    changed = replace(
        state, dialect=dialect, step=change.step, hyper=known, scalars=scalars, slots={}, order=(), unbound=()
    )
    return Conversion(changed, change.slot_steps, change.new_slots, change.dropped, texts, tuple(issues))


def _unknown_scalars(
    state: OptimizerState, dialect: str, target: Spelling, scalars: Mapping[str, Stored]
) -> list[Issue]:
    """What the target stores and nobody told: it keeps the values of the live optimizer."""
    missing = [name for name in target.hyper if name not in scalars]
    issues = []
    if missing:
        flags = " ".join(f"--hyper {name}=VALUE" for name in missing)
        text = (
            f"{dialect} also stores {', '.join(missing)}, which the source doesn't tell: not written, so that "
            "restoring keeps the live optimizer's own."
        )
        issues.append(Issue("hyper", "note", state.name, text, flags))
    if "iter" in target.scalars and "iter" not in scalars:
        text = f"{dialect} also stores iter, the completed steps, which the source doesn't tell: not written."
        issues.append(Issue("hyper", "note", state.name, text, "--hyper iter=STEPS"))
    return issues


def _unwritten(state: OptimizerState, dialect: str, known: Mapping[str, float], target: Spelling) -> list[Issue]:
    """What the source stores and the target keeps elsewhere: the values to build the target's optimizer with."""
    kept = {*target.hyper, *target.scalars, *LOSS_SCALE}
    kept |= {"iter"} if POWERS[0] in target.scalars else set()  # it goes on in the powers
    lost = [_with_value(n, known, state) for n in state.scalars if n not in kept and not n.startswith(POWERS)]
    if not lost:
        return []
    text = f"{dialect} doesn't store {', '.join(lost)} with the optimizer: set it where the optimizer is built."
    return [Issue("hyper", "note", state.name, text)]


def _with_value(name: str, known: Mapping[str, float], state: OptimizerState) -> str:
    if name == "iter" and state.step is not None:
        return f"iter={state.step}"
    return f"{name}={shown(known[name])}" if name in known else name


def _unbound(state: OptimizerState, dialect: str) -> list[Issue]:
    if not state.unbound:
        return []
    text = f"{len(state.unbound)} slots whose variables the file doesn't tell can't go into dialect {dialect}."
    return [Issue("slot", "loss", state.name, text, f"--template CKPT, or --dialect {state.dialect}")]


def _refused(state: OptimizerState, dialect: str) -> Conversion:
    slots = sorted({key.slot for key in state.slots})
    why = f"optimizer of kind {state.kind}: no way from dialect {state.dialect} into {dialect} is known"
    held = f"{len(state.slots) + len(state.unbound)} slots ({', '.join(slots)})" if slots else "its state"
    hint = f"--dialect {state.dialect} keeps it as it is where DST can hold it so, --optimizer drop leaves it out"
    if state.dialect == "tf1":
        hint += "; if it is one that is known, name its slots in the mapping: source: {slots: {ENDING: SLOT}}"
    bare = replace(state, dialect=dialect, scalars={}, slots={}, order=(), unbound=())
    issue = Issue("slot", "loss", state.name, f"{why}; {held} would be lost.", hint)
    return Conversion(bare, dropped=dict.fromkeys(slots, why), issues=(issue,))


def _around(inner: Conversion, state: OptimizerState, dialect: str) -> Conversion:
    """A wrapper keeps its own scalars and takes its inner optimizer along."""
    return inner._replace(state=replace(state, dialect=dialect, wraps=inner.state, slots={}, order=(), unbound=()))
