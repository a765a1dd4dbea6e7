"""Whole files with many optimizers between name-based and object-based bundles: TensorFlow restores and trains on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.formats import open_checkpoint

pytestmark = pytest.mark.oracle

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")

ROOT = Path(__file__).resolve().parents[2] / "fixtures"
STEPS = 5
ROUNDING = 4e-6
OLD, V1 = tf_keras.optimizers.legacy, tf.compat.v1.train
REG = {"l1_regularization_strength": 0.01}
# As fixtures/make/optimizers.py makes them
LEGACY: dict[str, Callable[[], Any]] = {
    "adagrad": lambda: OLD.Adagrad(0.1),
    "adadelta": lambda: OLD.Adadelta(10.0, epsilon=1e-4),
    "adamax": lambda: OLD.Adamax(0.1),
    "nadam": lambda: OLD.Nadam(0.1),
    "ftrl": lambda: OLD.Ftrl(0.1, **REG),
}
TF1: dict[str, Callable[[], Any]] = {
    "adagrad": lambda: V1.AdagradOptimizer(0.1),
    "adadelta": lambda: V1.AdadeltaOptimizer(10.0, epsilon=1e-4),
    "ftrl": lambda: V1.FtrlOptimizer(0.1, **REG),
}
SETTINGS = {"optimizers": {"ftrl": {"l2_regularization_strength": 0.01}, "adamax": {"epsilon": 1e-8}}}


def loss(weights: Sequence[Any]) -> Any:
    """That of fixtures/make/optimizers.py."""
    w, b = map(tf.convert_to_tensor, weights)
    return tf.reduce_sum(0.3 * w * w + w) + tf.reduce_sum(0.4 * b * b + b)


def trained_on(weights: Sequence[Any], optimizer: Any) -> list[Any]:
    """The weights after five more steps."""
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            cost = loss(weights)
        optimizer.apply_gradients(zip(tape.gradient(cost, weights), weights, strict=True))
    return [w.numpy() for w in weights]


def built(kind: str, settings: Mapping[str, float]) -> Any:
    """A legacy optimizer whose step exists, so that it can be restored."""
    optimizer = LEGACY[kind]()
    for setting, value in settings.items():
        optimizer._set_hyper(setting, value) if setting in optimizer._hyper else setattr(optimizer, setting, value)
    assert optimizer.iterations.numpy() == 0
    return optimizer


def tree(places: Mapping[str, Any]) -> dict[str, Any]:
    """The objects where their paths say: `training_1/Adam` is the child of a child."""
    made: dict[str, Any] = {}
    for path, thing in places.items():
        head, _, last = path.rpartition("/")
        if head:
            setattr(made.setdefault(head, tf.train.Checkpoint()), last, thing)
        else:
            made[last] = thing
    return made


def apart(a: Sequence[Any], b: Sequence[Any]) -> float:
    return max(float(np.max(np.abs(x - y))) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ["optimizers", "keras_optimizers"])
def test_tf1_into_objects(name: str, tmp_path: Path) -> None:
    report = convert(ROOT / "tf1" / name / "model.ckpt", tmp_path / "ckpt", to="tf2", dialect="keras-legacy")
    assert report.exit_code == 0, report.issues
    later = tf.train.load_checkpoint(str(ROOT / "tf1" / f"{name}_later" / "model.ckpt"))
    with open_checkpoint(tmp_path / "ckpt") as checkpoint:
        stands = {state.kind: state.name for state in checkpoint.optimizers}
    objects: dict[str, Any] = {"global_step": tf.Variable(0, dtype=tf.int64)} if name == "optimizers" else {}
    optimizers = {kind: built(kind, SETTINGS.get(name, {}).get(kind, {})) for kind in stands}
    for kind in stands:
        objects[kind] = tf.Module()
        objects[kind].w, objects[kind].b = tf.Variable(tf.zeros((2, 3)), name="w"), tf.Variable(tf.zeros(3), name="b")
    root = tf.train.Checkpoint(**objects, **tree({place: optimizers[kind] for kind, place in stands.items()}))
    root.restore(str(tmp_path / "ckpt"))
    for kind, optimizer in optimizers.items():
        found = trained_on([objects[kind].w, objects[kind].b], optimizer)
        assert optimizer.iterations.numpy() == 8, kind
        expected = [later.get_tensor(f"{kind}/{n}") for n in ("w", "b")]
        assert apart(found, expected) <= ROUNDING, kind
    assert set(stands) == set(LEGACY) - ({"nadam"} if name == "optimizers" else set())


def legacy_later() -> dict[str, list[Any]]:
    """Legacy Keras' own continuation of its file."""
    objects: dict[str, Any] = {}
    for kind in LEGACY:
        objects[kind] = tf_keras.Sequential([tf_keras.layers.Dense(3)])
        objects[kind].build((None, 2))
        objects[f"{kind}_optimizer"] = built(kind, {})
    tf.train.Checkpoint(**objects).restore(str(ROOT / "tf2" / "optimizers_legacy" / "ckpt-1"))
    return {kind: trained_on(objects[kind].trainable_variables, objects[f"{kind}_optimizer"]) for kind in LEGACY}


def test_objects_into_tf1(tmp_path: Path) -> None:
    source = ROOT / "tf2" / "optimizers_legacy" / "ckpt-1"
    refused = convert(source, tmp_path / "model.ckpt", to="tf1")
    assert [(i.name, i.kind) for i in refused.issues if i.severity == "loss"] == [("nadam_optimizer", "slot")]
    report = convert(source, tmp_path / "model.ckpt", to="tf1", allow_loss=True)
    assert report.exit_code == 0, report.issues
    expected = legacy_later()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weights = {
            kind: [
                tf.compat.v1.get_variable(f"{kind}/layer_with_weights-0/{name}", shape)
                for name, shape in (("kernel", (2, 3)), ("bias", (3,)))
            ]
            for kind in TF1
        }
        steps = [make().minimize(loss(weights[kind])) for kind, make in TF1.items()]
        V1.Saver().restore(session, str(tmp_path / "model.ckpt"))
        for _ in range(STEPS):
            session.run(steps)
        for kind in TF1:
            assert apart(session.run(weights[kind]), expected[kind]) <= ROUNDING, kind


@pytest.mark.parametrize("is_counted_first", [False, True])
def test_the_name_of_an_adamax(tmp_path: Path, is_counted_first: bool) -> None:
    """Its slots and scalars are Adam's; a step that was asked for before all else stands in no scope."""
    model = tf_keras.Sequential([tf_keras.layers.Dense(3)])
    model.build((None, 2))
    optimizer = OLD.Adamax(0.1)
    if is_counted_first:
        assert optimizer.iterations.numpy() == 0
    trained_on(model.trainable_variables, optimizer)
    saved = tf.train.Checkpoint(model=model, optimizer=optimizer).save(str(tmp_path / "ckpt"))
    with open_checkpoint(saved) as checkpoint:
        assert [(state.kind, state.step) for state in checkpoint.optimizers] == [("adamax", STEPS)]
