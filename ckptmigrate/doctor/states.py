"""Optimizer state: absent, of another optimizer, incomplete, misshapen, never used, or impossible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ckptmigrate.batchnorm import batch_norms
from ckptmigrate.doctor.case import Case, trained
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers import initial_value, spelling
from ckptmigrate.optimizers.keys import split_number
from ckptmigrate.optimizers.names import TITLES
from ckptmigrate.table import OptimizerState

_FACTORED = frozenset({"r", "c"})  # Adafactor's rows and columns have shapes of their own
_BY_RANK = frozenset({"adafactor", "muon"})  # whose variables have different slots, depending on their rank
_SQUARES = frozenset({"v", "vhat", "rms", "accumulator", "accum_grad", "accum_var"})
_WHOLE = frozenset({"iter", "iterations"})


def examine_states(case: Case) -> Iterator[Issue]:
    """Whether training can go on from what the checkpoint holds."""
    states = list(trained(case.checkpoint))
    yield from _against(case, states)
    yield from _namesakes(states)
    yield from _misshapen_names(case)
    yield from _counters(case)
    for state in states:
        if state.slots:
            yield from _incomplete(case, state)
            yield from _of_other_shape(case, state)
            yield from _values(case, state)
        yield from _steps(state)
    if any(state.slots for state in states) and not any(state.unbound for state in states):
        yield from _without_slots(case, states)


def _against(case: Case, states: list[OptimizerState]) -> Iterator[Issue]:
    wanted = list(trained(case.against)) if case.against is not None else []
    if not states and any(issue.kind == "missing" for issue in case.checkpoint.issues):
        return  # it may lie in the files that aren't there
    if not states:
        effect = "training on starts with fresh moments, and its loss jumps"
        if wanted:
            message = f"there is no optimizer state, and {_told(wanted)} expects some: {effect}"
            yield Issue(
                "optimizer", "error", "", message, "a checkpoint of the training itself has it, an export has none"
            )
        else:
            yield Issue("optimizer", "note", "", f"there is no optimizer state: predictions need none; {effect}")
    elif wanted and Counter(map(_sort, states)) != Counter(map(_sort, wanted)):
        message = (
            f"the state is that of {_told(states)}; {_told(wanted)} of the other checkpoint doesn't find its own in it"
        )
        is_kind = Counter(s.kind for s in states) != Counter(s.kind for s in wanted)
        hint = _fitting(case, "--optimizer", "fresh") if is_kind else _fitting(case)
        yield Issue("optimizer", "error", "", message, hint)


def _fitting(case: Case, *options: str) -> str:
    assert case.against is not None
    return case.convert("--template", case.given_against, *options, to=case.against.format)


def _sort(state: OptimizerState) -> tuple[str, str]:
    return state.kind, state.dialect


def _told(states: list[OptimizerState]) -> str:
    return " and ".join(f"{kind} ({dialect})" for kind, dialect in Counter(map(_sort, states)))


def _namesakes(states: list[OptimizerState]) -> Iterator[Issue]:
    for name, count in Counter(state.name for state in states).items():
        if count > 1:
            message = f"{count} optimizers of one name: nothing tells whose slots are whose"
            yield Issue("optimizer", "error", name, message, "name them in a mapping's `optimizers:` block")


def _incomplete(case: Case, state: OptimizerState) -> Iterator[Issue]:
    """Variables that have one slot and lack another; slots that the optimizer always has and nobody has."""
    if state.kind in _BY_RANK:
        return
    held: dict[str, set[str]] = defaultdict(set)
    for key in state.slots:
        held[key.variable].add(key.slot)
    every = set().union(*held.values())
    spelled = spelling(state.kind, state.dialect)
    owed = {s.name for s in spelled.slots if not s.is_optional} - every if spelled is not None else set()
    hint = f"the weights alone, so that the optimizer starts anew: {case.convert('--optimizer', 'drop')}"
    if owed:
        needed, there = ", ".join(sorted(owed)), ", ".join(sorted(every))
        message = f"no variable has slot {needed}, which {state.kind} needs beside {there}"
        yield Issue("slot", "error", state.name, message, hint)
    for variable, slots in held.items():
        if lacking := every - slots:
            message = (
                f"half a set of slots of {state.name}: {', '.join(sorted(slots))} and no {', '.join(sorted(lacking))}"
            )
            yield Issue("slot", "error", variable, message, hint)


def _of_other_shape(case: Case, state: OptimizerState) -> Iterator[Issue]:
    for key, stored in state.slots.items():
        owner = case.checkpoint.variables.get(key.variable)
        if owner is None or key.slot in _FACTORED or owner.tensor.shape == stored.tensor.shape:
            continue
        message = f"slot {key.slot} is {list(stored.tensor.shape)}, its variable {list(owner.tensor.shape)}"
        yield Issue("slot", "error", key.variable, message, case.convert("--optimizer", "drop"))


def _misshapen_names(case: Case) -> Iterator[Issue]:
    """Name-based files: what is called like a slot of a variable of another shape was taken for no slot."""
    variables = case.checkpoint.variables
    for name, variable in variables.items() if case.checkpoint.origin == "tf1" else ():
        owner, _, ending = name.rpartition("/")
        title = split_number(ending)[0]
        if owner in variables and title in TITLES and variables[owner].tensor.shape != variable.tensor.shape:
            shapes = f"{list(variable.tensor.shape)}, and {owner} {list(variables[owner].tensor.shape)}"
            message = (
                f"is called like a slot of {title}, but is {shapes}: the variable was made anew with another shape"
            )
            yield Issue("slot", "error", name, message, case.convert("--drop", name))


def _values(case: Case, state: OptimizerState) -> Iterator[Issue]:
    fresh = True
    for key, stored in state.slots.items():
        found = case.scans.get(stored.key)
        if found is None:
            fresh = False
            continue
        fresh = fresh and found.is_all(initial_value(state.kind, state.dialect, key.slot))
        if key.slot in _SQUARES and found.low < 0:
            message = (
                f"slot {key.slot} averages squares, and goes down to {found.low:.3g}: the next step makes NaN of it"
            )
            yield Issue("slot", "error", key.variable, message, case.convert("--optimizer", "fresh"))
    if fresh:
        message = "every slot is what it starts with: this optimizer never made a step, or its state was not restored"
        yield Issue("optimizer", "warning", state.name, message, "look whether an older checkpoint has it")


def _steps(state: OptimizerState) -> Iterator[Issue]:
    for name in _WHOLE & state.scalars.keys():
        dtype = state.scalars[name].tensor.dtype
        if dtype.is_float and state.dialect != "keras1":
            message = f"{name} is a {dtype}, where a whole number is expected: TensorFlow refuses to restore it"
            yield Issue("dtype", "warning", state.name, message, "--hyper iter=STEPS, with another --dialect")


def _counters(case: Case) -> Iterator[Issue]:
    for name, variable in case.checkpoint.variables.items():
        dtype = variable.tensor.dtype
        if name.rpartition("/")[2] == "global_step" and dtype.name not in ("int64", "int32"):
            message = f"is a {dtype}, where int64 is expected: TensorFlow refuses to restore it"
            yield Issue("dtype", "warning", name, message, case.convert("--drop", name))


def _without_slots(case: Case, states: list[OptimizerState]) -> Iterator[Issue]:
    """Weights that could be trained and have no slots, while others have."""
    owners = {key.variable for state in states for key in state.slots}
    owners |= {name for group in batch_norms(case.checkpoint).values() for name in group.statistics}
    for name, variable in case.checkpoint.variables.items():
        could = variable.role == "weight" and variable.trainable is not False and variable.tensor.dtype.is_float
        is_measure = not variable.tensor.shape and variable.trainable is None  # an averaged loss, say
        if could and not is_measure and name not in owners and not _ends_like_a_slot(name):
            known = "is trainable" if variable.trainable else "may be trained"
            message = f"{known} and has no slots, as others have: frozen when this was saved, or made after it"
            yield Issue("slot", "warning", name, message, "where it is trained on, its slots start anew")


def _ends_like_a_slot(name: str) -> bool:
    return split_number(name.rpartition("/")[2])[0] in TITLES
