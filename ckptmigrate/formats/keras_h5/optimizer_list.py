"""The optimizer's list of a legacy HDF5 file, as the Keras of its version keeps it.

Keras 1 counts steps in float32, and some of its optimizers count none; Keras 2.2 adds dummies for Adam's vhat, 2.3 the
counters that were missing. Facts: files of Keras 1.2.2, 2.2.4 and 2.3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.binding import VACANT, Listing, Owner, listed_scalars, unbind
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.table import OptimizerState, Stored, Tensor

LAST_KERAS1 = "2.2.4"  # what a file of dialect keras1 is for, where nothing tells
_UNCOUNTED = ("rmsprop", "adagrad", "adadelta")
_DUMMY = Tensor.of(np.zeros(1, np.float32), FLOAT32)


class OptimizerList(NamedTuple):
    """The list in its order, and what was made up for it."""

    members: list[Listing]
    issues: tuple[Issue, ...] = ()


def is_keras1(version: str) -> bool:
    """Whether a file of that version is of a Keras that this dialect is for; none is Keras 1.

    >>> is_keras1("2.3.1"), is_keras1("2.15.0"), is_keras1("")
    (True, False, True)
    """
    return not version or version.startswith(("1.", "2.0.", "2.1.", "2.2.", "2.3."))


def lay_out(
    state: OptimizerState, averages: OptimizerState | None, owners: Sequence[Owner], version: str
) -> OptimizerList:
    """The list of a state in a file of that Keras."""
    members = unbind(state, averages, owners)
    issues = []
    kept = listed_scalars(state)
    if "iter" not in kept and state.dialect != "keras1" and not state.unbound:
        members.insert(0, ("iter", None, Stored("", _number(0, is_float=False))))
        text = "the list begins with the completed steps, which nothing tells: written as 0, from where schedules go on"
        issues.append(Issue("hyper", "warning", state.name, text, "--hyper iter=STEPS"))
    if state.dialect == "keras1":
        members = _of_keras1(state, members, version, len([o for o in owners if o.name in _having(state)]))
    return OptimizerList([_filled(member) for member in members], tuple(issues))


def _having(state: OptimizerState) -> set[str]:
    return {key.variable for key in state.slots}


def _of_keras1(state: OptimizerState, members: list[Listing], version: str, owners: int) -> list[Listing]:
    """As that version counts and pads; what was read from such a file stays as it is."""
    if any(stored is not None and stored.key for _, _, stored in members):
        return members
    is_first = not version or version.startswith("1.")
    if not version.startswith("2.3."):
        skipped = {"iter"} if state.kind in _UNCOUNTED else set()
        members = [m for m in members if m[0] not in {*skipped, "momentum_cache"}]
    elif state.kind in _UNCOUNTED and members and members[0][0] != "iter":
        members.insert(0, ("iter", None, Stored("", _number(state.step or 0, is_float=False))))
    if is_first and members and members[0][0] == "iter":
        members[0] = ("iter", None, Stored("", _number(state.step or 0, is_float=True)))
    has_dummies = state.kind == "adam" and version.startswith(("2.2.", "2.3."))
    if has_dummies and not any(key.slot == "vhat" for key in state.slots):
        members += [(PLACEHOLDER, None, Stored("", _DUMMY))] * owners
    return members


def _number(value: int, *, is_float: bool) -> Tensor:
    return Tensor.of(np.array(value, np.float32), FLOAT32) if is_float else Tensor.of(np.array(value, np.int64), INT64)


def _filled(member: Listing) -> Listing:
    name, key, stored = member
    return (name or PLACEHOLDER, None, Stored("", VACANT)) if stored is None else (name, key, stored)
