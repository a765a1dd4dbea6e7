"""What tf_keras and Keras 3 call the objects that hold a model's variables, from the model's configuration.

tf_keras numbers the layers that have weights (`layer_with_weights-2/cell/kernel`), Keras 3 all operations
(`_operations/4/_kernel`), those of a Sequential model below `_functional`, where an input stands before all layers.
Facts: object graphs that tf_keras 2.21 and Keras 3.15 saved through tf.train.Checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.objects import escape
from ckptmigrate.table import Layer

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
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _KERNEL),
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), _KERNEL),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    "Embedding": {"embeddings": "_embeddings"},
    "Normalization": {"mean": "adapt_mean", "variance": "adapt_variance"},
}
_ATTRIBUTES: Mapping[str, Mapping[str, Mapping[str, str]]] = {"tf_keras": _KERAS2, "keras3": _KERAS3}


# What variables of wrappers stand below; anything else of two parts and more may be a model's layer
_PARTS = frozenset({"cell", "cells", "layer", "forward_layer", "backward_layer", *_KERAS2[""]})


def object_paths(model: Configured, layout: Sequence[Layer], flavor: str) -> dict[str, str]:
    """Variable -> the path of its object below the model.

    Args:
        model: The model's configuration.
        layout: Its layers, with paths of attributes in the one spelling.
        flavor: tf_keras | keras3.

    Raises:
        LookupError: A variable stands in no layer of the configuration.
    """
    held = {f"{layer.name}/{path}": name for layer in layout for path, name in layer.attributes if name}
    objects = _Objects(held, flavor)
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

    def __init__(self, paths: Iterable[str], flavor: str) -> None:
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
