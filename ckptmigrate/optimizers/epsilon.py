"""Epsilon: a number in every update equation and in no checkpoint.

Facts: the defaults in tensorflow/python/training/*.py, keras/optimizers.py (1.2.2, 2.3.1) and the two Keras of today.
"""

from __future__ import annotations

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.record import Case


def epsilon_notes(case: Case) -> tuple[Issue, ...]:
    """A note where the default of epsilon differs between the two dialects: TF1 has 1e-8, Keras since 2.0 1e-7."""
    if (case.state.dialect == "tf1") == (case.dialect == "tf1"):
        return ()
    text = (
        "epsilon is in no checkpoint, and its default differs (TF1 1e-8, Keras 1e-7): set it where you build the "
        "target."
    )
    return (Issue("approximate", "note", case.state.name, text),)
