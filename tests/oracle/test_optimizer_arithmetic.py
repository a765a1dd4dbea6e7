"""State that changes dialect trains on as if it hadn't: TensorFlow's own optimizers are the judge.

Five steps in one dialect, the state recognised and converted, five more in both on the same batches. The weights move
by 0.1 and more, so a difference of 4e-6 is rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ckptmigrate.dtypes import from_numpy
from ckptmigrate.optimizers import Conversion, recognise_names, recognise_object, to_dialect
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor

pytestmark = pytest.mark.oracle

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")

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
    """A graph and a session of tf.compat.v1."""

    dialect = "tf1"

    def __init__(self, make: Callable[[], Any]) -> None:
        v1 = tf.compat.v1
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x, self.y = v1.placeholder(tf.float32, [None, 4]), v1.placeholder(tf.float32, [None, 3])
            self.weights = [v1.get_variable(n, initializer=w) for n, w in zip(NAMES, START, strict=True)]
            v1.train.get_or_create_global_step()
            cost = loss([tf.convert_to_tensor(w) for w in self.weights], self.x, self.y)
            self.train = make().minimize(cost, global_step=v1.train.get_global_step())
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

    def assign(self, values: Mapping[str, Any]) -> None:
        with self.graph.as_default():
            for name, value in values.items():
                self.all[name].load(value, self.session)

    def take(self, weights: Sequence[Any], state: OptimizerState, slots: Mapping[SlotKey, Any]) -> None:
        own = self.state()
        assert own.kind == state.kind
        self.assign(dict(zip(NAMES, weights, strict=True)))
        assert slots.keys() == own.slots.keys()
        self.assign({own.slots[key].key: value for key, value in slots.items()})
        assert state.scalars.keys() == own.scalars.keys()
        self.assign({own.scalars[name].key: stored.tensor.read() for name, stored in state.scalars.items()})


class Legacy:
    """tf_keras.optimizers.legacy, eager."""

    dialect = "keras-legacy"

    def __init__(self, make: Callable[[], Any]) -> None:
        self.weights = [tf.Variable(w, name=n) for n, w in zip(NAMES, START, strict=True)]
        self.optimizer = make()
        self.optimizer._create_all_weights(self.weights)

    def step(self, x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            cost = loss(self.weights, x, y)
        self.optimizer.apply_gradients(zip(tape.gradient(cost, self.weights), self.weights, strict=True))

    def values(self) -> list[Any]:
        return [w.numpy() for w in self.weights]

    def children(self) -> dict[str, Any]:
        """Its scalars as a checkpoint names them: the tracked children that are variables."""
        tracked = self.optimizer._trackable_children()
        return {name: v for name, v in tracked.items() if isinstance(v, tf.Variable)}

    def variables(self) -> dict[SlotKey, Any]:
        names = self.optimizer.get_slot_names()
        pairs = zip(NAMES, self.weights, strict=True)
        return {SlotKey(name, slot): self.optimizer.get_slot(w, slot) for name, w in pairs for slot in names}

    def state(self) -> OptimizerState:
        scalars = {name: Stored(name, tensor(v.numpy())) for name, v in self.children().items()}
        slots = {key: Stored(key.slot, tensor(v.numpy())) for key, v in self.variables().items()}
        return recognise_object("optimizer", scalars, slots)

    def take(self, weights: Sequence[Any], state: OptimizerState, slots: Mapping[SlotKey, Any]) -> None:
        for variable, value in zip(self.weights, weights, strict=True):
            variable.assign(value)
        own = self.variables()
        assert slots.keys() == own.keys()
        for key, value in slots.items():
            own[key].assign(value)
        children = self.children()
        assert "iter" in state.scalars
        for name, stored in state.scalars.items():
            children[name].assign(stored.tensor.read())


def converted(state: OptimizerState, conversion: Conversion) -> dict[SlotKey, Any]:
    """The slots after their steps, with the slots that are new."""
    slots = {}
    for key, stored in state.slots.items():
        if key.slot not in conversion.dropped:
            arrays: Sequence[Any] = [stored.tensor.read()]
            make = conversion.slot_steps.get(key.slot, lambda shape, dtype: ())
            for step in make(stored.tensor.shape, stored.tensor.dtype):
                arrays = step.apply(arrays)
            slots[key] = arrays[0]
        for slot, number in conversion.new_slots.items():
            slots[SlotKey(key.variable, slot)] = np.full(stored.tensor.shape, number, "f")
    return slots


V1 = tf.compat.v1.train
OLD = tf_keras.optimizers.legacy
RATE = {"learning_rate": LR}
CASES = {
    # name: (TF1's, legacy Keras', hyperparameters to give TF1's state, tolerance)
    "momentum": (lambda: V1.MomentumOptimizer(LR, 0.9), lambda: OLD.SGD(LR, momentum=0.9), RATE, ROUNDING),
    "nesterov": (
        lambda: V1.MomentumOptimizer(LR, 0.9, use_nesterov=True),
        lambda: OLD.SGD(LR, momentum=0.9, nesterov=True),
        RATE,
        ROUNDING,
    ),
    "adam": (lambda: V1.AdamOptimizer(LR, epsilon=1e-7), lambda: OLD.Adam(LR, epsilon=1e-7), {}, ROUNDING),
    "adam, other betas": (
        lambda: V1.AdamOptimizer(LR, 0.5, 0.997, epsilon=1e-7),
        lambda: OLD.Adam(LR, 0.5, 0.997, epsilon=1e-7),
        {},
        ROUNDING,
    ),
    "rmsprop": (
        lambda: V1.RMSPropOptimizer(LR, epsilon=1e-7),
        lambda: OLD.RMSprop(LR, epsilon=1e-7),
        {"momentum": 0.0},
        ROUNDING,
    ),
    "rmsprop, large epsilon": (  # approximate, and said so: Keras adds epsilon outside the root
        lambda: V1.RMSPropOptimizer(LR, epsilon=1e-3),
        lambda: OLD.RMSprop(LR, epsilon=1e-3),
        {"momentum": 0.0},
        1e-2,
    ),
    "rmsprop with momentum": (
        lambda: V1.RMSPropOptimizer(LR, momentum=0.9, epsilon=1e-3),
        lambda: OLD.RMSprop(LR, momentum=0.9, epsilon=1e-3),
        {"momentum": 0.9},
        ROUNDING,
    ),
    "rmsprop, centered with momentum": (
        lambda: V1.RMSPropOptimizer(LR, momentum=0.9, centered=True, epsilon=1e-3),
        lambda: OLD.RMSprop(LR, momentum=0.9, centered=True, epsilon=1e-3),
        {"momentum": 0.9},
        ROUNDING,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("to", ["keras-legacy", "tf1"])
def test_training_goes_on(name: str, to: str) -> None:
    make_tf1, make_legacy, hyper, tolerance = CASES[name]
    sides: dict[str, Callable[[], Any]] = {"tf1": lambda: TF1(make_tf1), "keras-legacy": lambda: Legacy(make_legacy)}
    target = sides.pop(to)()
    (source,) = (make() for make in sides.values())
    for batch in BATCHES[:STEPS]:
        source.step(*batch)
    state = source.state()
    conversion = to_dialect(state, to, hyper=hyper if to != "tf1" else {}, step=STEPS)
    assert not [i for i in conversion.issues if i.severity in ("error", "loss")]
    is_warned = any(i.kind == "approximate" and i.severity == "warning" for i in conversion.issues)
    assert is_warned == (name in ("rmsprop", "rmsprop, large epsilon"))
    target.take(source.values(), conversion.state, converted(state, conversion))
    for batch in BATCHES[STEPS:]:
        source.step(*batch)
        target.step(*batch)
    moved = max(np.max(np.abs(a - b)) for a, b in zip(source.values(), START, strict=True))
    apart = max(np.max(np.abs(a - b)) for a, b in zip(source.values(), target.values(), strict=True))
    assert moved > 0.1
    assert apart <= tolerance


@pytest.mark.parametrize(("betas", "steps"), [((0.9, 0.999), 300), ((0.5, 0.997), 160), ((0.0, 0.9), 30)])
def test_beta_powers_have_tensorflows_bits(betas: tuple[float, float], steps: int) -> None:
    from ckptmigrate.optimizers.powers import power_after

    run = TF1(lambda: V1.AdamOptimizer(0.0, *betas))
    for step in range(steps + 1):
        scalars = run.state().scalars
        for name, beta in zip(("beta1_power", "beta2_power"), betas, strict=True):
            assert scalars[name].tensor.read().tobytes() == power_after(beta, step).tobytes(), (name, step)
        run.step(*BATCHES[0])
