"""Layers of a file of Keras 1: whose each weight is, of what class, and how kernels are ordered.

`th` is (out, in, height, width), `tf` (height, width, in, out). Convolution1D stood as (out, in, length, 1) until
1.0.8, as (length, 1, in, out) from 1.1.0 on; these are called th and tf, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.issues import Issue

UNKNOWN = "unknown"
Shape = tuple[int, ...]

_DEFAULT = re.compile(r"(?P<base>[a-z]+\d?d?)_[1-9]\d*", re.ASCII)  # how Keras 1 calls a layer without a name

# Class -> the weight that kernels are, and axis of `out` in th and in tf
_CONV2D, _CONV3D = ("W", 0, 3), ("W", 0, 4)
KERNELS: Mapping[str, tuple[str, int, int]] = {
    **dict.fromkeys(("Convolution1D", "AtrousConvolution1D"), _CONV2D),
    **dict.fromkeys(("Convolution2D", "AtrousConvolution2D", "Deconvolution2D"), _CONV2D),
    "Convolution3D": _CONV3D,
    "ConvLSTM2D": ("[WU]_[ifco]", 0, 3),
    "SeparableConvolution2D": ("(?:depth|point)wise_kernel", 0, 3),
}
_OLD1D = frozenset({"Convolution1D", "AtrousConvolution1D"})
CLASSES = (
    *KERNELS,
    *("Dense", "TimeDistributedDense", "MaxoutDense", "Embedding", "BatchNormalization", "PReLU"),
    *("LSTM", "GRU", "SimpleRNN", "LocallyConnected1D", "LocallyConnected2D"),
)
_BY_DEFAULT_NAME = {name.lower(): name for name in CLASSES}
# What weights a class alone has; the first that fits: names of weights -> class
_BY_LEAVES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"running_std"}), "BatchNormalization"),
    (frozenset({"W_z"}), "GRU"),
    (frozenset({"W_carry"}), "Highway"),
    (frozenset({"depthwise_kernel"}), "SeparableConvolution2D"),
    (frozenset({"alphas", "betas"}), "ParametricSoftplus"),
    (frozenset({"alphas"}), "PReLU"),
    (frozenset({"W", "U"}), "SimpleRNN"),  # LSTM and GRU that were built for the GPU hold the same three
)
# Rank of W, where nothing else tells; ranks of W and bias that no other class has
_BY_RANK = {2: "Dense", 3: "LocallyConnected1D", 4: "Convolution2D", 5: "Convolution3D"}
_SURE = frozenset({(2, 1), (3, 3), (5, 1)})


@dataclass(frozen=True, slots=True)
class Weight:
    """One weight of a file: the group it stands in, its name as stored, its shape, its path in the one spelling."""

    group: str
    stored: str
    shape: Shape
    path: str = ""


@dataclass(slots=True)
class Layer:
    """A layer with weights: its path, its class ("" for unknown), its settings, its weights by leaf."""

    path: str
    class_name: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    weights: dict[str, Shape] = field(default_factory=dict)
    is_told: bool = True
    order: str = ""


# Whose weight it is


def layer_of(weight: Weight, name: str, model: Configured | None, layers: dict[str, Layer]) -> Layer:
    """The layer that owns a weight, by the configuration, else by the names of group and weight."""
    path, known = _configured(weight.group, name, model) if model is not None else ("", None)
    if not path:
        path = weight.group if name in ("", weight.group) else f"{weight.group}/{_direction(name)}"
    if path not in layers:
        layers[path] = Layer(path, known.called if known else "", known.config if known else {})
    return layers[path]


def _direction(name: str) -> str:
    head, _, rest = name.partition("_")
    return f"{head}_layer" if head in ("forward", "backward") and rest else name


def _configured(group: str, name: str, model: Configured) -> tuple[str, Configured | None]:
    """Path and configuration of the layer called so below the one of the group's name."""
    found = [owner for _, layer in model.walk() if layer.name == group for owner in _owners(layer, name)]
    if len(found) != 1:
        return "", None
    below, owner = found[0]
    return (f"{group}/{below}" if below else group), owner


