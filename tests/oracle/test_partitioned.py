"""Partitioned variables of TF1: slots that it saves under a key for each part are joined, and restored by it again."""

from __future__ import annotations

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate import convert

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

ROWS, STEPS = 13, 3
OPTIMIZERS = {
    "adam": lambda: tf.compat.v1.train.AdamOptimizer(0.1),
    "ftrl": lambda: tf.compat.v1.train.FtrlOptimizer(0.1),
    "adagrad": lambda: tf.compat.v1.train.AdagradOptimizer(0.1),
}


def trained(scope, parts, optimizer, prefix, restored=""):
    """Trains a partitioned matrix, made and minimised in a scope as canned Estimators do; gives matrix and slots."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope(scope, partitioner=v1.fixed_size_partitioner(parts)):
            start = np.random.RandomState(1).standard_normal((ROWS, 2)).astype(np.float32)
            matrix = v1.get_variable("layer/w", (ROWS, 2), initializer=v1.random_normal_initializer(seed=3))
            whole = tf.convert_to_tensor(matrix)
            made = OPTIMIZERS[optimizer]()
            step = made.minimize(tf.reduce_sum((whole - start) ** 2))
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        if restored:
            saver.restore(session, str(restored))
        for _ in range(STEPS):
            session.run(step)
        saver.save(session, str(prefix), write_meta_graph=False)
        slots = {
            name: np.concatenate([session.run(made.get_slot(part, name)) for part in matrix])
            for name in made.get_slot_names()
        }
        return session.run(whole), slots


CASES = [
    *((scope, 2, "adam") for scope in ("ab", "dnn", "model", "linear", "training", "a/long/one/of/several")),
    ("linear", 3, "ftrl"),
    ("dnn", 11, "adagrad"),
]


@pytest.mark.parametrize(("scope", "parts", "optimizer"), CASES, ids=lambda value: str(value).replace("/", "-"))
def test_training_goes_on(scope, parts, optimizer, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    weights, slots = trained(scope, parts, optimizer, source)
    keys = {key.rpartition("/")[0] for key, _ in tf.train.list_variables(str(source))}
    assert len(keys) > parts, "TensorFlow has a key for each part"
    with ckptmigrate.open(source) as checkpoint:
        (name,) = (n for n, v in checkpoint.variables.items() if v.tensor.shape)
        np.testing.assert_array_equal(checkpoint.variables[name].tensor.read(), weights)
        (state,) = checkpoint.optimizers
        assert {key.variable for key in state.slots} == {name}
        read = sorted(stored.tensor.read().tolist() for stored in state.slots.values())
        assert read == sorted(slot.tolist() for slot in slots.values())
    expected = trained(scope, parts, optimizer, tmp_path / "on", source)
    for middle, to, more in (("m.npz", "npz", {}), ("tf2", "tf2", {"template": source})):
        assert convert(source, tmp_path / middle, to=to).exit_code == 0
        report = convert(tmp_path / middle, back, to="tf1", force=True, **more)
        assert report.exit_code == 0, report.issues
        found = trained(scope, parts, optimizer, tmp_path / "on", back)
        np.testing.assert_array_equal(found[0], expected[0])
        for slot, value in expected[1].items():
            np.testing.assert_array_equal(found[1][slot], value)
