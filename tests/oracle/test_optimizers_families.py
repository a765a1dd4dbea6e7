"""Records of Adagrad, Adadelta, Adamax, Nadam, Ftrl, Lion, Lamb, Adafactor, Muon against the optimizers themselves.

First what a record says: titles, slots, lists, order and initial values of fresh optimizers. Then what it does: five
steps in one dialect, the state converted, five more in both on the same batches. Then the same from the files of TF
1.15, which no interpreter here can train on: its own later checkpoint is the judge. Weights move by 0.05 and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate.dtypes import from_numpy
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.optimizers import BY_KIND, Conversion, Spelling, anew, recognise_names, recognise_object, to_dialect
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor

pytestmark = pytest.mark.oracle

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")
keras = pytest.importorskip("keras")

ROOT = Path(__file__).resolve().parents[2] / "fixtures"
LR, STEPS = 0.05, 5
ROUNDING = 4e-6
NAMES = ("scope/w", "b")
_random = np.random.RandomState(1)
BATCHES = [(_random.randn(16, 4).astype("f"), _random.randn(16, 3).astype("f")) for _ in range(2 * STEPS)]
START = [_random.randn(4, 3).astype("f") * 0.5, np.zeros(3, "f")]


def loss(weights: Sequence[Any], x: Any, y: Any) -> Any:
    return tf.reduce_mean(tf.square(tf.sin(tf.matmul(x, weights[0]) + weights[1]) - y))


def tensor(values: Any) -> Tensor:
    array = np.asarray(values)
    dtype = from_numpy(array.dtype)
    assert dtype is not None
    return Tensor.of(array, dtype)


class TF1:
    """A graph and a session of tf.compat.v1; its state is what names tell."""

    dialect = "tf1"

    def __init__(self, make: Callable[[], Any], kind: str) -> None:
        v1 = tf.compat.v1
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x, self.y = v1.placeholder(tf.float32, [None, 4]), v1.placeholder(tf.float32, [None, 3])
            self.weights = [v1.get_variable(n, initializer=w) for n, w in zip(NAMES, START, strict=True)]
            cost = loss([tf.convert_to_tensor(w) for w in self.weights], self.x, self.y)
            self.train = make().minimize(cost)
            self.all = {v.op.name: v for v in v1.global_variables()}
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())

    def step(self, x: Any, y: Any) -> None:
        self.session.run(self.train, {self.x: x, self.y: y})

    def values(self) -> list[Any]:
        return list(self.session.run(self.weights))

    def state(self) -> OptimizerState:
        values = self.session.run(self.all)
        (state,) = recognise_names({name: tensor(v) for name, v in values.items()}).optimizers
        return state

    def take(self, weights: Sequence[Any], state: OptimizerState, slots: Mapping[SlotKey, Any]) -> None:
        own = self.state()
        assert own.kind == state.kind
        assert own.slots.keys() == slots.keys()
        with self.graph.as_default():
            for name, value in zip(NAMES, weights, strict=True):
                self.all[name].load(value, self.session)
            for key, value in slots.items():
                self.all[own.slots[key].key].load(value, self.session)


class Eager:
    """A Keras optimizer over two variables; its state is what its record says of its lists."""

    dialect = ""

    def __init__(self, make: Callable[[], Any], kind: str, start: Sequence[Any] = START, cost: Any = loss) -> None:
        self.kind, self.optimizer, self.cost = kind, make(), cost
        self.weights = [self.variable(w, n) for n, w in zip(NAMES, start, strict=True)]
        self.build()

    @staticmethod
    def variable(value: Any, name: str) -> Any:
        return tf.Variable(value, name=name)

    def build(self) -> None:
        self.optimizer.build(self.weights)

    @property
    def spelling(self) -> Spelling:
        return BY_KIND[self.kind].dialects[self.dialect]

    def step(self, *batch: Any) -> None:
        with tf.GradientTape() as tape:
            cost = self.cost([tf.convert_to_tensor(w) for w in self.weights], *batch)
        trained = [getattr(w, "value", w) if self.dialect == "keras3" else w for w in self.weights]
        self.optimizer.apply_gradients(zip(tape.gradient(cost, trained), self.weights, strict=True))

    def values(self) -> list[Any]:
        return [np.array(w) for w in self.weights]

    def slots(self) -> dict[SlotKey, Any]:
        """Every slot, by the list that holds it; int32 placeholders left out."""
        found: dict[SlotKey, Any] = {}
        for slot, attribute in self.spelling.lists.items():
            members = zip(NAMES, getattr(self.optimizer, attribute), strict=True)
            found |= {SlotKey(n, slot): v for n, v in members if v is not None and "int" not in str(v.dtype)}
        return found

    def scalars(self) -> dict[str, Any]:
        return {name: getattr(self.optimizer, attribute) for name, attribute in self.spelling.scalars.items()}

    def state(self) -> OptimizerState:
        scalars = {name: Stored(name, tensor(np.array(v))) for name, v in self.scalars().items()}
        slots = {key: Stored(key.slot, tensor(np.array(v))) for key, v in self.slots().items()}
        step = int(scalars["iter"].tensor.read())
        hyper = {"learning_rate": float(np.array(self.optimizer.learning_rate))} | (
            {"beta_1": 0.9, "beta_2": 0.999} if self.kind == "nadam" else {}
        )
        return OptimizerState("optimizer", self.kind, self.dialect, step, hyper, scalars, slots)

    def take(self, weights: Sequence[Any], state: OptimizerState, slots: Mapping[SlotKey, Any]) -> None:
        for variable, value in zip(self.weights, weights, strict=True):
            variable.assign(value)
        own = self.slots()
        assert slots.keys() == own.keys()
        for key, value in slots.items():
            own[key].assign(value)
        scalars = self.scalars()
        assert scalars.keys() <= state.scalars.keys()
        for name, variable in scalars.items():
            variable.assign(state.scalars[name].tensor.read())

    def listed(self) -> list[Any]:
        """The variables in the order of the framework's own list."""
        return list(self.optimizer.variables)