def _owners(layer: Configured, name: str, below: str = "") -> Iterable[tuple[str, Configured]]:
    """Layers at or below one that a weight's name can speak of."""
    if layer.layers:
        for inner in layer.layers:
            yield from _owners(inner, name, f"{below}/{inner.name}".lstrip("/"))
        return
    for attribute, inner in layer.inner.items():
        prefix = f"{attribute.removesuffix('_layer')}_" if attribute.endswith("_layer") else ""
        if name.startswith(prefix):
            yield from _owners(inner, name.removeprefix(prefix), f"{below}/{attribute}".lstrip("/"))
    if layer.name == name and not layer.inner:
        yield below, layer


# Class and ordering


def classify(layer: Layer) -> None:
    """By the configuration, a default name, else what its weights are called and their ranks."""
    if layer.class_name:
        return
    default = _DEFAULT.fullmatch(layer.path.rpartition("/")[2])
    layer.class_name = _BY_DEFAULT_NAME.get(default["base"], "") if default else ""
    leaves = frozenset(layer.weights)
    if not layer.class_name:
        layer.class_name = next((name for has, name in _BY_LEAVES if has <= leaves), "")
    if not layer.class_name and "W_o" in leaves:
        layer.class_name = "ConvLSTM2D" if len(layer.weights["W_o"]) > 2 else "LSTM"
    if not layer.class_name and "W" in leaves:
        ranks = len(layer.weights["W"]), len(layer.weights.get("b", ()))
        layer.class_name, layer.is_told = _BY_RANK.get(ranks[0], ""), ranks in _SURE
        if ranks == (3, 3):
            layer.class_name = "LocallyConnected2D"


def settle_order(layers: Iterable[Layer]) -> Iterator[Issue]:
    """The ordering of every layer with kernels: as configured, else by its bias, else as the file's others."""
    convolutions = [layer for layer in layers if layer.class_name in KERNELS]
    for layer in convolutions:
        layer.order = _own_order(layer)
    known = {layer.order for layer in convolutions} - {UNKNOWN}
    unknown = [layer for layer in convolutions if layer.order == UNKNOWN]
    if unknown and len(known) == 1:
        order = known.pop()
        for layer in unknown:
            layer.order = order
        message = (
            f"{len(unknown)} kernels, such as {unknown[0].path}'s, are taken to be ordered {order} as all others are"
        )
        yield Issue("guess", "warning", unknown[0].path, message)


def _own_order(layer: Layer) -> str:
    """By the configuration where the shape agrees, else the only ordering that the shape fits."""
    pattern, th, tf = KERNELS[layer.class_name]
    kernels = [shape for leaf, shape in layer.weights.items() if re.fullmatch(pattern, leaf)]
    kernel = layer.weights.get("pointwise_kernel") or next(iter(kernels), ())
    if len(kernel) <= tf:
        return UNKNOWN
    bias = layer.weights.get("b", layer.weights.get("b_i"))
    out = layer.settings.get("nb_filter") or (bias[0] if bias else 0)
    fits = {order for order, axis in (("th", th), ("tf", tf)) if out in (0, kernel[axis])}
    if layer.class_name in _OLD1D:
        length = layer.settings.get("filter_length")
        places = {"th": (kernel[2], kernel[3]), "tf": (kernel[0], kernel[1])}  # of the length, and of the 1 beside it
        fits = {order for order in fits if places[order][1] == 1 and length in (None, places[order][0])}
    elif (told := layer.settings.get("dim_ordering")) in ("th", "tf"):
        fits &= {str(told)}
    if layer.class_name == "SeparableConvolution2D":
        fits &= {order for order, ones in (("th", kernel[2:]), ("tf", kernel[:2])) if ones == (1, 1)}
    return fits.pop() if len(fits) == 1 else UNKNOWN
