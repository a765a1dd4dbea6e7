"""Optimizer state in lists: tf_keras 2.11+ and Keras 3 save object-based files, and restore what became of them.

Everything that a live model and its built optimizer have is asked for (`assert_existing_objects_matched`), every slot
compared by its variable. Graphs are kept, grown from a template's, and made anew from names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.formats import by_name, open_checkpoint
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.optimizers import spelling
from ckptmigrate.table import Structure
from ckptmigrate.wire.bundle import read_bundle

pytestmark = pytest.mark.oracle

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")
keras = pytest.importorskip("keras")

KERAS = {"keras-legacy": tf_keras, "keras2": tf_keras, "keras3": keras}
RATE = 0.01
# name -> (kind, class, settings)
OPTIMIZERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sgd": ("sgd", "SGD", {}),
    "momentum": ("momentum", "SGD", {"momentum": 0.9}),
    "adam": ("adam", "Adam", {}),
    "amsgrad": ("adam", "Adam", {"amsgrad": True}),
    "adamw": ("adamw", "AdamW", {}),
    "rmsprop": ("rmsprop", "RMSprop", {}),
    "rmsprop_centered": ("rmsprop", "RMSprop", {"momentum": 0.5, "centered": True}),
    "adagrad": ("adagrad", "Adagrad", {}),
    "adadelta": ("adadelta", "Adadelta", {}),
    "adamax": ("adamax", "Adamax", {}),
    "nadam": ("nadam", "Nadam", {}),
    "ftrl": ("ftrl", "Ftrl", {}),
    "lion": ("lion", "Lion", {}),
    "lamb": ("lamb", "Lamb", {}),
    "adafactor": ("adafactor", "Adafactor", {}),
    "muon": ("muon", "Muon", {}),
    "averages": ("adam", "Adam", {"use_ema": True}),
    "accumulated": ("adam", "Adam", {"gradient_accumulation_steps": 2}),
}
_random = np.random.RandomState(3)
X, Y = _random.rand(8, 6, 6, 2).astype("f"), _random.rand(8, 4).astype("f")


class Side:
    """A model of one Keras with an optimizer of one dialect.

    Args:
        dialect: Whose optimizer.
        name: Of OPTIMIZERS.
        frozen: Whether the first layer isn't trained.
        schedule: Whether the rate is a schedule.
        prefix: Of the layers' names.
    """

    def __init__(
        self, dialect: str, name: str, *, frozen: bool = False, schedule: bool = False, prefix: str = ""
    ) -> None:
        self.dialect, (self.kind, title, settings) = dialect, OPTIMIZERS[name]
        k = KERAS[dialect]
        k.utils.set_random_seed(len(name))
        shape = k.layers.Input((6, 6, 2)) if k is keras else k.layers.InputLayer((6, 6, 2))
        layers = [k.layers.Conv2D(3, 3, name=f"{prefix}conv"), k.layers.BatchNormalization(name=f"{prefix}bn")]
        layers += [k.layers.Flatten(), k.layers.Dense(4, name=f"{prefix}d1"), k.layers.Dense(4, name=f"{prefix}d2")]
        layers[0].trainable = not frozen
        self.model = k.Sequential([shape, *layers])
        family = k.optimizers.legacy if dialect == "keras-legacy" else k.optimizers
        rate = k.optimizers.schedules.ExponentialDecay(RATE, 10, 0.9) if schedule else RATE
        self.optimizer = getattr(family, title)(rate, **settings)

    @property
    def trained(self) -> list[Any]:
        return list(self.model.trainable_variables)

    def train(self, steps: int = 3) -> Side:
        for _ in range(steps):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self.model(X, training=True) - Y) ** 2)
            gradients = tape.gradient(loss, self.trained)
            self.optimizer.apply_gradients(zip(gradients, self.trained, strict=True))
        return self

    def build(self) -> Side:
        if self.dialect == "keras-legacy":
            self.optimizer._create_all_weights(self.trained)
        else:
            self.optimizer.build(self.trained)
        for variable in (*self.model.weights, *self.slots().values()):
            variable.assign(variable * 0.0 + 9.0)
        return self

    def checkpoint(self) -> Any:
        return tf.train.Checkpoint(model=self.model, optimizer=self.optimizer)

    def save(self, folder: Path) -> Path:
        return Path(self.checkpoint().save(str(folder / "ckpt")))

    def restore(self, path: Path) -> None:
        status = self.checkpoint().restore(str(path))
        status.assert_existing_objects_matched()

    def slots(self) -> dict[tuple[int, str], Any]:
        """(Number of the trained variable, canonical slot) -> the live variable."""
        return dict(self._slots())

    def _slots(self) -> Iterator[tuple[tuple[int, str], Any]]:
        spelled = spelling(self.kind, self.dialect)
        assert spelled is not None
        if self.dialect == "keras-legacy":
            for number, variable in enumerate(self.trained):
                for slot in spelled.slots:
                    if slot.spelling in self.optimizer.get_slot_names():
                        yield (number, slot.name), self.optimizer.get_slot(variable, slot.spelling)
            return
        lists = {**spelled.lists, "average": "_model_variables_moving_average", "gradient": "_accumulated_gradients"}
        for slot, name in lists.items():
            for number, variable in enumerate(getattr(self.optimizer, name, None) or ()):
                if hasattr(variable, "assign") and "int" not in str(variable.dtype):
                    yield (number, slot), variable

    def values(self) -> dict[Any, Any]:
        """Everything that goes along, by names that don't depend on the dialect."""
        weights = {f"w{number}": weight for number, weight in enumerate(self.model.weights)}
        rest = {"iterations": self.optimizer.iterations}
        if self.kind == "nadam" and self.dialect != "keras-legacy":
            rest["product"] = self.optimizer._u_product
        return {name: np.asarray(value) for name, value in {**weights, **rest, **self.slots()}.items()}