class Legacy(Eager):
    dialect = "keras-legacy"

    def build(self) -> None:
        self.optimizer._create_all_weights(self.weights)

    def slots(self) -> dict[SlotKey, Any]:
        names = self.optimizer.get_slot_names()
        pairs = zip(NAMES, self.weights, strict=True)
        return {SlotKey(name, slot): self.optimizer.get_slot(w, slot) for name, w in pairs for slot in names}

    def scalars(self) -> dict[str, Any]:
        """Its children that are variables, as a checkpoint names them."""
        tracked = self.optimizer._trackable_children()
        return {name: v for name, v in tracked.items() if isinstance(v, tf.Variable)}

    def state(self) -> OptimizerState:
        scalars = {name: Stored(name, tensor(v.numpy())) for name, v in self.scalars().items()}
        slots = {key: Stored(key.slot, tensor(v.numpy())) for key, v in self.slots().items()}
        return recognise_object("optimizer", scalars, slots, title=type(self.optimizer).__name__)

    def take(self, weights: Sequence[Any], state: OptimizerState, slots: Mapping[SlotKey, Any]) -> None:
        named = {**self.spelling.scalars, **self.spelling.hyper}
        held = {named[name]: stored for name, stored in state.scalars.items()}
        own = self.scalars()
        missing = {name: Stored("", tensor(own[name].numpy())) for name in own if name in self.spelling.hyper}
        super().take(weights, OptimizerState("o", self.kind, self.dialect, scalars=missing | held), slots)

    def listed(self) -> list[Any]:
        return list(self.optimizer.weights)


class New(Eager):
    dialect = "keras2"

    def take(self, weights: Sequence[Any], state: OptimizerState, slots: Mapping[SlotKey, Any]) -> None:
        super().take(weights, state, slots)
        if self.kind == "nadam":  # as the report says
            self.optimizer._u_product_counter = int(self.optimizer.iterations) + 1


class Keras3(Eager):
    dialect = "keras3"

    @staticmethod
    def variable(value: Any, name: str) -> Any:
        return keras.Variable(value, name=name.rpartition("/")[2])


def converted(state: OptimizerState, conversion: Conversion) -> dict[SlotKey, Any]:
    """The slots after their steps; none of the families here needs steps, or new slots."""
    assert not conversion.slot_steps
    assert not conversion.new_slots
    assert not conversion.dropped
    return {key: stored.tensor.read() for key, stored in state.slots.items()}


