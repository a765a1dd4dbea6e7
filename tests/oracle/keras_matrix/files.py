"""What Keras and its users save and load: for each kind of file how it is written, and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from keras_matrix.models import Model, Subject, dtype_of

tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")
keras = pytest.importorskip("keras", reason="the tensorflow extra isn't installed")

KERAS: Mapping[str, ModuleType] = {"tf_keras": tf_keras, "keras3": keras}
OTHER = {"tf_keras": "keras3", "keras3": "tf_keras"}

# Kind of file -> (format, file name)
KINDS = {
    ".h5": ("keras-h5", "weights.h5"),
    "whole .h5": ("keras-h5", "whole.h5"),
    ".weights.h5": ("keras-v3", "m.weights.h5"),
    ".weights.json": ("keras-v3", "m.weights.json"),
    ".keras": ("keras-v3", "m.keras"),
    "tf2": ("tf2", "tf2"),
    "savedmodel": ("savedmodel", "savedmodel"),
    "export()": ("savedmodel", "exported"),
    "tf1": ("tf1", "tf1"),
    "safetensors": ("safetensors", "m.safetensors"),
    "npz": ("npz", "m.npz"),
}

# Kinds that hold arrays by name and nothing else
ARRAYS = ("tf1", "safetensors", "npz")

_SHARD_GB = 1000 / 1024**3  # two and more of any of the models


# Saving, as users do


def _by_saver(model: Model, path: Path) -> None:
    variables = {name: w if isinstance(w, tf.Variable) else w.value for name, w in _named(model).items()}
    tf.compat.v1.train.Saver(variables).save(None, str(path))


def _safetensors(model: Model, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.asarray(w).copy(order="C") for name, w in _named(model).items()}, path)


def _named(model: Model) -> dict[str, Any]:
    """Weights by name.

    Raises:
        ValueError: Two have one name.
    """
    named = {getattr(w, "path", w.name).removesuffix(":0"): w for w in model.weights if dtype_of(w)}
    if len(named) < sum(bool(dtype_of(w)) for w in model.weights):
        raise ValueError("two weights have one name")
    return named


_ALIKE: Mapping[str, Callable[[Model, Path], object]] = {
    "whole .h5": lambda m, p: m.save(str(p)),
    ".weights.h5": lambda m, p: m.save_weights(str(p)),
    ".keras": lambda m, p: m.save(str(p)),
    "tf1": _by_saver,
    "safetensors": _safetensors,
    "npz": lambda m, p: np.savez(p, **{name: np.asarray(w) for name, w in _named(m).items()}),
}
SAVED: Mapping[str, Mapping[str, Callable[[Model, Path], object]]] = {
    "tf_keras": {
        ".h5": lambda m, p: m.save_weights(str(p)),
        **_ALIKE,
        "tf2": lambda m, p: m.save_weights(str(p)),
        "savedmodel": lambda m, p: m.save(str(p), save_format="tf"),
        "export()": lambda m, p: m.export(str(p)),
    },
    "keras3": {
        **_ALIKE,
        ".weights.json": lambda m, p: m.save_weights(str(p), max_shard_size=_SHARD_GB),
        "tf2": lambda m, p: tf.train.Checkpoint(m).write(str(p)),
        "savedmodel": lambda m, p: tf.saved_model.save(m, str(p)),
        "export()": lambda m, p: m.export(str(p), verbose=False),
    },
}


# Loading, as users do


def load(k: str, subject: Subject, fresh: Model, kind: str, path: Path) -> Model:
    """The model with what a file holds: the fresh one, or one built from the file's configuration.

    Raises:
        AssertionError: Something stays unmatched.
    """
    if kind in ("whole .h5", ".keras"):
        return KERAS[k].models.load_model(str(path), custom_objects=subject.own(KERAS[k]), compile=False)
    if kind in ("tf2", "savedmodel"):
        if kind == "savedmodel":
            tf.saved_model.load(str(path))
        prefix = str(path / "variables" / "variables" if kind == "savedmodel" else path)
        status = fresh.load_weights(prefix) if k == "tf_keras" else tf.train.Checkpoint(fresh).read(prefix)
        status.assert_existing_objects_matched()
        status.assert_nontrivial_match()
    else:
        fresh.load_weights(str(path))
    return fresh


def arrays(kind: str, path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """What a file of arrays holds, as its own library reads it."""
    if kind == "tf1":
        reader = tf.train.load_checkpoint(str(path))
        return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    if kind == "safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if not name.startswith("__ckptmigrate__")}


def assign(fresh: Model, values: Mapping[str, np.ndarray[Any, Any]]) -> Model:
    """The model with values by name."""
    for name, weight in _named(fresh).items():
        weight.assign(values[name])
    return fresh


def is_whole(path: Path) -> bool:
    """Whether an .h5 file holds a configuration, without which it is one of weights."""
    with h5py.File(path) as file:
        return "model_config" in file.attrs
