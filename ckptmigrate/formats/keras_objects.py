"""What tf_keras and Keras 3 call the objects that hold a model's variables, from the model's configuration.

tf_keras numbers the layers that have weights (`layer_with_weights-2/cell/kernel`), Keras 3 all operations
(`_operations/4/_kernel`), those of a Sequential model below `_functional`, where an input stands before all layers.
Facts: object graphs that tf_keras 2.21 and Keras 3.15 saved through tf.train.Checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.keras_config import Configured, read_config
from ckptmigrate.formats.keras_layers import WEIGHTS
from ckptmigrate.objects import escape
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, Layer

# Objects whose attribute has another name than its path in the one spelling, by class; "" for every class
_KERAS2: Mapping[str, Mapping[str, str]] = {
    "": {part: f"_{part}" for part in ("query_dense", "key_dense", "value_dense", "output_dense")},
}
_KERNEL = {"kernel": "_kernel"}
_DEPTHWISE = {"depthwise_kernel": "kernel"}
_KERAS3: Mapping[str, Mapping[str, str]] = {
    **_KERAS2,
    **dict.fromkeys(("Dense", "EinsumDense"), _KERNEL),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _KERNEL),
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), _KERNEL),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    "Embedding": {"embeddings": "_embeddings"},
    "Normalization": {"mean": "adapt_mean", "variance": "adapt_variance"},
}
_ATTRIBUTES: Mapping[str, Mapping[str, Mapping[str, str]]] = {"tf_keras": _KERAS2, "keras3": _KERAS3}


# What variables of wrappers stand below; anything else of two parts and more may be a model's layer
_PARTS = frozenset({"cell", "cells", "layer", "forward_layer", "backward_layer", *_KERAS2[""]})

# Classes of tf_keras whose variables have no more than their own name, and whose cells give theirs no name
_UNPREFIXED = frozenset({"Normalization"})
_NO_CELL = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})

_MODEL_CONFIG = "model_config"
_SHOWN = 20  # names in a message


def paths_in(checkpoint: Checkpoint, flavor: str, *, guesses: bool = False) -> dict[str, str]:
    """Variable -> the path of its object below the model, for a file that tells its layers.

    Args:
        checkpoint: A file with the model's configuration; for tf_keras its layout is enough, where no models are in it.
        flavor: tf_keras | keras3.
        guesses: Gives what stands in a layer of a class that isn't known the path that the file has for it.

    Raises:
        LookupError: It doesn't tell all of that.
    """
    layout, config = checkpoint.structure.layout, checkpoint.structure.blobs.get(_MODEL_CONFIG)
    if layout is None:
        raise LookupError("nothing tells the order of the model's layers")
    model: Configured | None
    try:
        model = read_config(config, str(checkpoint.path)) if config is not None else None
    except DamagedError as error:
        raise LookupError(error.message) from error
    if model is None and flavor == "keras3":
        raise LookupError("without the model's configuration nothing tells which objects Keras 3 has")
    model = model or flat_model(layout)
    if model is None:
        raise LookupError("without the model's configuration nothing tells the order of layers in an inner model")
    weighty = {name for name, variable in checkpoint.variables.items() if variable.role in LOSSY_ROLES}
    paths = object_paths(model, [_known(layer, weighty) for layer in layout], flavor, guesses=guesses)
    homeless = [name for name in checkpoint.variables if name in weighty and name not in paths]
    if homeless:
        raise LookupError(f"no layer holds {', '.join(homeless[:_SHOWN])}")
    return paths


def _known(layer: Layer, weighty: Collection[str]) -> Layer:
    """A layer less what nothing depends on, seeds of random layers for one, where its class isn't known."""
    if layer.class_name in WEIGHTS:
        return layer
    return replace(layer, attributes=tuple((path, name) for path, name in layer.attributes if name in weighty))


def names_in(checkpoint: Checkpoint) -> dict[str, str]:
    """Variable -> its name by the names of all layers on the way, also of cells, where a configuration tells those."""
    layout, config = checkpoint.structure.layout, checkpoint.structure.blobs.get(_MODEL_CONFIG)
    try:
        model = read_config(config, str(checkpoint.path)) if config is not None else None
    except DamagedError:
        return {}
    if model is None:
        return {}
    is_keras2 = not str(checkpoint.metadata.get("keras_version") or "").startswith("3")
    bare = {layer.name for layer in layout or () if is_keras2 and layer.class_name in _UNPREFIXED}
    names = {name: list(_named(model, path.split("/"), is_keras2)) for path, name in _held(layout or ()).items()}
    return {name: "/".join(parts[-1:] if parts[0] in bare else parts) for name, parts in names.items()}


