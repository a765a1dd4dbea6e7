"""A TF1 detection model becomes a TF2 checkpoint that TensorFlow restores into the detector's objects and trains on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

OD = Path(__file__).resolve().parents[2] / "fixtures" / "od"
TF1, TEMPLATE = OD / "ssd_mobilenet_v2_tf1" / "model.ckpt", OD / "ssd_mobilenet_v2_tf2" / "ckpt-1"


@pytest.fixture(scope="session")
def names(make):
    """TF1 name -> TF2 full name of every model variable, from the rule that made both fixtures."""
    detector, pairs = make("detector"), {}
    for scope, conv, norm, leaf, _ in detector.convs():
        pairs[f"{scope}/{leaf}"] = f"{conv}/{detector._kernel(leaf)}"
        pairs |= {f"{scope}/BatchNorm/{name}": f"{norm}/{name}" for name in detector.BN}
    for _, scope, keras, _ in detector.heads():
        pairs |= {f"{scope}/weights": f"{keras}/kernel", f"{scope}/biases": f"{keras}/bias"}
    return pairs


@pytest.fixture(scope="session")
def stored():
    return tf.train.load_checkpoint(str(TF1))


@pytest.fixture
def objects(make):
    """The detector as tracked objects: (root, full name -> variable)."""
    return make("tf2").trackables(make("detector").tf2_model())


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "shipped template"])
def test_every_variable_arrives(template, names, stored, objects, tmp_path):
    report = convert(
        TF1, tmp_path / "ckpt", to="tf2", mapping="auto", template=template, averages="drop", optimizer="drop"
    )
    assert report.exit_code == 0, report.issues
    root, variables = objects
    checkpoint = tf.train.Checkpoint(model=root, step=tf.Variable(0, dtype=tf.int64))
    checkpoint.restore(str(tmp_path / "ckpt")).assert_existing_objects_matched()
    assert checkpoint.step == 4
    for old, new in names.items():
        np.testing.assert_array_equal(variables[new], stored.get_tensor(old), err_msg=f"{old} -> {new}")


def test_averages_replace_the_weights_that_have_them(names, stored, objects, tmp_path):
    options = {"mapping": "auto", "template": TEMPLATE, "averages": "use", "optimizer": "drop"}
    assert convert(TF1, tmp_path / "ckpt", to="tf2", **options).exit_code == 0
    root, variables = objects
    tf.train.Checkpoint(model=root).restore(str(tmp_path / "ckpt")).assert_existing_objects_matched()
    for old, new in names.items():
        average = f"{old}/ExponentialMovingAverage"
        source = average if stored.has_tensor(average) else old
        np.testing.assert_array_equal(variables[new], stored.get_tensor(source))


def test_restores_the_ways_the_api_does(objects, tmp_path):
    """`full`, `detection`, and the few-shot recipe that takes the feature extractor through its own node."""
    options = {"mapping": "auto", "template": TEMPLATE, "averages": "drop"}
    assert convert(TF1, tmp_path / "ckpt", to="tf2", **options).exit_code == 0
    root, _ = objects
    extractor = tf.train.Checkpoint(_feature_extractor=root._lookup_dependency("_feature_extractor"))
    for checkpoint in (tf.train.Checkpoint(model=root), tf.train.Checkpoint(model=extractor)):
        status = checkpoint.restore(str(tmp_path / "ckpt")).expect_partial()
        status.assert_existing_objects_matched()


def test_rmsprop_steps_on(names, objects, tmp_path):
    """Slots of the TF1 RMSProp in a legacy Keras RMSprop: the next step is TF1's own next step."""
    hyper = {"learning_rate": 0.004, "rho": 0.9, "momentum": 0.9, "decay": 0.0}
    options = {"mapping": "auto", "template": TEMPLATE, "averages": "drop", "hyper": hyper}
    report = convert(TF1, tmp_path / "ckpt", to="tf2", **options)
    assert report.exit_code == 0, report.issues
    root, variables = objects
    optimizer = tf_keras.optimizers.legacy.RMSprop(0.004, rho=0.9, momentum=0.9, epsilon=1.0)
    status = tf.train.Checkpoint(model=root, optimizer=optimizer).restore(str(tmp_path / "ckpt"))
    trained = {old: variables[new] for old, new in names.items() if "moving_" not in old}
    optimizer.apply_gradients([(gradient(v), v) for v in trained.values()])
    status.assert_existing_objects_matched()
    for old, expected in step_of_tf1(list(trained)).items():
        np.testing.assert_array_equal(trained[old], expected, err_msg=old)


def gradient(variable):
    return 0.2 * tf.convert_to_tensor(variable) + 0.05


def step_of_tf1(names):
    """One more step by the TF1 optimizer, from the TF1 checkpoint: name -> value."""
    v1, reader = tf.compat.v1, tf.train.load_checkpoint(str(TF1))
    shapes = reader.get_variable_to_shape_map()
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {n: v1.get_variable(n, shapes[n], use_resource=True) for n in names}
        optimizer = v1.train.RMSPropOptimizer(0.004, decay=0.9, momentum=0.9, epsilon=1.0)
        step = optimizer.apply_gradients([(gradient(v), v) for v in variables.values()])
        v1.train.Saver().restore(session, str(TF1))
        session.run(step)
        return session.run({n: v.read_value() for n, v in variables.items()})


def test_averages_stay_beside_the_weights(names, stored, tmp_path):
    """Kept averages are slots called `average`; the whole file passes the framework check that convert can run."""
    options = {"mapping": "auto", "template": TEMPLATE, "averages": "keep", "verify": "framework"}
    report = convert(TF1, tmp_path / "ckpt", to="tf2", **options)
    assert report.exit_code == 0, report.issues
    read = tf.train.load_checkpoint(str(tmp_path / "ckpt"))
    kept = [key for key in read.get_variable_to_shape_map() if key.split("/.ATTRIBUTES")[0].endswith("/average")]
    assert len(kept) == sum(stored.has_tensor(f"{old}/ExponentialMovingAverage") for old in names)
