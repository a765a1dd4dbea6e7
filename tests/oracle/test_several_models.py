"""Two models that share names of layers, each with its optimizer (GANs): whose slots are whose, and training on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate import convert

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

MODELS = {
    "unlike": ([4, 2], [4, 1]),
    "one like a part of the other": ([3, 3, 3, 2], [3, 3]),
    "twins": ([4, 2], [4, 2]),
}
OPTIMIZERS = {"keras-legacy": tf_keras.optimizers.legacy, "keras2": tf_keras.optimizers}
MAPPING = """
ckptmigrate: 1
unmatched: keep
optimizers:
- {from: g_optimizer, kind: adam, variables: "g/{name:path}"}
- {from: d_optimizer, kind: adam, variables: "d/{name:path}"}
"""
SLOTS = {"m": "_momentums", "v": "_velocities"}


def model(widths: list[int]) -> Any:
    tf_keras.backend.clear_session()  # both begin with a layer `dense`
    layers = [tf_keras.layers.Dense(width) for width in widths]
    return tf_keras.Sequential([tf_keras.layers.InputLayer((3,)), *layers])


class Gan:
    """Two models and their optimizers, trained on gradients that are made up."""

    def __init__(self, widths: tuple[list[int], list[int]], dialect: str) -> None:
        self.models = {"g": model(widths[0]), "d": model(widths[1])}
        self.optimizers = {name: OPTIMIZERS[dialect].Adam(0.1, 0.8, 0.9) for name in self.models}
        named = {f"{name}_optimizer": optimizer for name, optimizer in self.optimizers.items()}
        self.checkpoint = tf.train.Checkpoint(**self.models, **named)

    def build(self) -> None:
        for name, optimizer in self.optimizers.items():
            trained = self.models[name].trainable_variables
            optimizer.build(trained) if hasattr(optimizer, "build") else optimizer._create_all_weights(trained)

    def train(self, steps: int, seed: int) -> None:
        for number, (name, optimizer) in enumerate(self.optimizers.items()):
            trained = self.models[name].trainable_variables
            for step in range(steps):
                seeds = [(v, [seed + number, 50 * step + i]) for i, v in enumerate(trained)]
                optimizer.apply_gradients([(tf.random.stateless_normal(v.shape, s), v) for v, s in seeds])

    def weights(self) -> list[Any]:
        return [v.numpy() for m in self.models.values() for v in m.trainable_variables]

    def slots(self, name: str, slot: str) -> list[Any]:
        optimizer, trained = self.optimizers[name], self.models[name].trainable_variables
        if hasattr(optimizer, "get_slot"):
            return [optimizer.get_slot(v, slot).numpy() for v in trained]
        return [getattr(optimizer, SLOTS[slot])[i].numpy() for i in range(len(trained))]


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize(("source", "target"), [("keras2", "keras-legacy"), ("keras-legacy", "keras2")])
def test_training_goes_on(case, source, target, tmp_path):
    made = Gan(MODELS[case], source)
    made.train(3, 1)
    path = made.checkpoint.save(str(tmp_path / "source"))
    is_told = source == "keras-legacy" or case != "twins"
    rules = tmp_path / "map.yaml"
    rules.write_text(MAPPING)
    with ckptmigrate.open(path) as checkpoint:
        states = {state.name: state for state in checkpoint.optimizers}
        assert [bool(state.slots) for state in states.values()] == [is_told, is_told]
        assert bool(checkpoint.issues) == (source == "keras2" and case != "unlike")
        for name in made.models if is_told else ():
            for key, stored in states[f"{name}_optimizer"].slots.items():
                weights, slots = made.models[name].trainable_variables, made.slots(name, key.slot)
                held = checkpoint.variables[key.variable].tensor.read()
                (index,) = (i for i, v in enumerate(weights) if np.array_equal(v.numpy(), held))
                np.testing.assert_array_equal(stored.tensor.read(), slots[index])
    out = tmp_path / "out"
    hyper = {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.9}
    options = {} if is_told else {"mapping": str(rules)}
    report = convert(path, out, to="tf2", dialect=target, hyper=hyper, **options)
    assert report.exit_code == 0, report.issues
    made.train(3, 7)
    other = Gan(MODELS[case], target)
    other.build()
    other.checkpoint.restore(str(out)).assert_existing_objects_matched()
    other.train(3, 7)
    for ours, theirs in zip(other.weights(), made.weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
