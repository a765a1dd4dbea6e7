"""tf_keras and Keras 3 load the .h5 files that we write: weights into fresh models, models with their optimizers."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}

keras = pytest.importorskip("keras", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

from keras.src.legacy.saving import legacy_h5_format  # noqa: E402

from ckptmigrate import convert  # noqa: E402
from ckptmigrate.formats import open_checkpoint  # noqa: E402

pytestmark = pytest.mark.oracle

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
KERAS = {"tf_keras": tf_keras, "keras3": keras}


@pytest.fixture(scope="module")
def maker(make):
    return make("keras_h5")


@pytest.fixture
def converted(tmp_path):
    """A fixture in keras-h5, by way of the formats named."""

    def run(source, *through, **options):
        path = FIXTURES / source
        for number, to in enumerate((*through, "keras-h5")):
            target = tmp_path / f"{number}{'.h5' if to == 'keras-h5' else '.npz' if to == 'npz' else ''}"
            report = convert(path, target, to=to, **(options if to == "keras-h5" else {}))
            assert report.verdict == "verified", report.issues
            path = target
        return path

    return run


def same(model, other):
    """Every weight of two models, in order."""
    for got, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def fresh(k, build):
    """The same model with other values."""
    k.backend.clear_session()
    model = build(k)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    return model


def reference(k, build):
    k.backend.clear_session()
    return build(k)


@pytest.mark.parametrize("flavor", KERAS)
@pytest.mark.parametrize("source", ["tfk_zoo", "k3_zoo"])
def test_weights_of_every_kind_of_layer(source, flavor, maker, converted):
    """Files of one Keras load in the other: the order is the same."""
    k = KERAS[flavor]
    path = converted(f"keras-h5/{source}/model.h5", flavor=flavor)
    expected, model = reference(k, maker.zoo), fresh(k, maker.zoo)
    model.load_weights(str(path))
    same(model, expected)


@pytest.mark.parametrize("flavor", KERAS)
@pytest.mark.parametrize("through", ["npz", "safetensors"])
def test_weights_by_way_of_a_container(flavor, through, maker, converted):
    source = {"tf_keras": "tfk_subclassed", "keras3": "k3_subclassed"}[flavor]
    path = converted(f"keras-h5/{source}/model.h5", through)
    expected, model = reference(KERAS[flavor], maker.subclassed), fresh(KERAS[flavor], maker.subclassed)
    model.load_weights(str(path))
    same(model, expected)


def test_long_names(maker, converted):
    path = converted("keras-h5/tfk_long_names/model.h5")
    expected, model = reference(tf_keras, maker.long_names), fresh(tf_keras, maker.long_names)
    model.load_weights(str(path))
    same(model, expected)


def optimizer_values(model, path=None):
    """Keras 3 builds a loaded .h5's optimizer for no variables, and then leaves its state out: done here by hand."""
    optimizer = model.optimizer
    if path is not None and isinstance(model, keras.Model):
        optimizer = type(optimizer).from_config(optimizer.get_config())
        optimizer.build(model.trainable_variables)
        with h5py.File(path) as file:
            listed = [np.asarray(w) for w in legacy_h5_format.load_optimizer_weights_from_hdf5_group(file)]
        assert len(listed) == len(optimizer.variables)
        optimizer.set_weights(listed)
    variables = optimizer.variables
    return [np.asarray(v) for v in (variables() if callable(variables) else variables)]


WHOLE = [
    "tfk_zoo_model",
    "k3_zoo_model",
    *(f"tfk_{name}" for name in ("adam", "amsgrad", "rmsprop", "adadelta", "adafactor", "sgd_ema")),
    *(f"k3_{name}" for name in ("nadam", "rmsprop", "sgd", "schedule", "lion_ema")),
]


@pytest.mark.parametrize("source", WHOLE)
def test_whole_models_with_their_optimizers(source, converted):
    """As Keras loads the original: the same weights, the same optimizer."""
    k = tf_keras if source.startswith("tfk") else keras
    k.backend.clear_session()
    named = {"mse": k.losses.mean_squared_error}  # Keras 3 doesn't find the name that it wrote
    original, path = FIXTURES / "keras-h5" / source / "model.h5", converted(f"keras-h5/{source}/model.h5")
    expected = k.models.load_model(str(original), custom_objects=named)
    model = k.models.load_model(str(path), custom_objects=named)
    same(model, expected)
    for got, value in zip(optimizer_values(model, path), optimizer_values(expected, original), strict=True):
        np.testing.assert_array_equal(got, value)


def test_object_based_weights_take_the_layers_of_a_template(maker, converted):
    """A tf.train.Checkpoint of the plain model, laid out like a file of it."""
    template = FIXTURES / "keras-h5" / "tfk_adam" / "model.h5"
    path = converted("tf2/keras_adam/ckpt-1", template=str(template), optimizer="drop")
    model = tf_keras.models.load_model(str(path), compile=False)
    with open_checkpoint(FIXTURES / "tf2/keras_adam/ckpt-1") as source:
        values = {n.rpartition("model/")[2]: v.tensor.read() for n, v in source.variables.items()}
    for layer, number, name in (("d1", 0, "0/kernel"), ("bn", 3, "1/moving_variance"), ("d2", 0, "2/kernel")):
        got = model.get_layer(layer).get_weights()[number]
        np.testing.assert_array_equal(got, values[f"layer_with_weights-{name}"])


def test_legacy_state_of_a_checkpoint_goes_on_in_a_file(maker, converted):
    """The state of tf_keras' legacy Adam: `set_weights` takes the list as it stands."""
    path = converted("tf2/keras_adam/ckpt-1", template=str(FIXTURES / "keras-h5" / "tfk_legacy_amsgrad" / "model.h5"))
    with open_checkpoint(path) as written:
        (state,) = written.optimizers
        assert (state.kind, state.dialect, state.step, state.unbound) == ("adam", "keras-legacy", 3, ())
        listed = [s.tensor.read() for s in (*state.scalars.values(), *state.slots.values())]
    model = reference(tf_keras, maker.plain)
    optimizer = tf_keras.optimizers.legacy.Adam(0.01)
    optimizer._create_all_weights(model.trainable_variables)
    optimizer.set_weights(listed)
    for got, value in zip(optimizer.get_weights(), listed, strict=True):
        np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize(("source", "flavor"), [("keras3_adam", "keras3"), ("keras2_adam", "tf_keras")])
def test_archives_become_models(source, flavor, converted):
    """The configuration of a .keras file serves: as Keras loads the archive."""
    k = KERAS[flavor]
    k.backend.clear_session()
    (archive,) = (FIXTURES / "keras-v3" / source).glob("*.keras")
    named = {"mse": k.losses.mean_squared_error}
    expected = k.models.load_model(str(archive))
    path = converted(archive.relative_to(FIXTURES))
    model = k.models.load_model(str(path), custom_objects=named)
    same(model, expected)
    for got, value in zip(optimizer_values(model, path), optimizer_values(expected), strict=True):
        np.testing.assert_array_equal(got, value)
