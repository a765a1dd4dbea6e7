"""From one dialect of optimizer state to another: what changes, as steps, values and issues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.errors import UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.adam import POWERS, started
from ckptmigrate.optimizers.catalog import BY_KIND, LOSS_SCALE
from ckptmigrate.optimizers.record import NOTHING, Case, Change, Spelling, StepFactory
from ckptmigrate.optimizers.scalars import scalar_value, shown
from ckptmigrate.table import OptimizerState, Stored, Tensor

RATE = "learning_rate"
PLACEHOLDER = "placeholder"  # what a list has in the place of a slot that isn't: scalars called so, with a number


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
    state: OptimizerState,
    dialect: str,
    *,
    hyper: Mapping[str, float] | None = None,
    step: int | None = None,
    lead: int = 0,
    place: OptimizerState | None = None,
    regains: bool = False,
) -> Conversion:
    """The state in `dialect`; in its own dialect it stays as it is, bit for bit.

    Args:
        state: As stored.
        dialect: One of table.DIALECTS.
        hyper: Hyperparameters from flags, by canonical name; they win over the file's. `iter` sets the step.
        step: Completed steps for optimizers that store none (`global_step`).
        lead: How many steps the optimizer is ahead of the ones it counted, where it corrects a bias (Keras 2.3: 1).
        place: The state in whose place it goes (a template's): which slots that optimizer has, and whether a rate.
        regains: Whether scalars are computed that the source's format loses and the target's holds (Nadam's product,
            and the hyperparameters that are known).

    Raises:
        UsageError: `iter` is no number of steps.
    """
    if dialect == state.dialect:
        return _regained(state, hyper or {}, place) if regains else Conversion(replace(state, slots={}))
    optimizer = BY_KIND.get(state.kind)
    if optimizer is None or dialect not in optimizer.dialects or state.dialect not in optimizer.dialects:
        return _refused(state, dialect)
    given = dict(hyper or {})
    state, ahead = _counted(state, given, lead)
    known = {**state.hyper, **given}
    step = None if step is None or step < 0 else step
    place = place if place is not None and place.dialect == dialect and not place.unbound else None
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, as it does in TensorFlow
        change = optimizer.change(Case(state, dialect, known, step, frozenset(hyper or {}), place))
        always = {} if state.dialect in _DECAYING else {"decay": 0.0}  # dividing by 1 + 0
        known = {**(always if dialect in _DECAYING else {}), **change.hyper, **known}
        conversion = _finished(state, dialect, known, change, place)
    return conversion._replace(issues=(*ahead, *conversion.issues))


def _counted(state: OptimizerState, given: dict[str, float], lead: int) -> tuple[OptimizerState, tuple[Issue, ...]]:
    """The state with the steps that flags give, which are taken from `given`; else with those it is ahead."""
    if "iter" in given:
        return replace(state, step=_steps(given.pop("iter"))), ()
    if lead and state.step and state.kind in _BIASED:
        return replace(state, step=state.step + lead), (_leads(state, lead),)
    return state, ()


def _regained(state: OptimizerState, hyper: Mapping[str, float], place: OptimizerState | None) -> Conversion:
    """The state as it is, and what its file lost."""
    optimizer, known = BY_KIND.get(state.kind), {**state.hyper, **hyper}
    if optimizer is None or state.dialect not in optimizer.dialects:
        return Conversion(replace(state, slots={}))
    case = Case(state, state.dialect, known, None, frozenset(hyper), place)
    change = optimizer.regain(case) if optimizer.regain else Change()
    # Keras 3 lists its rate wherever it has one; what has none there has a schedule
    lost = optimizer.dialects[state.dialect].hyper if state.dialect != "keras3" else {}
    told = {n: known[n] for n in lost if n in known and (place is None or n in place.scalars)}
    numbers = {n: Tensor.of(np.array(value, np.float32), FLOAT32) for n, value in told.items()}
    texts = {**{n: shown(value) for n, value in told.items()}, **change.texts}
    made = {n: Stored("", t) for n, t in {**numbers, **change.scalars}.items() if n not in state.scalars}
    whole = replace(state, slots={}, scalars={**state.scalars, **made})
    return Conversion(whole, steps_text={n: t for n, t in texts.items() if n in made}, issues=change.issues)


_DECAYING = ("keras1", "keras-legacy")  # dialects whose optimizers have a decay of their own
_BIASED = ("adam", "adamax", "nadam")


def _leads(state: OptimizerState, lead: int) -> Issue:
    text = (
        f"Keras 2.3 counts a step before it corrects the bias of its moments, so that {state.kind} is {lead} ahead: "
        f"{state.step} steps go on as {(state.step or 0) + lead}."
    )
    return Issue("guess", "note", state.name, text, f"--hyper iter={state.step} takes the steps as counted")


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
    state: OptimizerState, dialect: str, known: Mapping[str, float], change: Change, place: OptimizerState | None
) -> Conversion:
    kind = change.kind or state.kind
    target = BY_KIND[kind].dialects[dialect]
    scalars = {name: Stored("", tensor) for name, tensor in change.scalars.items()}
    texts, issues = dict(change.texts), list(change.issues)
    made: dict[str, Tensor] = {}
    if "iter" in target.scalars and change.step is not None:
        made["iter"] = Tensor.of(np.array(change.step, np.int64), INT64)
        texts.setdefault("iter", f"{change.step} completed steps")
    without = {RATE} if place is not None and RATE not in place.scalars else set()  # it has a schedule
    for name in target.hyper:
        if name in known and name not in without:
            made[name] = Tensor.of(np.array(known[name], np.float32), FLOAT32)
            texts[name] = shown(known[name])
    for name, tensor in made.items():
        scalars[name] = Stored("", tensor)
        if _is_as_stored(state.scalars.get(name), tensor):
            scalars[name] = state.scalars[name]
            texts.pop(name, None)
    scalars |= _loss_scale(state, dialect)
    is_stopped = any(issue.kind == "needed" for issue in issues)
    issues += _unknown_scalars(state, dialect, target, scalars, without) if not is_stopped else []
    issues += _unwritten(state, dialect, known, target)
    issues += _decay(state, dialect, known)
    issues += _unbound(state, dialect)
    held = _in_order(scalars, target)
    changed = replace(bare(state, dialect), kind=kind, step=change.step, hyper=known, scalars=held)
    return Conversion(changed, change.slot_steps, change.new_slots, change.dropped, texts, tuple(issues))


def _is_as_stored(stored: Stored | None, tensor: Tensor) -> bool:
    """Whether the source holds that very value."""
    if stored is None or stored.tensor.dtype is not tensor.dtype or stored.tensor.shape != ():
        return False
    return scalar_value(stored) == float(tensor.read())


def bare(state: OptimizerState, dialect: str) -> OptimizerState:
    """The state in another dialect, without anything that was stored."""
    return replace(state, dialect=dialect, scalars={}, slots={}, order=(), unbound=())


def _in_order(scalars: Mapping[str, Stored], target: Spelling) -> dict[str, Stored]:
    """As the list has them; what isn't in it behind."""
    first = target.listed.first if target.listed else ()
    return {name: scalars[name] for name in (*first, *scalars) if name in scalars}


def _unknown_scalars(
    state: OptimizerState, dialect: str, target: Spelling, scalars: dict[str, Stored], without: set[str]
) -> list[Issue]:
    """What the target stores and nobody told: needed in a list; else the live optimizer keeps the values it has."""
    first = target.listed.first if target.listed and dialect in _LISTS_ALONE else ()
    missing = [name for name in target.hyper if name not in scalars and name not in without]
    issues = []
    if needed := [name for name in missing if name in first]:
        issues.append(_needed(state, dialect, needed))
    if loose := [name for name in missing if name not in first]:
        flags = " ".join(f"--hyper {name}=VALUE" for name in loose)
        text = (
            f"{dialect} also stores {', '.join(loose)}, which the source doesn't tell: not written, so that "
            "restoring keeps the live optimizer's own."
        )
        issues.append(Issue("hyper", "note", state.name, text, flags))
    if "iter" in target.scalars and "iter" not in scalars and not any(i.kind == "needed" for i in issues):
        is_made = bool(first) or state.dialect == "keras1"  # of which Keras itself takes missing steps for 0
        text = f"{dialect} also stores iter, the completed steps, which the source doesn't tell: "
        text += "written as 0, from where schedules and decays go on." if is_made else "not written."
        if is_made:
            scalars["iter"] = Stored("", Tensor.of(np.array(0, np.int64), INT64))
        issues.append(Issue("hyper", "warning" if is_made else "note", state.name, text, "--hyper iter=STEPS"))
    return issues


def _needed(state: OptimizerState, dialect: str, names: Sequence[str]) -> Issue:
    flags = " ".join(f"--hyper {name}={_EXAMPLES.get(name, 'VALUE')}" for name in names)
    text = f"{dialect} keeps {', '.join(names)} in the optimizer's list, and the source doesn't tell it."
    hint = f"{flags}, --template with a checkpoint of the target, --dialect {state.dialect}, or --optimizer drop"
    return Issue("needed", "error", state.name, text, hint)


_EXAMPLES = {RATE: "0.001"}
_LISTS_ALONE = ("keras1", "keras2", "keras3")  # which read their state by position; legacy Keras also by name


def _loss_scale(state: OptimizerState, dialect: str) -> dict[str, Stored]:
    """Loss scaling goes along where the dialect has it."""
    return {n: state.scalars[n] for n in LOSS_SCALE if n in state.scalars} if dialect != "keras1" else {}


def _decay(state: OptimizerState, dialect: str, known: Mapping[str, float]) -> list[Issue]:
    """A rate that falls with every step, into a dialect whose optimizers have no such setting."""
    decay = known.get("decay", 0.0)
    if dialect in _DECAYING or not decay or state.kind == "nadam":
        return []
    text = (
        f"decay={shown(decay)}: the rate falls as learning_rate / (1 + decay * iter) there, and optimizers of "
        f"{dialect} have no such setting: build the target with a schedule that does so."
    )
    return [Issue("approximate", "warning", state.name, text)]


def _unwritten(state: OptimizerState, dialect: str, known: Mapping[str, float], target: Spelling) -> list[Issue]:
    """What the source stores and the target keeps elsewhere: the values to build the target's optimizer with."""
    kept = {*target.hyper, *target.scalars, *_loss_scale(state, dialect)}
    kept |= {"iter"} if POWERS[0] in target.scalars else set()  # it goes on in the powers
    lost = [
        _with_value(n, known, state)
        for n in state.scalars
        if n not in kept and not n.startswith((*POWERS, PLACEHOLDER))
    ]
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
    issue = Issue("slot", "loss", state.name, f"{why}; {held} would be lost.", hint)
    return Conversion(bare(state, dialect), dropped=dict.fromkeys(slots, why), issues=(issue,))
