"""The models of the matrix: together they have every kind of layer whose variables are odd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Model = Any
WORDS = ("a", "b", "c", "d", "e")


def convolutions(k: ModuleType) -> Model:
    """Convolutions of all kinds, statistics with and without scale and center, renormalised ones, a frozen layer."""
    la, start = k.layers, k.Input((8, 8, 3), name="image")
    x = la.Conv2D(4, 3, name="stem")(start)
    x = la.BatchNormalization(name="bn")(x)
    x = la.DepthwiseConv2D(3, name="depth")(x)
    x = la.BatchNormalization(scale=False, name="centered", **({"renorm": True} if k.__name__ == "tf_keras" else {}))(x)
    x = la.SeparableConv2D(5, 3, name="apart")(x)
    x = la.BatchNormalization(center=False, name="scaled")(x)
    x = la.PReLU(name="leaky")(la.Conv2DTranspose(3, 2, name="wider")(x))
    x = la.ConvLSTM2D(2, 2, name="frames")(la.Reshape((1, 3, 3, 3), name="one")(x))
    frozen = la.Dense(4, name="frozen")
    frozen.trainable = False
    return k.Model(start, la.Dense(3, name="head")(frozen(la.Flatten(name="flat")(x))), name="convolutions")


def sequences(k: ModuleType) -> Model:
    """Embedding, recurrent layers of every layout, wrappers, attention."""
    la, start = k.layers, k.Input((4,), name="tokens", dtype="int32")
    x = la.Embedding(11, 4, name="words")(start)
    x = la.Bidirectional(la.LSTM(3, return_sequences=True, name="memory"), name="both")(x)
    x = la.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = la.TimeDistributed(la.Dense(4, name="each"), name="steps")(x)
    x = la.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d", name="einsum")(x)
    x = la.LayerNormalization(name="norm")(x)
    x = la.GRU(2, name="gated", return_sequences=True)(x)
    x = la.GRU(2, reset_after=False, name="older", return_sequences=True)(x)
    return k.Model(start, la.SimpleRNN(2, name="last")(x), name="sequences")


def stacked(k: ModuleType) -> Model:
    """Cells in a list."""
    la, start = k.layers, k.Input((3, 4), name="rows")
    x = la.RNN([la.LSTMCell(2), la.GRUCell(3)], name="cells")(start)
    return k.Model(start, la.Dense(2, name="head")(x), name="stacked")


def nested(k: ModuleType) -> Model:
    """Models in a model, a layer that is used twice, random layers."""
    la, start = k.layers, k.Input((5,), name="row")
    inside = k.Input((5,), name="inside")
    block = k.Model(inside, la.BatchNormalization(name="bn")(la.Dense(5, name="wide")(inside)), name="block")
    shared = la.Dense(5, name="shared")
    parts = [k.Input((5,)), la.Dense(4, name="q"), la.Dropout(0.5, seed=3, name="drop"), la.Dense(4, name="r")]
    rest = k.Sequential(parts, name="rest")
    return k.Model(start, rest(shared(block(la.GaussianNoise(0.1, name="noise")(shared(start))))), name="nested")


def numbers(k: ModuleType) -> Model:
    """Statistics of the inputs, learned by `adapt`."""
    la, start = k.layers, k.Input((3,), name="row")
    norm = la.Normalization(name="norm")
    norm.adapt(np.random.default_rng(2).normal(2, 3, (20, 3)).astype("float32"))
    return k.Model(start, la.Dense(2, name="head")(norm(start)), name="numbers")


def given_words(k: ModuleType) -> Model:
    """A table of words that is given with the layer."""
    return _words(k, k.layers.StringLookup(vocabulary=list(WORDS), name="lookup"), "given_words")


def learned_words(k: ModuleType) -> Model:
    """A table of words that is learned by `adapt`."""
    lookup = k.layers.TextVectorization(name="lookup", output_sequence_length=1)
    lookup.adapt(np.array([" ".join(WORDS[: end + 1]) for end in range(len(WORDS))]))
    return _words(k, lookup, "learned_words")


def _words(k: ModuleType, lookup: Any, name: str) -> Model:
    la, start = k.layers, k.Input((1,), dtype="string", name="start")
    x = la.Flatten(name="flat")(la.Embedding(7, 2, name="embedding")(lookup(start)))
    return k.Model(start, la.Dense(2, name="head")(x), name=name)


def own_layer(k: ModuleType) -> type[Any]:
    """A layer class of the user's own: layers and a variable in it."""

    class Block(k.layers.Layer):  # type: ignore[misc,name-defined]
        def __init__(self, **rest: Any) -> None:
            super().__init__(**rest)
            self.first, self.second = k.layers.Dense(3, name="inner"), k.layers.BatchNormalization(name="stats")

        def build(self, shape: Any) -> None:
            self.shift = self.add_weight(name="shift", shape=(), initializer="zeros", trainable=False)
            self.scale = self.add_weight(name="scale", shape=(3,), initializer="ones")
            super().build(shape)

        def call(self, x: Any) -> Any:
            return self.second(self.first(x)) * self.scale + self.shift

    return Block


