"""One small net in each dialect: built, trained, saved in every form its framework has, and restored from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

Arrays = dict[str, Any]

BEFORE, AFTER = 6, 5  # steps until it is saved, and from there on
SIZES = {"d1": (3, 4), "d2": (4, 2)}
_random = np.random.RandomState(4)
BATCHES = [(_random.randn(8, 3).astype("f"), _random.randn(8, 2).astype("f")) for _ in range(BEFORE + AFTER)]
START: Arrays = {
    f"{name}/{leaf}": (_random.randn(*shape) * 0.5).astype("f")
    for name, (rows, columns) in SIZES.items()
    for leaf, shape in (("kernel", (rows, columns)), ("bias", (columns,)))
}


def loss_of(weights: Any, x: Any, y: Any) -> Any:
    """Of the net, given its four weights in order."""
    first, bias, second, shift = weights
    return tf.reduce_mean(tf.square(tf.matmul(tf.tanh(tf.matmul(x, first) + bias), second) + shift - y))


class Tf1:
    """A graph and a session of tf.compat.v1."""

    def __init__(self, make: Callable[[], Any]) -> None:
        v1 = tf.compat.v1
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x, self.y = v1.placeholder(tf.float32, [None, 3]), v1.placeholder(tf.float32, [None, 2])
            self.named = {name: v1.get_variable(name, initializer=value) for name, value in START.items()}
            count = v1.train.get_or_create_global_step()
            cost = loss_of([tf.convert_to_tensor(w) for w in self.named.values()], self.x, self.y)
            self.train = make().minimize(cost, global_step=count)
            self.all = {v.op.name: v for v in v1.global_variables()}
            self.saver = v1.train.Saver(self.all)
            self.init = v1.global_variables_initializer()
            self.given = {name: v1.placeholder(v.dtype.base_dtype, v.shape) for name, v in self.all.items()}
            self.assigns = {name: v.assign(self.given[name]) for name, v in self.all.items()}
            self.session = v1.Session(config=v1.ConfigProto(intra_op_parallelism_threads=1))
        self.begin()

    def begin(self) -> None:
        """As it was built."""
        self.session.run(self.init)

    def assign(self, values: Arrays) -> None:
        """Sets variables by their names."""
        self.session.run([self.assigns[n] for n in values], {self.given[n]: value for n, value in values.items()})

    def step(self, x: Any, y: Any) -> None:
        """Trains on a batch."""
        self.session.run(self.train, {self.x: x, self.y: y})

    def weights(self) -> Arrays:
        """By name."""
        return dict(self.session.run(self.named))

    def save(self, form: str, folder: Path) -> str:
        """Gives the path."""
        with self.graph.as_default():
            return str(self.saver.save(self.session, str(folder / "model.ckpt"), write_meta_graph=False))

    def restore(self, form: str, path: str, *, partly: bool = False) -> None:
        """From a path, all of it; `global_step` only where it is there."""
        reader = tf.compat.v1.train.load_checkpoint(path)
        there = reader.get_variable_to_shape_map()
        missing = self.all.keys() - there.keys() - {"global_step"}
        if missing and not partly:
            raise KeyError(f"not in the checkpoint: {sorted(missing)}")
        self.assign({name: reader.get_tensor(name) for name in self.all.keys() & there.keys()})


class Keras:
    """A model and an optimizer of one Keras, eager."""

    def __init__(self, library: Any, dialect: str, make: Callable[[], Any]) -> None:
        self.library, self.dialect, self.make = library, dialect, make
        self.build()
        self.begin()

    def build(self) -> None:
        """A new model with a new optimizer."""
        layers = [self.library.layers.Dense(columns, name=name) for name, (_, columns) in SIZES.items()]
        self.take(self.library.Sequential([self.library.Input((3,)), *layers], name="net"), self.make())
        self.own = self.model, self.optimizer
        self.fresh = [np.array(v) for v in self.variables()]

    def take(self, model: Any, optimizer: Any) -> None:
        """Goes on with these."""
        self.model, self.optimizer = model, optimizer
        self.named = {
            f"{layer.name}/{leaf}": getattr(layer, leaf) for layer in model.layers for leaf in ("kernel", "bias")
        }
        if getattr(model, "optimizer", None) is None:
            model.compile(optimizer, self.library.losses.MeanSquaredError())
        variables = list(self.named.values())
        if self.dialect == "keras-legacy":
            self.optimizer.iterations  # noqa: B018 - made when asked for
            self.optimizer._create_all_weights(variables)
        elif not getattr(self.optimizer, "built", getattr(self.optimizer, "_built", False)):
            with tf.name_scope(self.optimizer.name):  # as apply_gradients does
                self.optimizer.build(variables)

    def variables(self) -> list[Any]:
        """Of the optimizer, those in no list included."""
        own = self.optimizer.variables
        found = list(own() if callable(own) else own)
        product = getattr(self.optimizer, "_u_product", None)
        return [*found, *([product] if product is not None and not any(v is product for v in found) else [])]

    def begin(self) -> None:
        """As it was built."""
        self.take(*self.own)
        if len(self.variables()) != len(self.fresh):  # a restore made slots
            self.build()
        for name, value in START.items():
            self.named[name].assign(value)
        for variable, value in zip(self.variables(), self.fresh, strict=True):
            variable.assign(value)
        self._count()

    def assign(self, values: Arrays) -> None:
        """Sets weights by their names."""
        for name, value in values.items():
            self.named[name].assign(value)

    def step(self, x: Any, y: Any) -> None:
        """Trains on a batch."""
        with tf.GradientTape() as tape:
            cost = loss_of([w.value if self.library is keras else w for w in self.named.values()], x, y)
        variables = list(self.named.values())
        gradients = tape.gradient(cost, [v.value for v in variables] if self.library is keras else variables)
        self.optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

    def weights(self) -> Arrays:
        """By name."""
        return {name: np.array(variable) for name, variable in self.named.items()}

    def save(self, form: str, folder: Path) -> str:
        """Gives the path."""
        path = str(folder / f"model{form}")
        if form == "tf2":
            return str(tf.train.Checkpoint(model=self.model, optimizer=self.optimizer).write(str(folder / "ckpt")))
        if form == ".weights.h5":
            self.model.save_weights(path)
        else:
            self.model.save(path)
        return path

    def restore(self, form: str, path: str, *, partly: bool = False) -> None:
        """From a path, all of it."""
        if form in (".h5", ".keras"):
            model = self.library.models.load_model(path)
            self.take(model, model.optimizer)
        elif form == ".weights.h5":
            if self.library is tf_keras:  # wants the metrics that a used model has
                self.build()
            self.model.load_weights(path)
        else:
            status = tf.train.Checkpoint(model=self.model, optimizer=self.optimizer).read(path)
            if not partly:
                self._check(status)
        self._count(form)

    def _check(self, status: Any) -> None:
        """All but settings has to be found. These stand in such a checkpoint where they were told."""
        try:
            status.assert_existing_objects_matched()
        except AssertionError as error:
            names = set(re.findall(r"<tf.Variable '(\w+):0' shape=\(\)", str(error)))
            if f"Showing {len(names)} of {len(names)} unmatched" not in str(error) or not names <= SETTINGS:
                raise

    def _count(self, form: str = "tf2") -> None:
        """tf_keras counts Nadam's factors in an attribute that no file holds, and its own files lack their product."""
        if hasattr(self.optimizer, "_u_product_counter"):
            step = int(self.optimizer.iterations)
            self.optimizer._u_product_counter = step + 1
            if form != "tf2":
                self.optimizer._u_product.assign(np.prod([0.9 * (1 - 0.5 * 0.96**t) for t in range(1, step + 1)]))


