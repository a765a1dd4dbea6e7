"""Whole models of tf_keras and Keras 2, saved as .h5 or .keras, predict the same in Keras 3 once translated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import convert, verify

pytestmark = pytest.mark.oracle
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")
keras = pytest.importorskip("keras", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
# Of every generation; the zoo has nested models, shared layers, wrappers, attention
SOURCES = (
    "keras-h5/tfk_zoo_model",
    "keras-h5/tfk_adam",
    "keras-h5/tfk_rmsprop",
    "keras-h5/k23_adam",
    "keras-h5/k22_sgd",
)


def batch(model: Any) -> list[Any]:
    random = np.random.default_rng(0)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    words = [tensor.dtype.name.startswith("int") for tensor in model.inputs]
    return [
        random.integers(0, 5, (2, *shape)) if is_text else random.standard_normal((2, *shape)).astype(np.float32)
        for shape, is_text in zip(shapes, words, strict=True)
    ]


def predicted(model: Any, x: list[Any]) -> Any:
    return model.predict(x if len(x) > 1 else x[0], verbose=0)


def translated(source: Path, folder: Path, **options: Any) -> Any:
    target = folder / "model.keras"
    report = convert(source, target, to="keras-v3", flavor="keras3", **options)
    assert report.verdict == "verified", [issue for issue in report.issues if issue.severity != "note"]
    again = verify(source, target)
    assert again.verdict == "verified", [row for row in again.rows if row.outcome not in ("equal", "dropped")]
    return keras.models.load_model(target)


@pytest.mark.parametrize("name", SOURCES)
def test_a_whole_model(name: str, tmp_path: Path) -> None:
    source = FIXTURES / name / "model.h5"
    old = tf_keras.models.load_model(source, compile=False)
    x = batch(old)
    new = translated(source, tmp_path, allow_loss=True)
    if not any("hard_sigmoid" in str(layer.get_config()) for layer in old.layers):
        np.testing.assert_allclose(predicted(new, x), predicted(old, x), rtol=1e-4, atol=1e-5)
    assert int(new.optimizer.iterations) in (2, 3)


def test_an_archive_of_tf_keras(tmp_path: Path) -> None:
    old = tf_keras.models.load_model(FIXTURES / "keras-h5" / "tfk_zoo_model" / "model.h5", compile=False)
    old.save(tmp_path / "old.keras")
    new = translated(tmp_path / "old.keras", tmp_path)
    x = batch(old)
    np.testing.assert_allclose(predicted(new, x), predicted(old, x), rtol=1e-4, atol=1e-5)


def test_hard_sigmoid_is_a_loss(tmp_path: Path) -> None:
    report = convert(
        FIXTURES / "keras-h5" / "k12_sequence" / "model.h5", tmp_path / "x.keras", to="keras-v3", flavor="keras3"
    )
    assert (report.verdict, report.exit_code) == ("refused", 6)
    (loss,) = (issue for issue in report.issues if issue.severity == "loss")
    assert "hard_sigmoid" in loss.message
    assert "--allow-loss" in loss.hint
