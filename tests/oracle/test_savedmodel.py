"""SavedModels that we wrote, loaded by TensorFlow: variables alone, and new values under a template's graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.framework import savedmodel
from ckptmigrate.table import Tensor

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODELS = FIXTURES / "savedmodel"
TEMPLATES = sorted(p.name for p in MODELS.iterdir())
SOURCES = [
    "tf1/adam/model.ckpt-3",
    "tf1/dtypes21/dtypes",
    *(f"tf2/{name}" for name in ("module", "keras_adam", "keras3_adam", "gan", "stateful", "ema")),
    "frozen-graph/tf1",
    *(f"savedmodel/{name}/model" for name in TEMPLATES),
]
X = np.arange(12, dtype=np.float32).reshape(4, 3) / 12


def judged(path):
    with open_checkpoint(path) as checkpoint:
        return savedmodel.check(checkpoint), checkpoint


@pytest.mark.parametrize("source", SOURCES)
def test_variables_alone_are_loaded(source, tmp_path):
    assert convert(FIXTURES / source, tmp_path / "out", to="savedmodel").verdict == "verified"
    finding, checkpoint = judged(tmp_path / "out")
    assert finding.issues == ()
    plain = [v for v in checkpoint.variables.values() if ".ATTRIBUTES" not in v.name]
    assert finding.details["restored"] >= len(plain) - 6  # types without kernels: all of tf1/dtypes21 but one


def test_lists_and_dicts_are_lists_and_dicts(tmp_path):
    convert(FIXTURES / "tf2" / "module", tmp_path / "out", to="savedmodel")
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    assert loaded.m.blocks[1].shape == (3,)
    assert loaded.m.table["a/b"].numpy() == 3
    assert loaded.m.child.same is loaded.m.w


def test_the_bundle_inside_is_a_checkpoint(tmp_path):
    """Slots too, which a loaded SavedModel doesn't show."""
    import tf_keras

    convert(FIXTURES / "savedmodel" / "tf_keras_adam" / "model", tmp_path / "out", to="savedmodel")
    layers = tf_keras.layers
    parts = [layers.Dense(4), layers.BatchNormalization(), layers.Dense(1, use_bias=False)]
    model = tf_keras.Sequential([tf_keras.Input((3,)), *parts])
    model.compile(tf_keras.optimizers.legacy.Adam(), "mse")
    model.train_on_batch(X, X[:, :1])
    status = tf.train.Checkpoint(model).read(str(tmp_path / "out" / "variables" / "variables"))
    status.assert_existing_objects_matched()
    assert model.optimizer.iterations.numpy() == 2
    with open_checkpoint(tmp_path / "out") as checkpoint:
        slots = {(k.variable, k.slot): s.tensor.read() for k, s in checkpoint.optimizers[0].slots.items()}
    slot = model.optimizer.get_slot(model.layers[0].kernel, "m")
    assert np.array_equal(slot.numpy(), slots["layer_with_weights-0/kernel", "m"])


def served(path, name="serving_default"):
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures[name]
    (argument,) = signature.structured_input_signature[1]
    (result,) = signature(**{argument: tf.constant(X)}).values()
    return result.numpy()


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n not in ("tf_keras_layers", "tf1_adam")])
def test_the_templates_functions_compute_with_new_values(name, tmp_path):
    """All weights halved, which a linear network with BatchNormalization tells from its own and from half updates."""
    template = MODELS / name / "model"
    with open_checkpoint(template) as checkpoint:
        weights = {
            v.name: v.tensor.read()
            for v in checkpoint.variables.values()
            if v.role in ("weight", "bn_mean", "bn_variance")
        }
    np.savez(tmp_path / "new.npz", **{key: value / 2 for key, value in weights.items()})
    report = convert(tmp_path / "new.npz", tmp_path / "out", to="savedmodel", template=template)
    assert report.verdict == "verified", report.issues
    finding, _ = judged(tmp_path / "out")
    assert finding.issues == ()
    before, after = served(template), served(tmp_path / "out")
    assert before.shape == after.shape
    assert np.abs(before - after).max() > 1e-3
    back = convert(template, tmp_path / "back", to="savedmodel", template=tmp_path / "out")
    assert back.verdict == "verified"
    assert np.array_equal(served(tmp_path / "back"), before)


def test_a_tf1_graph_computes_with_new_values(tmp_path):
    template, v1 = MODELS / "tf1_adam" / "model", tf.compat.v1
    with open_checkpoint(template) as checkpoint:
        weights = {v.name: v.tensor.read() for v in checkpoint.variables.values() if v.role == "weight"}
    new = {key: value + 1 for key, value in weights.items()}
    np.savez(tmp_path / "new.npz", **new)
    convert(tmp_path / "new.npz", tmp_path / "out", to="savedmodel", template=template)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.saved_model.load(session, ["serve", "gpu"], str(tmp_path / "out"))
        y = session.run("y:0", {"x:0": X})
        assert session.run("global_step:0") == 3
    expected = ((X @ new["scope/kernel"] + new["scope/bias"]) * new["scope/scale"]) @ new["scope/parts"]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_one_bit_is_found():
    with open_checkpoint(MODELS / "tf2_module" / "model") as checkpoint:
        variable = checkpoint.variables["blocks/0"]
        flipped = variable.tensor.read().copy()
        flipped.view(np.uint32)[0] ^= 1
        other = replace(variable, tensor=Tensor.of(flipped, variable.tensor.dtype))
        findings = savedmodel.check(replace(checkpoint, variables={**checkpoint.variables, "blocks/0": other})).issues
    assert {issue.name for issue in findings} == {variable.key}
    assert len(findings) == 2  # in the loaded model, and in the bundle


def test_through_the_command(tmp_path):
    source = FIXTURES / "tf2" / "keras_adam"
    report = convert(source, tmp_path / "out", to="savedmodel", verify="framework")
    assert report.verdict == "verified", report.issues
    assert report.details["framework"]["checked_by"].endswith("SavedModel loader")
