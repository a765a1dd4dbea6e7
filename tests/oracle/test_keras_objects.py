"""Object graphs that we synthesised from names alone, restored by tf.train.Checkpoint into real tf_keras objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.formats import open_checkpoint
from ckptmigrate.table import Structure

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

TF2 = Path(__file__).resolve().parents[2] / "fixtures" / "tf2"
legacy = tf_keras.optimizers.legacy

OPTIMIZERS = {
    "keras_adam": lambda: legacy.Adam(0.5),
    "keras_amsgrad": lambda: legacy.Adam(0.5, amsgrad=True),
    "keras_rmsprop": lambda: legacy.RMSprop(0.5, momentum=0.1, centered=True),
    "keras_rmsprop_plain": lambda: legacy.RMSprop(0.5),
    "keras_sgd_momentum": lambda: legacy.SGD(0.5, momentum=0.1),
    "keras_sgd": lambda: legacy.SGD(0.5),
    "keras_schedule": lambda: legacy.Adam(tf_keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)),
}


@pytest.fixture(scope="session")
def sequential(make):
    """A new model of the kind that the fixtures hold, with other values than theirs."""

    def build():
        model = make("tf2").sequential()
        for weight in model.weights:
            weight.assign(weight * 3.0 + 1.0)
        return model

    return build


@pytest.fixture
def without_graph(write):
    """A fixture written anew from its names alone."""

    def run(name):
        with open_checkpoint(TF2 / name / "ckpt-1") as source:
            return write(replace(source, structure=Structure()), "tf2")

    return run


def stored(name):
    return tf.train.load_checkpoint(str(TF2 / name / "ckpt-1"))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("slots", ["made before", "made by training"])
def test_synthesised_graph_fills_model_and_optimizer(name, slots, sequential, without_graph, make):
    model, optimizer = sequential(), OPTIMIZERS[name]()
    if slots == "made before":
        optimizer._create_all_weights(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=tf.Variable(0, dtype=tf.int64))
    status = checkpoint.restore(str(without_graph(name)))
    status.assert_existing_objects_matched()
    if slots != "made before":
        optimizer._create_all_weights(model.trainable_variables)
    status.assert_consumed()
    reader = stored(name)
    for number, layer in enumerate(("d1", "bn", "d2")):
        for leaf, variable in leaves(model.get_layer(layer)):
            key = f"model/layer_with_weights-{number}/{leaf}"
            np.testing.assert_array_equal(variable, reader.get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE"))
            for slot in optimizer.get_slot_names() if variable.trainable else ():
                path = f"{key}/.OPTIMIZER_SLOT/optimizer/{slot}/.ATTRIBUTES/VARIABLE_VALUE"
                np.testing.assert_array_equal(optimizer.get_slot(variable, slot), reader.get_tensor(path))
    assert optimizer.iterations == 3
    assert checkpoint.step == 3


def leaves(layer):
    names = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    return [(name, getattr(layer, name)) for name in names if getattr(layer, name, None) is not None]


def test_training_goes_on_as_if_nothing_had_happened(sequential, without_graph, make):
    """Two more steps from our file and from TensorFlow's own give the same weights, bit for bit."""
    after = []
    for path in (without_graph("keras_adam"), TF2 / "keras_adam" / "ckpt-1"):
        model, optimizer = sequential(), legacy.Adam(0.01)
        tf.train.Checkpoint(model=model, optimizer=optimizer).restore(str(path)).expect_partial()
        make("tf2").train(model, optimizer, steps=2)
        after.append(model.get_weights())
    for ours, theirs in zip(*after, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_template_gives_the_structure(sequential, write):
    """Values of one file under the object graph of another: what a user's own model saved."""
    with (
        open_checkpoint(TF2 / "keras_adam" / "ckpt-1") as source,
        open_checkpoint(TF2 / "keras_adam" / "ckpt-1") as other,
    ):
        written = write(replace(source, structure=Structure()), "tf2", template=other)
    model, optimizer = sequential(), legacy.Adam(0.5)
    optimizer._create_all_weights(model.trainable_variables)
    status = tf.train.Checkpoint(model=model, optimizer=optimizer, step=tf.Variable(0, dtype=tf.int64)).restore(
        str(written)
    )
    status.assert_consumed()
    np.testing.assert_array_equal(
        model.get_layer("d1").kernel,
        stored("keras_adam").get_tensor("model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"),
    )


def test_two_optimizers_keep_apart(sequential, without_graph):
    parts = {"generator": sequential(), "discriminator": sequential()}
    parts |= {"generator_optimizer": legacy.Adam(0.5), "discriminator_optimizer": legacy.Adam(0.5)}
    for name in ("generator", "discriminator"):
        parts[f"{name}_optimizer"]._create_all_weights(parts[name].trainable_variables)
    status = tf.train.Checkpoint(**parts).restore(str(without_graph("gan")))
    status.assert_existing_objects_matched()
    status.assert_consumed()
    assert [parts[f"{name}_optimizer"].iterations.numpy() for name in ("generator", "discriminator")] == [3, 5]
    for name in ("generator", "discriminator"):
        slot = parts[f"{name}_optimizer"].get_slot(parts[name].get_layer("d1").kernel, "v")
        path = f"{name}/layer_with_weights-0/kernel/.OPTIMIZER_SLOT/{name}_optimizer/v/.ATTRIBUTES/VARIABLE_VALUE"
        np.testing.assert_array_equal(slot, stored("gan").get_tensor(path))


def test_load_weights_takes_it(sequential, write):
    """The tf format of Keras' own save_weights: the model is the root."""
    with open_checkpoint(TF2 / "weights_only" / "weights") as source:
        written = write(replace(source, structure=Structure()), "tf2")
    model = sequential()
    model.load_weights(str(written)).assert_existing_objects_matched()
    reader = tf.train.load_checkpoint(str(TF2 / "weights_only" / "weights"))
    expected = reader.get_tensor("layer_with_weights-2/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(model.get_layer("d2").kernel, expected)


def test_a_tf1_optimizer_gets_its_slots(write):
    """TF1's own Adam under tf.train.Checkpoint: powers as children, slots m and v."""
    with open_checkpoint(TF2 / "tf1_optimizer" / "ckpt-1") as source:
        written = write(replace(source, structure=Structure()), "tf2")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        w = v1.get_variable("other/name", (3, 2), use_resource=True)
        optimizer = v1.train.AdamOptimizer(0.01)
        optimizer.apply_gradients([(tf.ones_like(w), w)])
        status = tf.train.Checkpoint(w=w, optimizer=optimizer).restore(str(written))
        status.assert_consumed().run_restore_ops(session)
        slot, powers = session.run((optimizer.get_slot(w, "v"), optimizer._get_beta_accumulators()))
    path = "w/.OPTIMIZER_SLOT/optimizer/v/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(slot, stored("tf1_optimizer").get_tensor(path))
    np.testing.assert_allclose(powers, [0.9**4, 0.999**4], rtol=1e-6)