def custom(k: ModuleType) -> Model:
    """Layers of the user's own, two of one class, among others."""
    block, start = own_layer(k), k.Input((3,), name="row")
    x = block(name="encoder")(k.layers.Dense(3, name="stem")(start))
    return k.Model(start, k.layers.Dense(2, name="head")(block(name="decoder")(x)), name="custom")


def own_model(k: ModuleType) -> type[Any]:
    """A model class of the user's own: layers in attributes and a list, a variable of the model itself."""
    block = own_layer(k)

    class Own(k.Model):  # type: ignore[misc,name-defined]
        def __init__(self, **rest: Any) -> None:
            super().__init__(**{"name": "subclassed"} | rest)
            self.enc = block(name="enc")
            self.rows = [k.layers.Dense(3, name="row0"), k.layers.Dense(3, name="row1")]
            self.head = k.layers.Dense(2, name="head")
            self.scale = self.add_weight(name="scale", shape=(2,), initializer="ones")

        def call(self, x: Any) -> Any:
            x = self.enc(x)
            for row in self.rows:
                x = row(x)
            return self.head(x) * self.scale

    return Own


def subclassed(k: ModuleType) -> Model:
    """A model of a class of the user's own."""
    model = own_model(k)()
    model(np.zeros((2, 3), "float32"))
    return model


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what is asked of it.

    Attributes:
        build: Builds it anew, with the Keras given.
        question: Its input.
        is_described: Whether its configuration, with what is known of Keras' own layers, tells all of its variables.
        own: Classes that loading it as a whole takes.
        forget: Gives values of no use to what isn't a weight.
    """

    build: Callable[[ModuleType], Model]
    question: np.ndarray[Any, Any]
    is_described: bool = True
    own: Callable[[ModuleType], dict[str, type[Any]]] = lambda k: {}
    forget: Callable[[Model], object] = lambda model: None

    def anew(self, k: ModuleType) -> Model:
        """The model newly built, as if in a process of its own: names count from the start."""
        k.backend.clear_session()
        return self.build(k)

    def shaken(self, k: ModuleType) -> Model:
        """The model with weights of its own, no two alike, none negative."""
        model, random = self.anew(k), np.random.default_rng(7)
        for weight in model.weights:
            if is_float(weight):
                weight.assign(np.abs(random.normal(0.5, 0.3, tuple(weight.shape))).astype(dtype_of(weight)))
        return model

    def blank(self, model: Model) -> Model:
        """The same model, knowing nothing."""
        for weight in model.weights:
            if is_float(weight):
                weight.assign(np.zeros(tuple(weight.shape), dtype_of(weight)))
        self.forget(model)
        return model

    def answer(self, model: Model) -> np.ndarray[Any, Any]:
        """What it predicts."""
        for layer in model.layers:
            if hasattr(layer, "adapt_mean"):
                layer.finalize_state()  # which checkpoints that are read by TensorFlow don't do
        return np.asarray(model(self.question))


def dtype_of(weight: Any) -> str:
    dtype = getattr(weight, "dtype", "")  # tf_keras' tables have none
    return str(getattr(dtype, "name", dtype))


def is_float(weight: Any) -> bool:
    """Counters, seeds and the like aren't."""
    return dtype_of(weight).startswith("float")


def _floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(size=shape).astype("float32")


MODELS = {
    "convolutions": Subject(convolutions, _floats(2, 8, 8, 3)),
    "sequences": Subject(sequences, np.random.default_rng(3).integers(0, 11, (2, 4)).astype("int32")),
    "stacked": Subject(stacked, _floats(2, 3, 4)),
    "nested": Subject(nested, _floats(2, 5)),
    "numbers": Subject(numbers, _floats(2, 3)),
    "given_words": Subject(given_words, np.array([["a"], ["e"], ["z"]])),
    "learned_words": Subject(
        learned_words,
        np.array([["a"], ["e"], ["z"]]),
        forget=lambda m: m.get_layer("lookup").set_vocabulary(WORDS[::-1]),
    ),
    "custom": Subject(custom, _floats(2, 3), is_described=False, own=lambda k: {"Block": own_layer(k)}),
    "subclassed": Subject(
        subclassed, _floats(2, 3), is_described=False, own=lambda k: {"Own": own_model(k), "Block": own_layer(k)}
    ),
}
