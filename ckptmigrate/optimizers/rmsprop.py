"""RMSprop: plain, with momentum, centered.

`ms <- rho*ms + (1-rho)*g^2`; the increment is `lr*g/sqrt(ms + eps)` in TF1, the newer Keras and, with momentum, in
legacy Keras, but `lr*g/(sqrt(ms) + eps)` in legacy Keras without momentum and in the Keras before, which has no
momentum here. The slots mean the same everywhere.
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
    momentum = 0.0 if case.state.dialect == "keras1" else case.hyper.get("momentum")
    has_slot = "momentum" in case.slots
    if momentum is None and not has_slot:
        momentum = 0.0
    if momentum is None and case.state.dialect != "tf1":
        momentum = _SOME
    if momentum is None and case.place is not None and case.dialect != "tf1":
        momentum = _SOME if case.has_place("momentum") else 0.0
    new, dropped, issues = {}, {}, []
    if case.dialect == "tf1" and not has_slot:
        new["momentum"] = 0.0  # TF1 has the slot without momentum too, and doesn't read it then
    elif case.state.dialect == "tf1" and has_slot and momentum == 0:
        dropped["momentum"] = "without momentum it holds the last increment, which nothing reads"
    elif momentum is None and case.dialect != "keras-legacy":
        issues.append(_needs_momentum(case))
    if case.dialect == "keras1":
        lost = sorted(case.slots - dropped.keys() - {"rms"})
        dropped |= dict.fromkeys(lost, "RMSprop has no momentum there, and isn't centered")
        issues += [Issue("slot", "loss", case.state.name, f"slot {n}: {dropped[n]}.", _LOSS_HINT) for n in lost]
    places = {_place(dialect, momentum) for dialect in (case.dialect, case.state.dialect)}
    if len(places) > 1:
        issues.append(_placement(case, momentum))
    return Change(new_slots=new, dropped=dropped, step=unchanged(case).step, issues=tuple(issues))


_SOME = 1.0  # a momentum that is used, whatever its value
_LOSS_HINT = "--allow-loss goes on without it, --dialect keras-legacy keeps it"


def _place(dialect: str, momentum: float | None) -> str:
    """Where epsilon is added to the mean square."""
    if dialect == "keras1" or (dialect == "keras-legacy" and not momentum):
        return "outside"
    return "inside"


def _needs_momentum(case: Case) -> Issue:
    text = f"TF1 stores a slot momentum without momentum, too, {case.dialect} doesn't, and the source doesn't tell."
    hint = "--hyper momentum=0.9 (or 0), or --template with a checkpoint of the target"
    return Issue("needed", "error", case.state.name, text, hint)


def _placement(case: Case, momentum: float | None) -> Issue:
    when = "The source doesn't tell the momentum: where it is 0, this" if momentum is None else "This"
    where = f"{case.dialect} adds epsilon {_place(case.dialect, momentum)} the square root"
    return Issue(
        "approximate",
        "warning",
        case.state.name,
        f"{when} is approximate: {where}, {case.state.dialect} {_place(case.state.dialect, momentum)}. Steps differ by "
        "about epsilon/(2*rms) of themselves: with 1e-7 by 5e-6 where gradients are about 0.1, 5e-4 where about 0.01.",
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
