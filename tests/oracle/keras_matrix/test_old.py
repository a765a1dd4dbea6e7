"""Committed files of older Keras: into every kind that today's tf_keras loads, into the same model, newly built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from keras_matrix.cells import Bench, Place, loaded, made, tried
from keras_matrix.files import KERAS, SAVED
from keras_matrix.models import Model, Subject

pytestmark = pytest.mark.oracle

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
KEPT = (".h5", "whole .h5", ".weights.h5", ".keras", "tf2", "savedmodel", "tf1", "safetensors", "npz")


class Weights(Subject):
    """A model that is judged by its weights: Keras 2's fixtures have negative variances, and predict nothing."""

    def answer(self, model: Model) -> np.ndarray[Any, Any]:
        return np.concatenate([weight.ravel() for weight in model.get_weights()])


def _estimated(k: ModuleType) -> Model:
    """As fixtures/make/tf1.py has it."""
    layers = [k.layers.Dense(3, name="d1"), k.layers.BatchNormalization(name="bn"), k.layers.Dense(1, name="d2")]
    return k.Sequential([k.Input((2,)), *layers])


# Fixture -> (what kind it is, how its model is built: by fixtures/make/keras_h5.py or by us; shape of inputs)
OLD: dict[str, tuple[str, str | Callable[[ModuleType], Model], tuple[int, ...]]] = {
    "keras-h5/k22_nested/model.h5": (".h5", "old_nested", (4, 3)),
    "keras-h5/k22_adam/model.h5": ("whole .h5", "old_model", (6, 6, 1)),
    "keras-h5/k23_weights/model.h5": (".h5", "old_model", (6, 6, 1)),
    "tf1/keras_adam/model.ckpt": ("tf1", _estimated, (2,)),
}


@pytest.mark.parametrize("source", OLD)
def test_files_of_older_keras(source: str, make: Any, tmp_path: Path) -> None:
    kind, build, shape = OLD[source]
    builder = getattr(make("keras_h5"), build) if isinstance(build, str) else build
    question = np.random.default_rng(3).normal(size=(2, *shape)).astype("float32")
    subject, k = Weights(builder, question), KERAS["tf_keras"]
    bench = Bench(
        "tf_keras", source, subject, subject.anew(k), None, question, made(tmp_path / "anew"), dict.fromkeys(KEPT, "")
    )
    SAVED["tf_keras"][".keras"](subject.blank(bench.fresh), bench.folder / "m.keras")
    loaded(bench, "tf1" if kind == "tf1" else ".h5", FIXTURES / source)  # what today's Keras itself makes of it
    bench = replace(bench, wanted=subject.answer(bench.fresh))
    assert np.abs(bench.wanted).max() > 0
    for target in KEPT:
        place = Place("tf_keras", kind, target, source)
        found = tried(bench, place, FIXTURES / source, made(tmp_path / target))
        assert (target, found.verdict in ("yes", "template"), found.why, found.wrong) == (target, True, (), "")
