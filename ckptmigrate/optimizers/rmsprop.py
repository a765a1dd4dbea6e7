"""RMSprop: plain, with momentum, centered.

`ms <- rho*ms + (1-rho)*g^2`; the increment is `lr*g/sqrt(ms + eps)` in TF1 and, with momentum, in legacy Keras, but
`lr*g/(sqrt(ms) + eps)` in legacy Keras without momentum. The slots mean the same everywhere.
"""

from __future__ import annotations

from ckptmigrate.issues import Issue
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


def change_rmsprop(case: Case) -> Change:
    """Slots as they are; the momentum slot that only TF1 has without momentum comes and goes."""
    momentum = case.hyper.get("momentum")
    has_slot = "momentum" in case.slots
    new, dropped, issues = {}, {}, []
    if case.dialect == "tf1" and not has_slot:
        new["momentum"] = 0.0  # TF1 has the slot without momentum too, and doesn't read it then
        momentum = 0.0
    elif case.state.dialect == "tf1" and has_slot and momentum == 0:
        dropped["momentum"] = "without momentum it holds the last increment, which nothing reads"
    if "tf1" in (case.dialect, case.state.dialect) and not momentum:
        issues.append(_placement(case, momentum))
    return Change(new_slots=new, dropped=dropped, step=unchanged(case).step, issues=tuple(issues))


def _placement(case: Case, momentum: float | None) -> Issue:
    when = "The source doesn't tell the momentum: where it is 0, this" if momentum is None else "Without momentum this"
    return Issue(
        "approximate",
        "warning",
        case.state.name,
        f"{when} is approximate: legacy Keras then adds epsilon outside the square root, TF1 inside; training goes on "
        "the closer, the smaller epsilon is against the mean square.",
        "--hyper momentum=0.9 (or 0) tells it" if momentum is None else "",
    )


_RMS, _MG = Slot("rms"), Slot("mg", is_optional=True)
_MOMENTUM = Slot("momentum", is_optional=True)
_BLOCKS = (Block(("rms",)), Block(("momentum",), "momentum"), Block(("mg",), "centered"))
_KERAS_SLOTS = (Slot("rms", "velocity"), _MOMENTUM, Slot("mg", "average_gradient", is_optional=True))
_LISTS = {"rms": "_velocities", "momentum": "_momentums", "mg": "_average_gradients"}

RMSPROP = Optimizer(
    "rmsprop",
    {
        "tf1": Spelling(
            "RMSProp",
            (Slot("rms", initial=1.0), _MG, Slot("momentum")),
            numbered=(("rms", "momentum"), ("rms", "mg", "momentum")),
        ),
        "keras-legacy": Spelling(
            "RMSprop",
            (_RMS, _MOMENTUM, _MG),
            scalars={"iter": "iter"},
            hyper={n: n for n in ("learning_rate", "decay", "rho", "momentum")},
            listed=Listed(_BLOCKS),
        ),
        "keras1": Spelling("RMSprop", (_RMS,), scalars={"iter": "iter"}, listed=Listed(_BLOCKS[:1])),
        "keras2": Spelling("RMSprop", _KERAS_SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS), _LISTS),
        "keras3": Spelling(
            "RMSprop",
            _KERAS_SLOTS,
            scalars=KERAS_STEP,
            hyper=KERAS_RATE,
            listed=Listed(_BLOCKS, ("iter", "learning_rate")),
            lists=_LISTS,
        ),
    },
    change_rmsprop,
)