V1, OLD, NEW, K3 = tf.compat.v1.train, tf_keras.optimizers.legacy, tf_keras.optimizers, keras.optimizers
SIDES: dict[str, type[Any]] = {"tf1": TF1, "keras-legacy": Legacy, "keras2": New, "keras3": Keras3}
REG = {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.01}
# Kind -> dialect -> makes the optimizer, the same in all
FAMILIES: dict[str, dict[str, Callable[[], Any]]] = {
    "adagrad": {
        "tf1": lambda: V1.AdagradOptimizer(LR),
        "keras-legacy": lambda: OLD.Adagrad(LR),
        "keras2": lambda: NEW.Adagrad(LR),
        "keras3": lambda: K3.Adagrad(LR),
    },
    "adadelta": {
        "tf1": lambda: V1.AdadeltaOptimizer(10.0, epsilon=1e-4),
        "keras-legacy": lambda: OLD.Adadelta(10.0, epsilon=1e-4),
        "keras2": lambda: NEW.Adadelta(10.0, epsilon=1e-4),
        "keras3": lambda: K3.Adadelta(10.0, epsilon=1e-4),
    },
    "adamax": {
        "keras-legacy": lambda: OLD.Adamax(LR),
        "keras2": lambda: NEW.Adamax(LR),
        "keras3": lambda: K3.Adamax(LR),
    },
    "nadam": {
        "keras-legacy": lambda: OLD.Nadam(LR, schedule_decay=1.0),
        "keras2": lambda: NEW.Nadam(LR),
        "keras3": lambda: K3.Nadam(LR),
    },
    "ftrl": {
        "tf1": lambda: V1.FtrlOptimizer(LR, **REG),
        "keras-legacy": lambda: OLD.Ftrl(LR, **REG),
        "keras2": lambda: NEW.Ftrl(LR, **REG),
        "keras3": lambda: K3.Ftrl(LR, **REG),
    },
    "lion": {"keras2": lambda: NEW.Lion(LR), "keras3": lambda: K3.Lion(LR)},
    "adafactor": {"keras2": lambda: NEW.Adafactor(LR), "keras3": lambda: K3.Adafactor(LR)},
    "lamb": {"keras3": lambda: K3.Lamb(LR)},
    "muon": {"keras3": lambda: K3.Muon(LR)},
}
KERAS = [(kind, dialect) for kind, made in FAMILIES.items() for dialect in made if dialect != "tf1"]
PAIRS = [(kind, a, b) for kind, made in FAMILIES.items() for a in made for b in made if a != b]


def side(kind: str, dialect: str) -> Any:
    return SIDES[dialect](FAMILIES[kind][dialect], kind)


def places(run: Any) -> Iterator[SlotKey]:
    """The slots in the order of the record's list, those left out that it says a variable hasn't."""
    for block in run.spelling.listed.blocks:
        for name, start in zip(NAMES, START, strict=True):
            for slot in map(run.spelling.slot, block.slots):
                if slot.shape is None or slot.shape(name, start.shape) is not None:
                    yield SlotKey(name, slot.name)


def is_slot_or_scalar(variable: Any, dialect: str) -> bool:
    """Not an int32 placeholder, nor tf_keras' rate, which stands in `variables` and in no file."""
    rate = dialect == "keras2" and variable.name.startswith("learning_rate")
    return "int32" not in str(variable.dtype) and not rate


@pytest.mark.parametrize(("kind", "dialect"), KERAS)
def test_the_record_is_the_optimizers(kind: str, dialect: str) -> None:
    """Title, scalars, order of the list, names and initial values, of a fresh optimizer."""
    run = side(kind, dialect)
    spelled, slots = run.spelling, run.slots()
    assert spelled.title == type(run.optimizer).__name__
    assert list(slots) == sorted(places(run), key=list(slots).index)
    scalars = {**run.scalars(), "learning_rate": getattr(run.optimizer, "_learning_rate", None)}
    listed = [v for v in run.listed() if is_slot_or_scalar(v, dialect)]
    expected = [scalars[name] for name in spelled.listed.first]
    expected += [slots[key] for key in places(run)]
    expected += [scalars[name] for name in spelled.listed.last]
    assert [id(v) for v in listed] == [id(v) for v in expected]
    for key, variable in slots.items():
        slot = spelled.slot(key.slot)
        assert np.array(variable).tolist() == np.full(variable.shape, slot.initial, "f").tolist()
        shape = START[NAMES.index(key.variable)].shape
        assert tuple(variable.shape) == (slot.shape(key.variable, shape) if slot.shape else shape)
        if slot.shape is None:  # Keras 3 calls Adafactor's rows and columns after the variable alone
            assert slot.spelling in getattr(variable, "path", variable.name)


@pytest.mark.parametrize(("kind", "source", "target"), PAIRS)
def test_training_goes_on(kind: str, source: str, target: str) -> None:
    before, after = side(kind, source), side(kind, target)
    for batch in BATCHES[:STEPS]:
        before.step(*batch)
    state = before.state()
    assert (state.kind, state.dialect) == (kind, source)
    flags = {"learning_rate": 10.0 if kind == "adadelta" else LR} if source == "tf1" else {}
    flags |= {"decay": 1.0} if (kind, target) == ("nadam", "keras-legacy") else {}
    conversion = to_dialect(state, target, hyper=flags, step=STEPS)
    assert not [i for i in conversion.issues if i.severity in ("error", "loss")]
    after.take(before.values(), conversion.state, converted(state, conversion))
    for batch in BATCHES[STEPS:]:
        before.step(*batch)
        after.step(*batch)
    moved = max(np.max(np.abs(a - b)) for a, b in zip(before.values(), START, strict=True))
    apart = max(np.max(np.abs(a - b)) for a, b in zip(before.values(), after.values(), strict=True))
    assert moved > 0.05
    assert apart <= ROUNDING