def _named(owner: Configured, path: Sequence[str], is_keras2: bool) -> Iterator[str]:
    if is_keras2 and owner.class_name in _NO_CELL and path[0] == "cell":
        path = path[1:]
    for attribute, wrapped in owner.inner.items():
        parts = attribute.split("/")
        if list(path[: len(parts)]) == parts:
            yield from (wrapped.name,) if wrapped.name else parts
            yield from _named(wrapped, path[len(parts) :], is_keras2)
            return
    yield from path[:1]
    inner = next((layer for layer in owner.layers if layer.name == path[0]), None)
    yield from _named(inner, path[1:], is_keras2) if inner is not None and len(path) > 1 else path[1:]


def _held(layout: Sequence[Layer]) -> dict[str, str]:
    """Path of each variable from the model on -> its name."""
    return {f"{layer.name}/{path}": name for layer in layout for path, name in layer.attributes if name}


def object_paths(model: Configured, layout: Sequence[Layer], flavor: str, *, guesses: bool = False) -> dict[str, str]:
    """Variable -> the path of its object below the model.

    Args:
        model: The model's configuration.
        layout: Its layers, with paths of attributes in the one spelling.
        flavor: tf_keras | keras3.
        guesses: See `paths_in`.

    Raises:
        LookupError: A variable stands in no layer of the configuration, or in one of a class that isn't known.
    """
    held = _held(layout)
    objects = _Objects(held, flavor, guesses)
    found: dict[str, str] = {}
    for path, name in held.items():
        found.setdefault(name, "/".join(objects.below(model, path.split("/"))))
    return found


def flat_model(layout: Sequence[Layer]) -> Configured | None:
    """A model of layers in which no models are, for a file without a configuration; None where one may be."""
    if any("/" in path and path.partition("/")[0] not in _PARTS for layer in layout for path, _ in layer.attributes):
        return None
    return Configured("", "", layers=tuple(Configured(layer.name, layer.class_name) for layer in layout))


class _Objects:
    """The objects of one model."""

    def __init__(self, paths: Iterable[str], flavor: str, guesses: bool) -> None:
        self._guesses = guesses
        self._attributes = _ATTRIBUTES[flavor]
        self._number = self._operations if flavor == "keras3" else self._weighty
        self._numbers: dict[str, dict[str, str]] = {}  # path of a model -> its layers -> their objects
        self._weighty_paths = {path[:end] for path in paths for end in range(len(path)) if path[end] == "/"}

    def below(self, owner: Configured, path: Sequence[str], above: str = "") -> Iterator[str]:
        """The local names that lead from a model, layer or wrapper to what stands at `path` below it."""
        if owner.layers:
            name, *rest = path
            if above not in self._numbers:
                self._numbers[above] = self._number(owner, above)
            inner = next((layer for layer in owner.layers if layer.name == name), None)
            if inner is None or not rest:
                raise LookupError(f"the configuration has no layer {above}{name}")
            yield self._numbers[above][name]
            yield from self.below(inner, rest, f"{above}{name}/")
            return
        for attribute, wrapped in owner.inner.items():
            parts = attribute.split("/")
            if list(path[: len(parts)]) == parts:
                yield from parts
                yield from self.below(wrapped, path[len(parts) :], f"{above}{attribute}/")
                return
        if owner.called and owner.class_name not in WEIGHTS and not self._guesses:
            whose = above.rstrip("/") or "the model"
            raise LookupError(f"nothing tells the objects of {whose}, whose class {owner.called} isn't Keras' own")
        spelled = {**self._attributes[""], **self._attributes.get(owner.class_name, {})}
        yield from (escape(spelled.get(part, part)) for part in path)

    def _weighty(self, model: Configured, above: str) -> dict[str, str]:
        """Layer -> its object: those with weights have a number of their own."""
        numbers = count()
        names = [layer.name for layer in model.layers if f"{above}{layer.name}" in self._weighty_paths]
        return {name: f"layer_with_weights-{next(numbers)}" for name in dict.fromkeys(names)}

    def _operations(self, model: Configured, above: str) -> dict[str, str]:
        """Layer -> its object: its place among all; a Sequential's input counts, told or not."""
        if model.class_name != "Sequential":
            return {layer.name: f"_operations/{number}" for number, layer in enumerate(model.layers)}
        layers = [layer for layer in model.layers if layer.class_name != "InputLayer"]
        return {layer.name: f"_functional/_operations/{number}" for number, layer in enumerate(layers, start=1)}
