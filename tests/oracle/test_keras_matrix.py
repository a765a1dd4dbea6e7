"""Models of real Keras, from every format it writes into every format we write, loaded by real Keras again.

The result goes into a freshly built model with nothing unmatched, and predictions are equal. What is refused stands in
a table here, with a reason; the table in docs/keras-matrix.md is made from what this test finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ckptmigrate import convert

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")
keras = pytest.importorskip("keras", reason="the tensorflow extra isn't installed")

DOCS = Path(__file__).resolve().parents[2] / "docs" / "keras-matrix.md"
SIZE = (8, 8, 3)
KERAS = {"tf_keras": tf_keras, "keras3": keras}

Model = Any


def convolutions(k: ModuleType) -> Model:
    """Convolutions of all kinds, statistics with and without scale and center, a frozen layer."""
    layers, start = k.layers, k.Input(SIZE, name="image")
    x = layers.Conv2D(4, 3, name="stem")(start)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.DepthwiseConv2D(3, name="depth")(x)
    x = layers.BatchNormalization(scale=False, name="centered")(x)
    x = layers.SeparableConv2D(5, 3, name="apart")(x)
    x = layers.BatchNormalization(center=False, name="scaled")(x)
    x = layers.Flatten(name="flat")(x)
    frozen = layers.Dense(4, name="frozen")
    frozen.trainable = False
    return k.Model(start, layers.Dense(3, name="head")(frozen(x)), name="convolutions")


def sequences(k: ModuleType) -> Model:
    """Embedding, recurrent layers, wrappers, attention."""
    layers, start = k.layers, k.Input((6,), name="tokens")
    x = layers.Embedding(11, 4, name="words")(start)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="memory"), name="both")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.TimeDistributed(layers.Dense(4, name="each"), name="steps")(x)
    x = layers.LayerNormalization(name="norm")(x)
    return k.Model(start, layers.GRU(2, name="last")(x), name="sequences")


def nested(k: ModuleType) -> Model:
    """Models in a model, and a layer that is used twice."""
    layers, start = k.layers, k.Input((5,), name="row")
    inside = k.Input((5,), name="inside")
    block = k.Model(inside, layers.BatchNormalization(name="bn")(layers.Dense(5, name="wide")(inside)), name="block")
    shared = layers.Dense(5, name="shared")
    parts = [k.Input((5,)), layers.Dense(4, name="q"), layers.ReLU(name="relu"), layers.Dense(4, name="r")]
    rest = k.Sequential(parts, name="rest")
    return k.Model(start, rest(shared(block(shared(start)))), name="nested")


MODELS: dict[str, Callable[[ModuleType], Model]] = {
    "convolutions": convolutions,
    "sequences": sequences,
    "nested": nested,
}

# What each Keras writes: kind of source -> how
SOURCES: dict[str, dict[str, Callable[[Model, Path], Path]]] = {
    "tf_keras": {
        "h5": lambda m, d: _saved(m.save_weights, d / "weights.h5"),
        "whole h5": lambda m, d: _saved(m.save, d / "whole.h5"),
        ".weights.h5": lambda m, d: _saved(m.save_weights, d / "m.weights.h5"),
        ".keras": lambda m, d: _saved(m.save, d / "m.keras"),
        "tf2": lambda m, d: _saved(m.save_weights, d / "tf2"),
        "savedmodel": lambda m, d: _saved(lambda path: m.save(path, save_format="tf"), d / "savedmodel"),
    },
    "keras3": {
        "whole h5": lambda m, d: _saved(m.save, d / "whole.h5"),
        ".weights.h5": lambda m, d: _saved(m.save_weights, d / "m.weights.h5"),
        ".keras": lambda m, d: _saved(m.save, d / "m.keras"),
        "tf2": lambda m, d: Path(tf.train.Checkpoint(m).write(str(d / "tf2"))),
        "savedmodel": lambda m, d: _saved(lambda path: tf.saved_model.save(m, path), d / "savedmodel"),
    },
}

# Kind of target -> (format, file name)
TARGETS = {
    "tf2": ("tf2", "out"),
    "savedmodel": ("savedmodel", "out"),
    ".weights.h5": ("keras-v3", "out.weights.h5"),
}

# Sources that don't tell what layers are: these take --template, the freshly built model as a tf.train.Checkpoint, for
# Keras' own files as .keras
TEMPLATED = {"h5", ".weights.h5"}
TEMPLATES = {"tf2": "tf2", "savedmodel": "tf2", ".weights.h5": ".keras"}
# No classes of layers, which groups of v3 files are called by: (Keras, source)
UNTOLD = {("tf_keras", "tf2"), ("tf_keras", "savedmodel"), ("keras3", "tf2"), ("keras3", "savedmodel")}

# (Keras, source, target, model) -> why it is refused; "*" for any
NO_NAMES = "no variable of the template goes by its name"  # tf_keras numbers classes in place of the layers' names
REASONS: dict[tuple[str, str, str, str], str] = {
    ("tf_keras", ".weights.h5", "tf2", "*"): NO_NAMES,
    ("tf_keras", ".weights.h5", "savedmodel", "*"): NO_NAMES,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One conversion: how it ended, what stayed unmatched, and how far predictions are apart."""

    verdict: str
    why: tuple[str, ...] = ()
    unmatched: str = ""
    distance: float = float("inf")