def assert_equal(found: Side, expected: Side, **tolerance: float) -> None:
    there, wanted = found.values(), expected.values()
    assert there.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(there[name], value, err_msg=str(name), **{"rtol": 0, **tolerance})


def names_of(dialect: str) -> list[str]:
    """The optimizers that this dialect has."""
    settings = {"keras2": {"gradient_accumulation_steps"}}.get(dialect, set())
    return [n for n, (kind, _, own) in OPTIMIZERS.items() if spelling(kind, dialect) and not settings & own.keys()]


SAME = [(dialect, name) for dialect in ("keras2", "keras3") for name in names_of(dialect)]


@pytest.mark.parametrize(("dialect", "name"), SAME)
def test_the_same_dialect_stays_as_it_is(dialect: str, name: str, tmp_path: Path) -> None:
    """Keys and graph, too."""
    source = Side(dialect, name).train()
    saved = source.save(tmp_path / "a")
    report = convert(saved, tmp_path / "b", to="tf2", verify="framework" if name == "averages" else "bits")
    assert report.verdict == "verified"
    assert read_bundle(tmp_path / "b").entries.keys() == read_bundle(saved).entries.keys()
    live = Side(dialect, name).build()
    live.restore(tmp_path / "b")
    assert_equal(live, source)


@pytest.mark.parametrize(("dialect", "name"), SAME)
def test_a_graph_made_anew(dialect: str, name: str, tmp_path: Path) -> None:
    """From names and the order of the list alone."""
    source = Side(dialect, name).train()
    with open_checkpoint(source.save(tmp_path / "a")) as opened:
        bare = replace(opened, structure=Structure())
        by_name("tf2").writer.write(bare, tmp_path, "b", WriteOptions())
    live = Side(dialect, name).build()
    live.restore(tmp_path / "b")
    assert_equal(live, source)


@pytest.mark.parametrize("dialect", ["keras2", "keras3"])
@pytest.mark.parametrize("option", ["frozen", "schedule"])
def test_frozen_layers_and_schedules(dialect: str, option: str, tmp_path: Path) -> None:
    source = Side(dialect, "adam", **{option: True}).train()
    convert(source.save(tmp_path / "a"), tmp_path / "b", to="tf2")
    live = Side(dialect, "adam", **{option: True}).build()
    live.restore(tmp_path / "b")
    assert_equal(live, source)


