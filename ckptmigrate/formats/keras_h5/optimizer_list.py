"""The optimizer's list of a legacy HDF5 file, as the Keras of its version keeps it.

Some optimizers of Keras 1 count no steps; Keras 2.2 adds dummies for Adam's vhat, 2.3 the counters that were missing.
Facts: files of Keras 1.2.2, 2.2.4 and 2.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.unbinding import VACANT, Listing, unbind
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
    issues: tuple[Issue, ...] = ()
    if state.dialect == "keras1" and not any(stored is not None and stored.key for _, _, stored in members):
        issues = tuple(_uncounted(state, version))
        gone = {issue.name for issue in issues}
        members = [m for m in members if f"{state.name}.{m[0]}" not in gone]
        members += _dummies(state, version, sum(owner.name in _having(state) for owner in owners))
    return OptimizerList([_filled(member) for member in members], issues)


def _having(state: OptimizerState) -> set[str]:
    return {key.variable for key in state.slots}


def _uncounted(state: OptimizerState, version: str) -> Iterator[Issue]:
    """The scalars that an optimizer of that version doesn't store."""
    if version.startswith("2.3."):
        return
    for name in state.scalars:
        if name == "momentum_cache" or (name == "iter" and state.kind in _UNCOUNTED):
            text = f"Keras {version or '1'} stores none for {state.kind}"
            yield Issue("unholdable", "note", f"{state.name}.{name}", text)


def _dummies(state: OptimizerState, version: str, count: int) -> list[Listing]:
    """What stands for the vhat that only AMSGrad has."""
    is_padded = state.kind == "adam" and version.startswith(("2.2.", "2.3."))
    has_vhat = any(key.slot == "vhat" for key in state.slots)
    return [(PLACEHOLDER, None, Stored("", _DUMMY))] * count if is_padded and not has_vhat else []


def _filled(member: Listing) -> Listing:
    name, key, stored = member
    return (name or PLACEHOLDER, None, Stored("", VACANT)) if stored is None else (name, key, stored)
