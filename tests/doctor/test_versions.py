"""The Keras that wrote a file, and those that are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

import ckptmigrate
from ckptmigrate.doctor.case import Case
from ckptmigrate.doctor.versions import examine_versions

ROOT = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.mark.parametrize(
    ("fixture", "installed", "message", "hint"),
    [
        (
            "keras-h5/k1_adam/model.h5",
            {"keras": "3.15.1"},
            "a whole model of Keras 1.2.2, and Keras 3.15.1",
            "--to keras-v3",
        ),
        (
            "keras-h5/k22_adam/model.h5",
            {"keras": "3.0.0"},
            "a whole model of Keras 2.2.4, and Keras 3.0.0",
            "--to keras-v3",
        ),
        (
            "keras-h5/k22_adam/model.h5",
            {"keras": "3.0.0", "tf_keras": "2.18.0"},
            "a whole model of Keras 2.2.4",
            "tf_keras 2.18.0 is installed: tf_keras.models.load_model reads it",
        ),
        (
            "keras-v3/keras3_adam/m.keras",
            {"keras": "3.1.0"},
            "written by Keras 3.15.1, newer than",
            "pip install 'keras>=3.15.1'",
        ),
        ("keras-v3/keras3_adam/m.keras", {"keras": "3.15.0"}, "", ""),
        ("keras-h5/k22_adam/model.h5", {"keras": "2.15.0"}, "", ""),
        ("keras-h5/k22_adam/model.h5", {}, "", ""),
        ("keras-h5/k22_weights/model.h5", {"keras": "3.0.0"}, "", ""),
        ("tf1/adam/model.ckpt-3", {"keras": "3.0.0"}, "", ""),
    ],
)
def test_versions(fixture: str, installed: dict[str, str], message: str, hint: str) -> None:
    with ckptmigrate.open(ROOT / fixture) as checkpoint:
        found = list(examine_versions(Case(fixture, checkpoint, installed=installed)))
    assert [(i.severity, i.message[: len(message)]) for i in found] == [("note", message)] * bool(message)
    assert all(i.hint.endswith(hint) for i in found)