HYPER = {"decay": 0.0, "momentum": 0.9, "rho": 0.9, "beta_1": 0.9, "beta_2": 0.999}  # settings that no list holds
WAYS = [
    (name, a, b)
    for name in names_of("keras-legacy")
    for a, b in (("keras-legacy", "keras2"), ("keras2", "keras-legacy"))
    if name not in ("averages", "accumulated", "nadam")  # whose momentum follows another schedule in each
]


@pytest.mark.parametrize(("name", "a", "b"), WAYS)
def test_between_the_two_of_tf_keras(name: str, a: str, b: str, tmp_path: Path) -> None:
    """No template: the graph is the source's, its optimizer made anew."""
    source = Side(a, name).train()
    report = convert(
        source.save(tmp_path / "a"),
        tmp_path / "b",
        to="tf2",
        dialect=b,
        hyper=HYPER,
        verify="framework" if name == "adam" else "bits",
        allow_loss=True,
    )
    assert report.verdict == "verified"
    live = Side(b, name).build()
    live.checkpoint().restore(str(tmp_path / "b")).expect_partial()
    assert_equal(live, source)


@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop_centered"])
def test_through_all_dialects(name: str, tmp_path: Path) -> None:
    """keras-legacy -> keras2 -> keras3 and back, each by a template of the target."""
    source = Side("keras-legacy", name).train()
    path = source.save(tmp_path / "0")
    for number, dialect in enumerate(("keras2", "keras3", "keras2", "keras-legacy"), start=1):
        template = Side(dialect, name).build().save(tmp_path / f"template{number}")
        report = convert(path, tmp_path / f"{number}", to="tf2", template=str(template), hyper=HYPER)
        assert report.verdict == "verified", report.issues
        path = tmp_path / f"{number}"
        live = Side(dialect, name).build()
        live.restore(path)
        assert_equal(live, source)


def test_tf1_into_keras3(tmp_path: Path) -> None:
    live = Side("keras3", "adam").build()
    template = live.save(tmp_path / "template")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        names = [
            f"{layer}/{leaf}" for layer, leaf in (("conv", "kernel"), ("conv", "bias"), ("bn", "gamma"), ("bn", "beta"))
        ]
        names += [f"{layer}/{leaf}" for layer in ("d1", "d2") for leaf in ("kernel", "bias")]
        shapes = [v.shape for v in live.trained]
        trained = [v1.get_variable(n, s, use_resource=True) for n, s in zip(names, shapes, strict=True)]
        for leaf in ("moving_mean", "moving_variance"):
            v1.get_variable(f"bn/{leaf}", (3,), trainable=False)
        optimizer = v1.train.AdamOptimizer(RATE)
        step = optimizer.minimize(tf.add_n([tf.reduce_sum(v * v) for v in trained]))
        session.run(v1.global_variables_initializer())
        for _ in range(4):
            session.run(step)
        v1.train.Saver().save(session, str(tmp_path / "tf1"))
        expected = {(n, slot): session.run(optimizer.get_slot(v, slot)) for n, v in enumerate(trained) for slot in "mv"}
    convert(tmp_path / "tf1", tmp_path / "out", to="tf2", template=str(template), hyper={"learning_rate": RATE})
    live.restore(tmp_path / "out")
    assert int(live.optimizer.iterations) == 4
    slots = live.slots()
    assert slots.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(slots[key], value)


def test_a_keras_file_for_tf_keras(tmp_path: Path) -> None:
    """No graph and no template: paths and numbers by the configuration and the flavor."""
    source = Side("keras2", "adam").train()
    source.model.compile(source.optimizer, "mse")
    source.model.save(tmp_path / "a.keras")
    report = convert(tmp_path / "a.keras", tmp_path / "b", to="tf2", flavor="tf_keras", hyper={"learning_rate": RATE})
    assert report.verdict == "verified"
    live = Side("keras2", "adam").build()
    live.model.compile(live.optimizer, "mse")
    live.model.load_weights(tmp_path / "b").assert_existing_objects_matched()
    assert_equal(live, source)