@pytest.mark.parametrize(("source", "target"), [("keras2", "keras3"), ("keras3", "keras2")])
def test_nadams_product_is_found_again(source: str, target: str) -> None:
    """tf_keras' `.h5` and `.keras` hold no product: computed from the step, it is the one that was lost."""
    run = side("nadam", source)
    for batch in BATCHES:
        run.step(*batch)
    state = run.state()
    lost = {name: stored for name, stored in state.scalars.items() if name != "momentum_cache"}
    bare = OptimizerState("o", "nadam", source, state.step, state.hyper, lost, state.slots)
    found = to_dialect(bare, target).state.scalars["momentum_cache"].tensor.read()
    np.testing.assert_allclose(found, state.scalars["momentum_cache"].tensor.read(), rtol=1e-6)


def test_legacy_nadams_product_is_found_again() -> None:
    from ckptmigrate.optimizers.nadam import product_after

    run = Legacy(lambda: OLD.Nadam(LR), "nadam")
    for count, batch in enumerate(BATCHES, 1):
        run.step(*batch)
        np.testing.assert_allclose(run.scalars()["momentum_cache"].numpy(), product_after(0.9, count, 0.004), rtol=1e-6)


@pytest.mark.parametrize(("kind", "dialect"), KERAS)
def test_fresh_state_is_that_of_a_fresh_optimizer(kind: str, dialect: str) -> None:
    run = side(kind, dialect)
    fresh = {name: np.array(v).tolist() for name, v in run.scalars().items()}
    for batch in BATCHES[:2]:
        run.step(*batch)
    state = anew(run.state())
    assert state.step == 0
    assert {name: s.tensor.read().tolist() for name, s in state.scalars.items()} == fresh


def fixture_loss(weights: Sequence[Any]) -> Any:
    """That of fixtures/make/optimizers.py."""
    w, b = weights
    return tf.reduce_sum(0.3 * w * w + w) + tf.reduce_sum(0.4 * b * b + b)


# Kind -> dialect -> makes the optimizer that fixtures/make/optimizers.py trains with
RATES = {"adadelta": 10.0}
AS_TF1 = {"adadelta": {"epsilon": 1e-4}, "ftrl": {**REG}, "adamax": {"epsilon": 1e-8}}
AS_KERAS = {"adadelta": {"epsilon": 1e-4}, "ftrl": {"l1_regularization_strength": 0.01}}
MODULES = {"keras-legacy": OLD, "keras2": NEW, "keras3": K3}
FROM_TF1 = [
    (f, k, d) for f in ("optimizers", "keras_optimizers") for k in FAMILIES for d in MODULES if d in FAMILIES[k]
]
FROM_TF1 = [(f, k, d) for f, k, d in FROM_TF1 if k in ("adagrad", "adadelta", "ftrl", "adamax")]
FROM_TF1 += [("keras_optimizers", "nadam", "keras-legacy")]


@pytest.mark.parametrize(("name", "kind", "dialect"), FROM_TF1)
def test_training_goes_on_from_files_of_tensorflow_1(name: str, kind: str, dialect: str) -> None:
    settings = (AS_TF1 if name == "optimizers" else AS_KERAS).get(kind, {})
    later = tf.train.load_checkpoint(str(ROOT / "tf1" / f"{name}_later" / "model.ckpt"))
    with open_checkpoint(ROOT / "tf1" / name / "model.ckpt") as checkpoint:
        state = next(o for o in checkpoint.optimizers if o.kind == kind)
        start = [checkpoint.variables[f"{kind}/{n}"].tensor.read() for n in ("w", "b")]
        conversion = to_dialect(state, dialect, hyper={"learning_rate": RATES.get(kind, 0.1)}, step=3)
        slots = converted(state, conversion)
    run = SIDES[dialect](
        lambda: getattr(MODULES[dialect], kind.title())(RATES.get(kind, 0.1), **settings), kind, start, fixture_loss
    )
    assert not [i for i in conversion.issues if i.severity in ("error", "loss")]
    named = dict(zip((f"{kind}/w", f"{kind}/b"), NAMES, strict=True))
    own = {SlotKey(named[key.variable], key.slot): value for key, value in slots.items()}
    held = conversion.state if conversion.state.dialect != state.dialect else state
    run.take(start, replace(held, scalars={n: s for n, s in held.scalars.items() if n != "learning_rate"}), own)
    for _ in range(5):
        run.step()
    expected = [later.get_tensor(f"{kind}/{n}") for n in ("w", "b")]
    assert max(np.max(np.abs(a - b)) for a, b in zip(expected, start, strict=True)) > 0.05
    assert max(np.max(np.abs(a - b)) for a, b in zip(expected, run.values(), strict=True)) <= ROUNDING
