"""Another number of classes: Keras loads what `--reinit` made of a trained model, state and all, and trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

from ckptmigrate import convert  # noqa: E402
from ckptmigrate.dtypes import FLOAT32  # noqa: E402
from ckptmigrate.initialisers import WORDS, settled, tensor_of  # noqa: E402

X = np.random.default_rng(0).normal(size=(16, 6)).astype("f")
OLD, NEW = 5, 3
OPTIMIZERS = {
    "Adam": {},
    "Adam, averages": {"use_ema": True},
    "Adagrad": {},  # whose accumulator starts at 0.1
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Ftrl": {},
}
# Keras 3 itself doesn't give its optimizers back from .h5; a file of weights alone tells no layer's name in tf_keras.
PLACES = [
    (tf_keras, ".h5", "keras-h5", "head/{leaf}"),
    (tf_keras, ".keras", "keras-v3", "head/{leaf}"),
    (tf_keras, "/", "tf2", "{model:path}/layer_with_weights-2/{leaf}"),
    (keras, ".keras", "keras-v3", "head/{leaf}"),
    (keras, ".weights.h5", "keras-v3", "head/{leaf}"),
    (keras, "/", "tf2", "model/_functional/_operations/3/{leaf}"),
]
INITIAL = {0.0, float(np.float32(0.1))}


def trained(k: Any, classes: int, kind: str) -> Any:
    (k.backend.clear_session if k is tf_keras else k.utils.clear_session)()
    layers = [k.layers.Dense(4, name="d"), k.layers.BatchNormalization(name="bn"), k.layers.Dense(classes, name="head")]
    model = k.Sequential([k.layers.Input((6,)), *layers])
    optimizer = getattr(k.optimizers, kind.partition(",")[0])(0.01, **OPTIMIZERS[kind])
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=True)  # a graph for each model would take most of the time
    for _ in range(2):
        model.train_on_batch(X, np.arange(16) % classes)
    return model


def saved(model: Any, path: Path, suffix: str) -> str:
    if suffix == "/":
        return tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(path / "ckpt")
    (model.save_weights if suffix == ".weights.h5" else model.save)(f"{path}{suffix}")
    return f"{path}{suffix}"


def loaded(k: Any, path: str, kind: str) -> Any:
    if path.endswith((".keras", ".h5")) and not path.endswith(".weights.h5"):
        return k.models.load_model(path)
    model = trained(k, NEW, kind)
    if path.endswith("/"):
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).restore(
            tf.train.latest_checkpoint(path)
        ).assert_existing_objects_matched()
    else:
        model.load_weights(path)
    return model


def state(model: Any) -> list[np.ndarray]:
    listed = model.optimizer.variables
    return [np.array(v) for v in (listed() if callable(listed) else listed)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["stated", "template"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("place", PLACES, ids=[f"{p[0].__name__}{p[1]}" for p in PLACES])
def test_keras_trains_on(place: tuple[Any, str, str, str], kind: str, way: str, tmp_path: Path) -> None:
    k, suffix, to, head = place
    old, new = trained(k, OLD, kind), trained(k, NEW, kind)
    source, template = saved(old, tmp_path / "old", suffix), saved(new, tmp_path / "new", suffix)
    before, (kernel, bias) = state(old), new.layers[-1].get_weights()
    kept = [w for layer in old.layers[:-1] for w in layer.get_weights()]
    asked: dict[str, Any] = {"stated": {"reinit": (f"{head}=default[..., {NEW}]",), "seed": 5}}.get(
        way, {"reinit": (head,), "template": template}
    )
    report = convert(source, f"{tmp_path / 'out'}{suffix}", to=to, **asked)
    if not report.rows or report.verdict != "verified":
        assert {issue.kind for issue in report.issues if issue.severity in ("error", "loss")} == {"slot"}, report.issues
        assert (kind, suffix) == ("Adam, averages", ".weights.h5"), report.issues  # a list that doesn't tell its owners
        return
    model = loaded(k, f"{tmp_path / 'out'}{suffix}", kind)
    for ours, theirs in zip(kept, (w for layer in model.layers[:-1] for w in layer.get_weights()), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    head_now = model.layers[-1].get_weights()
    if way == "template":
        np.testing.assert_array_equal(head_now[0], kernel)
        np.testing.assert_array_equal(head_now[1], bias)
    else:
        assert head_now[0].shape == (4, NEW)
        assert not head_now[1].any()
    after = state(model)
    assert len(after) == len(before)
    for ours, theirs in zip(before, after, strict=True):
        if theirs.shape == ours.shape:
            np.testing.assert_array_equal(theirs, ours)  # steps, rates and the slots of what stays
        else:
            averaged = any(np.array_equal(theirs, weight) for weight in head_now)
            assert set(np.unique(theirs).tolist()) <= INITIAL or (averaged and "averages" in kind)
    model.run_eagerly = True
    model.train_on_batch(X, np.arange(16) % NEW)


CLASSES = {
    "normal": "RandomNormal",
    "truncated_normal": "TruncatedNormal",
    "uniform": "RandomUniform",
    **{word: "".join(part.title() for part in word.split("_")) for word in WORDS if "_" in word},
}


@pytest.mark.parametrize("shape", [(300, 400), (3, 3, 64, 128), (5, 20, 300)], ids=str)
@pytest.mark.parametrize("word", [word for word in WORDS if word in CLASSES and word != "truncated_normal"])
def test_drawn_as_keras_draws(word: str, shape: tuple[int, ...]) -> None:
    """The same distribution: mean, spread, limits, and quantiles of both."""
    theirs = np.array(getattr(keras.initializers, CLASSES[word])(seed=1)(shape)).ravel()
    ours = tensor_of(settled(word, "w", shape), "w", shape, FLOAT32, 0).read().ravel()
    spread = theirs.std()
    error = 5 * spread / np.sqrt(theirs.size)
    assert abs(ours.mean()) < error
    assert abs(ours.std() - spread) < error
    if word != "normal":
        assert abs(np.abs(ours).max() / np.abs(theirs).max() - 1) < 1e-2
    shares = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(np.quantile(ours, shares), np.quantile(theirs, shares), atol=3 * error)


def test_the_default_is_that_of_keras_layers() -> None:
    layers = [keras.layers.Dense(4), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    for layer, shape in zip(layers, [(1, 6), (1, 8, 8, 2), (1, 6)], strict=True):
        layer.build(shape)
        for weight in layer.weights:
            value = settled("default", f"layer/{weight.name}", weight.shape)
            if isinstance(value, float):
                np.testing.assert_array_equal(np.array(weight), np.full(weight.shape, value))
            else:
                assert type(layer.kernel_initializer).__name__ == CLASSES[value]
    table = keras.layers.Embedding(3, 2)
    assert type(table.embeddings_initializer).__name__ == CLASSES[settled("default", "e/embeddings", (3, 2))]