def test_a_keras_file_for_keras3(tmp_path: Path) -> None:
    source = Side("keras3", "nadam").train()
    source.model.compile(source.optimizer, "mse")
    source.model.save(tmp_path / "a.keras")
    assert convert(tmp_path / "a.keras", tmp_path / "b", to="tf2").verdict == "verified"
    live = Side("keras3", "nadam").build()
    live.model.compile(live.optimizer, "mse")
    tf.train.Checkpoint(live.model).read(str(tmp_path / "b")).assert_existing_objects_matched()
    assert_equal(live, source)


@pytest.mark.parametrize(("a", "b"), [("keras3", "keras3"), ("keras-legacy", "keras2")])
@pytest.mark.parametrize("other", ["", "other_"])
def test_two_models_and_optimizers(a: str, b: str, other: str, tmp_path: Path) -> None:
    """Layers of one name in both, or of different names; the second model has a frozen layer."""

    def sides(dialect: str) -> tuple[Side, Side]:
        return Side(dialect, "adam"), Side(dialect, "momentum", frozen=True, prefix=other)

    def checkpoint(one: Side, two: Side) -> Any:
        return tf.train.Checkpoint(one=one.model, two=two.model, opt_one=one.optimizer, opt_two=two.optimizer)

    sources = sides(a)
    path = checkpoint(*(side.train() for side in sources)).save(str(tmp_path / "a"))
    convert(path, tmp_path / "b", to="tf2", dialect=b)
    lives = sides(b)
    checkpoint(*(side.build() for side in lives)).restore(str(tmp_path / "b")).assert_existing_objects_matched()
    for live, source in zip(lives, sources, strict=True):
        assert_equal(live, source)


def test_names_that_two_models_share_leave_slots_unbound(tmp_path: Path) -> None:
    """tf_keras tells owners by name alone: nothing is guessed, and everything goes back where it stood."""
    one, two = Side("keras2", "adam").train(), Side("keras2", "adam").train(5)
    whole = {"one": one.model, "two": two.model, "opt_one": one.optimizer, "opt_two": two.optimizer}
    path = tf.train.Checkpoint(**whole).save(str(tmp_path / "a"))
    report = convert(path, tmp_path / "b", to="tf2")
    assert [i.name for i in report.issues if i.kind == "guess"] == ["opt_one", "opt_two"]
    lives = Side("keras2", "adam").build(), Side("keras2", "adam").build()
    parts = {"one": lives[0].model, "two": lives[1].model, "opt_one": lives[0].optimizer, "opt_two": lives[1].optimizer}
    tf.train.Checkpoint(**parts).restore(str(tmp_path / "b")).assert_existing_objects_matched()
    assert_equal(lives[0], one)
    assert_equal(lives[1], two)


def test_loss_scaling(tmp_path: Path) -> None:
    """Keras 3 has an optimizer around the one that is scaled for."""

    def side() -> Side:
        made = Side("keras3", "adam")
        made.optimizer = keras.optimizers.LossScaleOptimizer(made.optimizer)
        return made

    def everything(made: Side) -> list[Any]:
        return [
            np.asarray(v)
            for v in (*made.model.weights, *made.optimizer.variables, *made.optimizer.inner_optimizer.variables)
        ]

    source = side()
    source.optimizer.build(source.trained)
    for number, variable in enumerate((*source.optimizer.variables, *source.optimizer.inner_optimizer.variables)):
        variable.assign(variable * 0 + number)
    assert convert(source.save(tmp_path / "a"), tmp_path / "b", to="tf2").verdict == "verified"
    live = side()
    live.optimizer.build(live.trained)
    live.restore(tmp_path / "b")
    for found, wanted in zip(everything(live), everything(source), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dialect", ["keras2", "keras3"])
def test_a_bare_savedmodel(dialect: str, tmp_path: Path) -> None:
    """TensorFlow loads it, and restores an optimizer from its variables."""
    source = Side(dialect, "adam").train()
    convert(source.save(tmp_path / "a"), tmp_path / "b", to="savedmodel")
    tf.saved_model.load(str(tmp_path / "b"))
    live = Side(dialect, "adam").build()
    live.checkpoint().read(str(tmp_path / "b" / "variables" / "variables")).assert_existing_objects_matched()
    assert_equal(live, source)
