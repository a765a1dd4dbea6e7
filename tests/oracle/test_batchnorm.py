"""Batch normalisations as Keras writes them, renormalised and synchronised ones among them: every part by its name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate.batchnorm import batch_norms

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

SCALES = frozenset({"gamma", "beta"})  # which of the two it is, a file of weights alone doesn't tell
STATISTICS = ("mean", "variance")
RENORM = (*STATISTICS, "moving_stddev", "renorm_mean", "renorm_stddev")
SETTINGS: list[tuple[dict[str, bool], tuple[str, ...]]] = [
    ({}, ("gamma", "beta", *STATISTICS)),
    ({"scale": False}, ("beta", *STATISTICS)),
    ({"center": False}, ("gamma", *STATISTICS)),
    ({"scale": False, "center": False}, STATISTICS),
    ({"synchronized": True}, ("gamma", "beta", *STATISTICS)),
    ({"renorm": True}, ("gamma", "beta", *RENORM)),
    ({"renorm": True, "scale": False, "center": False}, RENORM),
]


def saved(keras: Any, folder: Path, settings: dict[str, bool]) -> dict[str, Path]:
    """A model in every file that this Keras writes; each variable holds its number."""
    layer = keras.layers.BatchNormalization(name="bn", **settings)
    model = keras.Sequential([keras.layers.InputLayer((3,)), layer, keras.layers.Dense(2, name="d")])
    for number, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, number, np.float32))
    files = {kind: folder / f"m.{kind}" for kind in ("h5", "keras", "weights.h5")}
    for kind, path in files.items():
        (model.save_weights if kind == "weights.h5" else model.save)(str(path))
    return {**files, "ckpt": Path(tf.train.Checkpoint(model=model).save(str(folder / "ckpt")))}


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
@pytest.mark.parametrize(("settings", "parts"), SETTINGS, ids=[" ".join(s) or "usual" for s, _ in SETTINGS])
def test_every_part(package: str, settings: dict[str, bool], parts: tuple[str, ...], tmp_path: Path) -> None:
    keras = pytest.importorskip(package, reason="the tensorflow extra isn't installed")
    for kind, path in saved(importlib.import_module(keras.__name__), tmp_path, settings).items():
        with ckptmigrate.open(path) as checkpoint:
            (group,) = batch_norms(checkpoint).values()
            values = {part: checkpoint.variables[name].tensor.read()[0] for part, name in group.parts.items()}
        told = parts if kind != "weights.h5" or len(SCALES.intersection(parts)) != 1 else ("vars/0", *parts[1:])
        assert values == {part: number for number, part in enumerate(told)}, kind
