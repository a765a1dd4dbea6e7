"""Adagrad.

`a <- a + g^2`. The increment is `lr*g/sqrt(a)` in TF1, `lr*g/(sqrt(a) + eps)` in multi-backend and legacy Keras,
`lr*g/sqrt(a + eps)` in the two Keras of today. The sum starts at 0.1, in multi-backend Keras at 0.
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

# Where epsilon is added.
_PLACES = {
    "tf1": "nowhere",
    "keras1": "outside the square root",
    "keras-legacy": "outside the square root",
    "keras2": "inside the square root",
    "keras3": "inside the square root",
}


def change_adagrad(case: Case) -> Change:
    """The sums as they are; where epsilon is added differs."""
    source, target = _PLACES[case.state.dialect], _PLACES[case.dialect]
    plain = unchanged(case)
    return plain if source == target else plain._replace(issues=(_placement(case, source, target),))


def _placement(case: Case, source: str, target: str) -> Issue:
    where = f"epsilon is added {target} in {case.dialect}, {source} in {case.state.dialect}"
    if case.state.dialect == "keras1":
        text = f"{where}: approximate where a sum of squares, which starts at 0 here, is not far above epsilon."
        return Issue("approximate", "warning", case.state.name, text)
    text = f"{where}: with its default of 1e-7 and sums from 0.1 on, increments differ by less than a millionth."
    return Issue("approximate", "note", case.state.name, text)


_SLOTS = (Slot("accumulator", initial=0.1),)
_BLOCKS = (Block(("accumulator",)),)
_LISTS = {"accumulator": "_accumulators"}

ADAGRAD = Optimizer(
    "adagrad",
    {
        "tf1": Spelling("Adagrad", _SLOTS, numbered=(("accumulator",),)),
        "keras-legacy": Spelling(
            "Adagrad",
            _SLOTS,
            scalars={"iter": "iter"},
            hyper={n: n for n in ("learning_rate", "decay")},
            listed=Listed(_BLOCKS),
        ),
        "keras1": Spelling("Adagrad", (Slot("accumulator"),), scalars={"iter": "iter"}, listed=Listed(_BLOCKS)),
        "keras2": Spelling("Adagrad", _SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS), _LISTS),
        "keras3": Spelling(
            "Adagrad", _SLOTS, (), KERAS_STEP, KERAS_RATE, Listed(_BLOCKS, ("iter", "learning_rate")), _LISTS
        ),
    },
    change_adagrad,
)