# In which forms a framework saves an optimizer's state, the most natural first; and loads it. Keras 3 saves whole .h5
# files, and builds the optimizer of those it loads over no variables (legacy/saving/legacy_h5_format.py).
SAVED = {
    "tf1": ("tf1",),
    "keras-legacy": ("tf2", ".h5"),
    "keras2": ("tf2", ".h5", ".keras", ".weights.h5"),
    "keras3": (".keras", ".weights.h5", ".h5", "tf2"),
}
LOADED = {**SAVED, "keras3": (".keras", ".weights.h5", "tf2")}
SETTINGS = {"learning_rate", "decay", "momentum", "rho", "beta_1", "beta_2", "beta", "learning_rate_power"} | {
    f"{name}_regularization_strength" for name in ("l1", "l2")
}
LIBRARIES = {"keras-legacy": tf_keras, "keras2": tf_keras, "keras3": keras}


def built(dialect: str, make: Callable[[], Any]) -> Any:
    """The net in a dialect, as it begins."""
    return Tf1(make) if dialect == "tf1" else Keras(LIBRARIES[dialect], dialect, make)


def train(net: Any, batches: Any) -> Arrays:
    """Its weights after these batches."""
    for batch in batches:
        net.step(*batch)
    weights: Arrays = net.weights()
    return weights


def apart(ours: Arrays, theirs: Arrays) -> float:
    """The largest difference between weights."""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)
