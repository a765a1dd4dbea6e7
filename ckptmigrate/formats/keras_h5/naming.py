"""Names in a legacy Keras HDF5 file, and which variable of its layer each weight is.

keras/src/legacy/saving/legacy_h5_format.py (Keras 3.15), keras/engine/topology.py (Keras 1.2.2): a group per layer with
the attribute `weight_names`, in which the order of the weights stands; the names themselves are never read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.formats.keras_layers import Weight, legacy_order, weights_of
from ckptmigrate.table import Role

FORMAT_ID = "keras-h5"
MODEL_WEIGHTS = "model_weights"
OPTIMIZER_WEIGHTS = "optimizer_weights"
TOP_LEVEL = "top_level_model_weights"
LAYER_NAMES = "layer_names"
WEIGHT_NAMES = "weight_names"
MODEL_CONFIG = "model_config"
TRAINING_CONFIG = "training_config"
FIRST_KERAS = "1"  # what loaders take a file for that tells no version: Keras 1 stored none with weights
PROVENANCE = "ckptmigrate.provenance"

_CELL = re.compile(r"(?:simple_rnn|lstm|gru|conv_lstm(?:\dd)?)_cell(?:_\d+)?$", re.ASCII)
_COUNTED = re.compile(r"_[1-9]\d*$", re.ASCII)  # TensorFlow's, of a name that the process had before
_DIRECTION = re.compile(r"(forward|backward)_(?!layer$)\w+$", re.ASCII)
_ATTENTION = {
    "query": "query_dense",
    "key": "key_dense",
    "value": "value_dense",
    "attention_output": "output_dense",
}
_STATISTICS: Mapping[str, Role] = {"moving_mean": "bn_mean", "moving_variance": "bn_variance"}
_KERAS1_STATISTICS: Mapping[str, Role] = {"running_mean": "bn_mean", "running_std": "bn_variance"}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a weight is, as far as the file tells.

    Attributes:
        path: Its path below the layer in the one spelling; "" where that isn't known.
        role: What it is for, or None.
        is_trainable: None where nothing tells.
    """

    path: str = ""
    role: Role | None = None
    is_trainable: bool | None = None


def variable_name(weight: str, layer: str) -> str:
    """The name of a variable: the weight's, from the segment on that is the layer's name, else below the layer.

    >>> variable_name("sequential/d/kernel:0", "d"), variable_name("dense_1_W", "dense_1")
    ('d/kernel', 'dense_1/dense_1_W')
    """
    name = weight.removesuffix(":0")
    parts = name.split("/")
    if layer in parts[:-1]:
        return "/".join(parts[parts.index(layer) :])
    return f"{layer}/{name}" if layer else name


def meanings(names: Sequence[str], layer: str, known: Configured | None) -> list[Meaning]:
    """What the weights of one layer's group are.

    Args:
        names: The group's `weight_names`.
        layer: The layer's name.
        known: The layer in the model's configuration, or None.
    """
    if known is None:
        return _by_name(names, layer)
    if known.layers:
        return _nested(names, known)
    return _by_class(names, layer, known)


def _by_class(names: Sequence[str], layer: str, known: Configured) -> list[Meaning]:
    """By the class's own list, where number and last parts of the names agree with it."""
    weights = legacy_order(weights_of(known) or ())
    if len(weights) != len(names) or not all(map(_agree, names, weights)):
        told = _by_name(names, layer)
        return told if known.is_trainable else [replace(meaning, is_trainable=False) for meaning in told]
    return [Meaning(w.path, _role(w), w.is_trainable) for w in weights]


def _role(weight: Weight) -> Role | None:
    return None if weight.role == "weight" else weight.role


def _agree(name: str, weight: Weight) -> bool:
    leaf = _COUNTED.sub("", name.removesuffix(":0").rpartition("/")[2])
    accepted = (weight.path.rpartition("/")[2], *weight.spelled)
    return any(leaf == known or leaf.endswith(f"_{known}") for known in accepted)


def _nested(names: Sequence[str], known: Configured) -> list[Meaning]:
    """A model's weights, each by the layer in it whose name stands in the weight's; freezing moves them around."""
    inner: dict[str, list[tuple[str, Configured]]] = {}
    for path, layer in known.walk():
        if not layer.layers:
            inner.setdefault(layer.name, []).append((path, layer))
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(_owner(name, inner), []).append(number)
    found = [Meaning()] * len(names)
    for owner, numbers in groups.items():
        places = inner.get(owner, [])
        if len(places) != 1:
            continue
        path, layer = places[0]
        told = _by_class([names[i] for i in numbers], owner, layer)
        for number, meaning in zip(numbers, told, strict=True):
            trainable = meaning.is_trainable if _is_trainable(known, path) else False
            full = f"{path}/{meaning.path}" if meaning.path else ""
            found[number] = Meaning(full, meaning.role, trainable)
    return found


def _owner(name: str, inner: Mapping[str, object]) -> str:
    """The innermost layer that is named in a weight's name; Keras 1 sets `_` between layer and weight."""
    parts = name.removesuffix(":0").split("/")
    for part in reversed(parts[:-1]):
        if part in inner:
            return part
    return max((layer for layer in inner if parts[-1].startswith(f"{layer}_")), key=len, default="")


def _is_trainable(model: Configured, path: str) -> bool:
    """Whether no model on the way to a layer is frozen."""
    for name in path.split("/"):
        if not model.is_trainable:
            return False
        model = next(layer for layer in model.layers if layer.name == name)
    return True


def _by_name(names: Sequence[str], layer: str) -> list[Meaning]:
    """By the names alone: cells, directions and attention are called differently in names and as attributes."""
    paths = [variable_name(name, layer).removeprefix(f"{layer}/").split("/") for name in names]
    heads = {path[0] for path in paths}
    is_attention = heads == _ATTENTION.keys()
    recurrent = {tuple(path[:-1]) for path in paths if path[-1] == "recurrent_kernel"}
    return [_named(path, is_attention, tuple(path[:-1]) in recurrent) for path in paths]


def _named(path: Sequence[str], is_attention: bool, is_recurrent: bool) -> Meaning:
    inner = list(path[:-1])
    if is_attention:
        inner[0] = _ATTENTION[inner[0]]
    inner = ["cell" if _CELL.match(part) else part for part in inner]
    inner = [f"{found[1]}_layer" if (found := _DIRECTION.match(part)) else part for part in inner]
    if is_recurrent and (not inner or inner[-1] != "cell"):
        inner.append("cell")
    leaf = path[-1]
    bare = _COUNTED.sub("", leaf)
    role = _STATISTICS.get(bare) or next((r for k, r in _KERAS1_STATISTICS.items() if bare.endswith(f"_{k}")), None)
    return Meaning("/".join([*inner, leaf]), role, False if role else None)


def find(model: Configured | None, name: str) -> Configured | None:
    """The layer of that name: the model's own, else one below that is the only one of its name."""
    if model is None:
        return None
    own = next((layer for layer in model.layers if layer.name == name), None)
    if own is not None:
        return own
    below = [layer for _, layer in model.walk() if layer.name == name]
    return below[0] if len(below) == 1 else None


def first_segments(names: Iterable[str]) -> list[str]:
    """The first segments of names, each once, in order: what layers there are when nothing tells.

    >>> first_segments(["a/kernel", "b/kernel", "a/bias"])
    ['a', 'b']
    """
    return list(dict.fromkeys(name.partition("/")[0] for name in names))
