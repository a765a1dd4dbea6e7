"""Lists: optimizers whose state is restored by number alone, which of another number or order is another variable's.

Keras 2.11+ and 3 name an optimizer's variables by their place in a list, in every file; older Keras in HDF5 files
(keras/src/optimizers/base_optimizer.py, `load_own_variables`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.doctor.case import trained
from ckptmigrate.doctor.comparison import Comparison
from ckptmigrate.issues import Issue
from ckptmigrate.table import OptimizerState

_MANY = "Keras 3 says 'Skipping variable loading' and starts it anew, tf.train.Checkpoint fills the first ones"


def examine_lists(comparison: Comparison) -> Iterator[Issue]:
    """Optimizers of both sides, in their order: as many slots, and each its own variable's."""
    mine, yours = trained(comparison.case.checkpoint), trained(comparison.other)
    for near, far in zip(mine, yours, strict=False):
        if near.order and far.order and (near.kind, near.dialect) == (far.kind, far.dialect):
            yield from _compared(comparison, near, far)


def _compared(comparison: Comparison, near: OptimizerState, far: OptimizerState) -> Iterator[Issue]:
    case = comparison.case
    template = ("--template", case.given_against)
    hint = case.convert(*template, to=comparison.other.format)
    if len(near.order) != len(far.order):
        message = f"it lists {len(near.order):,} slots, and {far.name} of the other {len(far.order):,}: {_MANY}"
        if settings := {key.slot for key in near.order} ^ {key.slot for key in far.order}:
            message += f"; only one of them has {', '.join(sorted(settings))}, which a setting makes"
            hint = "build the optimizer there with the settings it had here (amsgrad, momentum, centered)"
        yield Issue("slot", "error", near.name, message, hint)
        return
    names = {one.name: other.name for one, other in comparison.pairs}
    crossed = [
        (one, other)
        for one, other in zip(near.order, far.order, strict=True)
        if (names.get(one.variable), one.slot) != (other.variable, other.slot)
    ]
    if crossed:
        one, other = crossed[0]
        message = (
            f"{len(crossed):,} of {len(near.order):,} slots would become another variable's, for lists are restored by "
            f"number alone: first, {one.slot} of {one.variable} becomes {other.slot} of {other.variable}"
        )
        yield Issue("slot", "error", near.name, message, hint)
