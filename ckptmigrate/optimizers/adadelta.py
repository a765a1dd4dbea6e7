"""Adadelta: the mean of squared gradients and the mean of squared updates, which mean the same in every dialect."""

from __future__ import annotations

from ckptmigrate.optimizers.epsilon import epsilon_notes
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


def change_adadelta(case: Case) -> Change:
    """Slots as they are."""
    return unchanged(case)._replace(issues=epsilon_notes(case))


_SLOTS = (Slot("accum_grad"), Slot("accum_var"))
_KERAS_SLOTS = (Slot("accum_grad", "accumulated_grad"), Slot("accum_var", "accumulated_delta_var"))
_APART = (Block(("accum_grad",)), Block(("accum_var",)))
_TOGETHER = (Block(("accum_grad", "accum_var")),)
_LISTS = {"accum_grad": "_accumulated_grads", "accum_var": "_accumulated_delta_vars"}

ADADELTA = Optimizer(
    "adadelta",
    {
        "tf1": Spelling(
            "Adadelta",
            (Slot("accum_grad", "accum"), Slot("accum_var", "accum_update")),
            numbered=(("accum_grad", "accum_var"),),
        ),
        "keras-legacy": Spelling(
            "Adadelta",
            _SLOTS,
            scalars={"iter": "iter"},
            hyper={n: n for n in ("learning_rate", "decay", "rho")},
            listed=Listed(_APART),
        ),
        "keras1": Spelling("Adadelta", _SLOTS, scalars={"iter": "iter"}, listed=Listed(_APART)),
        "keras2": Spelling("Adadelta", _KERAS_SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_TOGETHER), _LISTS),
        "keras3": Spelling(
            "Adadelta", _KERAS_SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_TOGETHER, ("iter", "learning_rate")), _LISTS
        ),
    },
    change_adadelta,
)
