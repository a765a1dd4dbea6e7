"""Keras and tf_keras load the Keras v3 files that we write, and predict as before."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ckptmigrate import convert

pytestmark = pytest.mark.oracle

KERAS = ["keras", "tf_keras"]


@pytest.fixture(scope="module")
def models(make: Any) -> ModuleType:
    pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
    return make("keras_v3")


@pytest.fixture
def k(request: pytest.FixtureRequest, models: ModuleType) -> ModuleType:
    """keras or tf_keras."""
    library = getattr(models, request.param)
    library.backend.clear_session()
    return library


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.random((2, 8, 8, 3), np.float32), rng.integers(0, 7, (2, 4)).astype(np.int32)]


def outputs(model: Any) -> np.ndarray:
    """Eagerly: Normalization's statistics are constants of a traced function."""
    return np.asarray(model(inputs(), training=False))


def blank(model: Any) -> Any:
    """The same model with other values."""
    for weight in model.weights:
        if "float" in str(weight.dtype):
            weight.assign(np.full(tuple(weight.shape), 0.25, np.float32))
    return model


def converted(source: Path, target: Path, **options: Any) -> Path:
    report = convert(source, target, to="keras-v3", **options)
    assert (report.exit_code, report.verdict) == (0, "verified"), report.issues
    return target


@pytest.mark.parametrize("k", KERAS, indirect=True)
def test_every_kind_of_layer(k: ModuleType, models: ModuleType, tmp_path: Path) -> None:
    """From a legacy file the configuration alone tells the groups."""
    model, loaded = models.layers(k), models.layers(k)
    model.get_layer("norm").finalize_state()
    expected = outputs(model)
    assert not np.allclose(outputs(blank(loaded)), expected)
    for start in ("m.h5", "m.keras", "m.weights.h5"):
        models.saved(model, str(tmp_path / start))
        ends = [f"{start}.weights.h5"] + ([f"{start}.weights.json"] if k is models.keras else [])
        for end in ends:
            options = {"max_shard_bytes": 1000} if end.endswith(".json") else {}
            target = converted(tmp_path / start, tmp_path / end, **options)
            blank(loaded).load_weights(target)
            assert np.array_equal(outputs(loaded), expected), end
    template = models.saved(loaded, str(tmp_path / "template.keras"))
    for start, options in (("m.keras", {}), ("m.h5", {"template": template}), ("m.weights.h5", {"template": template})):
        whole = k.models.load_model(converted(tmp_path / start, tmp_path / f"{start}.out.keras", **options))
        assert np.array_equal(outputs(whole), expected), start


@pytest.mark.parametrize("k", KERAS, indirect=True)
@pytest.mark.parametrize("start", ["m.h5", "m.keras"])
@pytest.mark.parametrize("optimizer", ["Adam", "RMSprop", "Nadam"])
def test_optimizers_go_on(k: ModuleType, start: str, optimizer: str, models: ModuleType, tmp_path: Path) -> None:
    """The list is what a built optimizer of the same kind takes, number by number."""
    settings = {"momentum": 0.9, "centered": True} if optimizer == "RMSprop" else {}
    model = models.train(models.small(k), getattr(k.optimizers, optimizer)(0.01, **settings), 3)
    models.saved(model, str(tmp_path / start))
    dialect = "keras3" if k is models.keras else "keras2"
    target = converted(tmp_path / start, tmp_path / "out.weights.h5", dialect=dialect)
    loaded = blank(models.small(k))
    loaded.compile(getattr(k.optimizers, optimizer)(0.5, **settings), "mse")
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(target)
    for mine, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        assert np.array_equal(np.asarray(mine), np.asarray(theirs)), mine.name


def test_a_subclassed_model_by_way_of_arrays(models: ModuleType, tmp_path: Path) -> None:
    model = models.called(models.Subclassed())
    model.save_weights(tmp_path / "m.weights.h5")
    assert convert(tmp_path / "m.weights.h5", tmp_path / "m.npz", to="npz").exit_code == 0
    target = converted(tmp_path / "m.npz", tmp_path / "out.weights.h5")
    loaded = blank(models.called(models.Subclassed()))
    loaded.load_weights(target)
    image = np.ones((1, 3), np.float32)
    assert np.array_equal(np.asarray(loaded(image)), np.asarray(model(image)))


@pytest.mark.parametrize("k", KERAS, indirect=True)
def test_an_object_checkpoint_into_a_template(k: ModuleType, models: ModuleType, tmp_path: Path) -> None:
    """Names by the layers bring the two together; a template's values are not taken."""
    import tensorflow as tf

    model = models.small(k)
    tf.train.Checkpoint(model).write(str(tmp_path / "ckpt"))
    models.saved(blank(models.small(k)), str(tmp_path / "template.keras"))
    target = converted(tmp_path / "ckpt", tmp_path / "out.keras", template=tmp_path / "template.keras")
    loaded = k.models.load_model(target)
    image = np.ones((1, 3), np.float32)
    assert np.array_equal(loaded.predict(image, verbose=0), model.predict(image, verbose=0))


def test_vocabularies_are_carried(models: ModuleType, tmp_path: Path) -> None:
    model = models.vocabularies(models.keras)
    models.saved(model, str(tmp_path / "m.keras"))
    loaded = models.keras.models.load_model(converted(tmp_path / "m.keras", tmp_path / "out.keras"))
    assert loaded.get_layer("words").get_vocabulary() == ["[UNK]", "a", "b", "c"]


def test_small_floats(models: ModuleType, tmp_path: Path) -> None:
    model = models.half()
    model.save_weights(tmp_path / "m.weights.h5")
    loaded = models.half()
    blank(loaded)
    loaded.load_weights(converted(tmp_path / "m.weights.h5", tmp_path / "out.weights.h5"))
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(model.weights, loaded.weights, strict=True))