def _saved(save: Callable[[str], object], path: Path) -> Path:
    save(str(path))
    return path


def shaken(model: Model) -> Model:
    """Every weight with values of its own, variances positive."""
    random = np.random.default_rng(7)
    model.set_weights([np.abs(random.normal(0.5, 0.3, w.shape)).astype(w.dtype) for w in model.get_weights()])
    return model


def question(model: Model) -> Any:
    (shape,) = [tensor.shape for tensor in model.inputs]
    random = np.random.default_rng(3)
    whole = model.name == "sequences"
    return random.integers(0, 11, (2, *shape[1:])) if whole else random.normal(size=(2, *shape[1:])).astype("float32")


def load(k: str, model: Model, kind: str, path: Path) -> str:
    """Loads as a user does; gives what stays unmatched."""
    if kind == ".weights.h5":
        model.load_weights(str(path))
        return ""
    prefix = str(path / "variables" / "variables" if kind == "savedmodel" else path)
    try:
        status = model.load_weights(prefix) if k == "tf_keras" else tf.train.Checkpoint(model).read(prefix)
        status.assert_existing_objects_matched()
        status.assert_nontrivial_match()
    except AssertionError as error:
        return str(error)
    return ""


def cells(folder: Path) -> Iterator[tuple[tuple[str, str, str, str], Cell]]:
    """Every conversion of every model."""
    for k, library in KERAS.items():
        for name, build in MODELS.items():
            library.backend.clear_session()
            model, fresh = shaken(build(library)), build(library)
            asked = question(model)
            wanted = np.asarray(model(asked))
            home = made(folder / f"{k} {name} template")
            templates = {kind: SOURCES[k][kind](fresh, home) for kind in set(TEMPLATES.values())}
            for source, save in SOURCES[k].items():
                place = made(folder / f"{k} {name} {source.strip('.')}")
                path = save(model, place)
                for target, (to, out) in TARGETS.items():
                    given = {"flavor": k}
                    if is_templated(k, source, target):
                        given = {"template": str(templates[TEMPLATES[target]])}
                    report = convert(path, made(place / f"to {target}") / out, to=to, optimizer="drop", **given)
                    found = Cell(report.verdict, tuple(i.message for i in report.issues if i.severity == "error"))
                    if report.verdict == "verified":
                        fresh.set_weights([np.zeros(w.shape, w.dtype) for w in fresh.get_weights()])
                        unmatched = load(k, fresh, target, place / f"to {target}" / out)
                        distance = float(np.abs(np.asarray(fresh(asked)) - wanted).max())
                        found = Cell(report.verdict, (), unmatched, distance)
                    yield (k, source, target, name), found


def is_templated(k: str, source: str, target: str) -> bool:
    return source in TEMPLATED or (target == ".weights.h5" and (k, source) in UNTOLD)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def matrix(tmp_path_factory) -> dict[tuple[str, str, str, str], Cell]:
    return dict(cells(tmp_path_factory.mktemp("keras")))


def reason(place: tuple[str, str, str, str]) -> str:
    """Why a cell is refused, as REASONS has it."""
    told = (why for known, why in REASONS.items() if all(a in ("*", b) for a, b in zip(known, place, strict=True)))
    return next(told, "")


def test_what_is_written_loads_and_predicts_the_same(matrix):
    wrong = {p: c for p, c in matrix.items() if c.verdict == "verified" and (c.unmatched or c.distance > 0)}
    assert wrong == {}


def test_what_is_refused_has_a_reason(matrix):
    refused = {place: found for place, found in matrix.items() if found.verdict != "verified"}
    assert {p: c for p, c in refused.items() if not reason(p) or not any(reason(p) in w for w in c.why)} == {}
    assert [place for place in matrix if reason(place) and place not in refused] == []


def table(matrix: dict[tuple[str, str, str, str], Cell]) -> list[str]:
    """The matrix as Markdown: a row for each kind of source."""
    lines = [f"| saved by | as | {' | '.join(TARGETS)} |", "|---|---|" + "---|" * len(TARGETS)]
    for k, sources in SOURCES.items():
        for source in sources:
            row = []
            for target in TARGETS:
                found = {name: matrix[k, source, target, name].verdict == "verified" for name in MODELS}
                way = " with a template" if is_templated(k, source, target) else ""
                some = "yes" if all(found.values()) else ", ".join(name for name, good in found.items() if good)
                row.append(some + way if some else "refused")
            lines.append(f"| {k} | {source} | {' | '.join(row)} |")
    return lines


def test_the_table_is_what_was_found(matrix):
    told = DOCS.read_text("utf-8") if DOCS.exists() else ""
    rows = table(matrix)
    assert [line for line in told.splitlines() if line.startswith("|")] == rows, "\n".join(rows)
