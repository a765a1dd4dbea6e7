"""A TF2 checkpoint becomes a TF1 one that a Saver restores into a graph, slots included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

TF2 = Path(__file__).resolve().parents[2] / "fixtures" / "tf2"
LAYERS = {"d1/kernel": (3, 4), "d1/bias": (4,), "bn/gamma": (4,), "bn/beta": (4,), "d2/kernel": (4, 1)}
STATISTICS = {"bn/moving_mean": (4,), "bn/moving_variance": (4,)}
PATHS = {"d1": 0, "bn": 1, "d2": 2}


def value_key(name, slot=""):
    layer, leaf = name.split("/")
    middle = f"/.OPTIMIZER_SLOT/optimizer/{slot}" if slot else ""
    return f"model/layer_with_weights-{PATHS[layer]}/{leaf}{middle}/.ATTRIBUTES/VARIABLE_VALUE"


def test_saver_restores_weights_and_adam(tmp_path):
    report = convert(TF2 / "keras_adam" / "ckpt-1", tmp_path / "model.ckpt", to="tf1", names="full_name")
    assert report.exit_code == 0, report.issues
    source, v1 = tf.train.load_checkpoint(str(TF2 / "keras_adam" / "ckpt-1")), tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        weights = {n: v1.get_variable(n, s, use_resource=True) for n, s in LAYERS.items()}
        statistics = {n: v1.get_variable(n, s, use_resource=True, trainable=False) for n, s in STATISTICS.items()}
        optimizer = v1.train.AdamOptimizer(0.01)
        optimizer.apply_gradients([(tf.ones_like(w), w) for w in weights.values()])
        v1.train.Saver().restore(session, str(tmp_path / "model.ckpt"))
        for name, variable in (weights | statistics).items():
            np.testing.assert_array_equal(session.run(variable), source.get_tensor(value_key(name)))
        for name, variable in weights.items():
            for slot in ("m", "v"):
                restored = session.run(optimizer.get_slot(variable, slot))
                np.testing.assert_array_equal(restored, source.get_tensor(value_key(name, slot)))
        powers = session.run(optimizer._get_beta_accumulators())
        np.testing.assert_allclose(powers, [0.9**4, 0.999**4], rtol=1e-6)


@pytest.mark.parametrize("name", ["keras_adam", "keras_rmsprop_plain", "keras_sgd_momentum", "functional", "module"])
def test_there_and_back_gives_the_same_values(name, tmp_path, tensors_of):
    """tf2 -> npz -> tf2: TensorFlow reads every value as it was."""
    path = TF2 / name / "ckpt-1"
    assert convert(path, tmp_path / "there.npz", to="npz").exit_code == 0
    assert convert(tmp_path / "there.npz", tmp_path / "back", to="tf2", template=path).exit_code == 0
    assert tensors_of(tmp_path / "back") == tensors_of(path)
