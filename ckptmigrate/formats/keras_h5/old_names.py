"""What rules call the variables of a file of Keras 1, or of Keras 2 on Theano: backend, class, layer and weight.

A kernel's layout is told by its layer's class, by `dim_ordering` and by the backend, not by its shape. So rules speak
of such variables in a system of names of its own: `keras1-theano/Convolution2D.th/conv_1/W`. Facts: the sources of
Keras 1.0.0 to 1.2.2 (`layers/*.py`, `engine/topology.py`, `backend/*.py`) and the files they write.

- Names of weights end in `:0` where the backend was TensorFlow, and never where it was Theano; Keras 1 stores no other
  sign of it. TensorFlow counts names that a process has had before: `conv_1_W_1:0`.
- `th` is (out, in, height, width), `tf` (height, width, in, out). Convolution1D stood as (out, in, length, 1) until
  1.0.8, as (length, 1, in, out) from 1.1.0 on; these are called th and tf, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.issues import Issue

SYSTEM = "old_keras"
UNKNOWN = "unknown"
OWN = "own"  # vectors and matrices of classes that later Keras lack: nothing about them can be turned
_FLAT = 2  # dimensions
_SHOWN = 5

Shape = tuple[int, ...]

_LEAF = re.compile(
    r"(?P<layer>.+?)_(?P<leaf>[WUb](?:_(?:[ifcozrh]|carry))?|gamma|beta|running_mean|running_std|alphas|betas"
    r"|[ta]_(?:left|right)|(?:depth|point)wise_kernel)(?:_[1-9]\d*)?",
    re.ASCII,
)
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
_CLASSES = (
    *KERNELS,
    *("Dense", "TimeDistributedDense", "MaxoutDense", "Embedding", "BatchNormalization", "PReLU"),
    *("LSTM", "GRU", "SimpleRNN", "LocallyConnected1D", "LocallyConnected2D"),
)
_BY_DEFAULT_NAME = {name.lower(): name for name in _CLASSES}
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

# Keras 2 on Theano: kernels that were flipped, by class
FLIPPED2: Mapping[str, str] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose"), "kernel"),
    "ConvLSTM2D": "kernel|recurrent_kernel",
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "(?:depth|point)wise_kernel"),
    "DepthwiseConv2D": "depthwise_kernel",
}
_BY_DEFAULT_NAME2 = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(): name for name in FLIPPED2}


@dataclass(frozen=True, slots=True)
class Weight:
    """One weight of a file: the group it stands in, its name as stored, its shape, its path in the one spelling."""

    group: str
    stored: str
    shape: Shape
    path: str = ""


@dataclass(slots=True)
class OldNames:
    """What rules call the weights.

    Attributes:
        family: `keras1-tensorflow`, `keras1-theano`, `keras1-unknown`, `keras2-theano`; "" for a file that isn't old.
        names: One per weight.
        issues: How that is known, and what was taken for granted.
    """

    family: str = ""
    names: list[str] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)


@dataclass(slots=True)
class _Layer:
    """A layer with weights: its path, its class ("" for unknown), its settings, its weights by leaf."""

    path: str
    class_name: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    weights: dict[str, Shape] = field(default_factory=dict)
    is_told: bool = True
    order: str = ""


def old_names(weights: Sequence[Weight], model: Configured | None, version: str, backend: str) -> OldNames:
    """Names for the weights of a file.

    Args:
        weights: In the file's order.
        model: Its configuration, if any.
        version, backend: What the file says; "" for nothing.
    """
    if version.startswith("2") and backend == "theano":
        return _of_keras2(weights, model)
    if version and not version.startswith("1"):
        return OldNames()
    parsed = [_parsed(w.stored) for w in weights]
    if not any(leaf for _, leaf in parsed):
        return OldNames()
    found = OldNames(f"keras1-{_backend(weights, backend)}")
    layers: dict[str, _Layer] = {}
    of = [_layer_of(w, p[0], model, layers) for w, p in zip(weights, parsed, strict=True)]
    for weight, layer, (_, leaf) in zip(weights, of, parsed, strict=True):
        layer.weights[leaf or weight.stored.removesuffix(":0")] = weight.shape
    for layer in layers.values():
        _classify(layer)
    _order(layers.values(), found)
    for layer, (_, leaf), weight in zip(of, parsed, weights, strict=True):
        found.names.append(f"{found.family}/{_called(layer, leaf, weight)}")
    found.issues += _remarks(found, layers.values(), version)
    return found


def _parsed(stored: str) -> tuple[str, str]:
    """The layer's name in a weight's, and the weight's own; ("", "") where it isn't of Keras 1's form.

    >>> _parsed("lstm_1_W_i:0"), _parsed("block1_conv1_W_1:0"), _parsed("a/kernel:0")
    (('lstm_1', 'W_i'), ('block1_conv1', 'W'), ('', ''))
    """
    found = _LEAF.fullmatch(stored.removesuffix(":0").rpartition("/")[2])
    return (found["layer"], found["leaf"]) if found else ("", "")


def _backend(weights: Iterable[Weight], told: str) -> str:
    if told:
        return told
    endings = {weight.stored.endswith(":0") for weight in weights}
    return UNKNOWN if len(endings) != 1 else "tensorflow" if endings.pop() else "theano"


# Whose weight it is


def _layer_of(weight: Weight, name: str, model: Configured | None, layers: dict[str, _Layer]) -> _Layer:
    """The layer that owns a weight, by the configuration, else by the names of group and weight."""
    path, known = _configured(weight.group, name, model) if model is not None else ("", None)
    if not path:
        path = weight.group if name in ("", weight.group) else f"{weight.group}/{_direction(name)}"
    if path not in layers:
        layers[path] = _Layer(path, known.called if known else "", known.config if known else {})
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


def _classify(layer: _Layer) -> None:
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


def _order(layers: Iterable[_Layer], found: OldNames) -> None:
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
        found.issues.append(Issue("guess", "warning", unknown[0].path, message))


def _own_order(layer: _Layer) -> str:
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


def _called(layer: _Layer, leaf: str, weight: Weight) -> str:
    if not leaf or layer.class_name not in _CLASSES:
        leaf = leaf or weight.stored.removesuffix(":0").rpartition("/")[2]
        return f"{OWN if len(weight.shape) <= _FLAT else layer.class_name or UNKNOWN}/{layer.path}/{leaf}"
    kernel = KERNELS.get(layer.class_name)
    order = f".{layer.order}" if kernel and re.fullmatch(kernel[0], leaf) else ""
    return f"{layer.class_name}{order}/{layer.path}/{leaf}"


# What is said of it

_MAPPINGS = {
    "keras1-tensorflow": "keras/keras1",
    "keras1-theano": "keras/keras1_theano",
    "keras2-theano": "keras/keras2_theano",
}
_VARIANCE_SINCE = (1, 0, 6)  # until then running_std was the standard deviation that its name promises


def _remarks(found: OldNames, layers: Iterable[_Layer], version: str) -> Iterable[Issue]:
    kernels = [layer for layer in layers if layer.class_name in KERNELS]
    if kernels:
        yield _of_kernels(found.family, kernels)
        yield from _of_untold([layer.path for layer in kernels if layer.order == UNKNOWN])
        if found.family == "keras1-theano":
            yield from _of_shifted(kernels)
    guessed = [layer for layer in layers if not layer.is_told and layer.class_name]
    if guessed:
        taken = ", ".join(f"{layer.path} ({layer.class_name})" for layer in guessed[:_SHOWN])
        message = f"nothing tells the class of {len(guessed)} layers; by the ranks of their weights taken for: {taken}"
        yield Issue("guess", "warning", guessed[0].path, message, "a file with the model's configuration tells them")
    yield from _of_deviations(layers, version)


def _of_kernels(family: str, kernels: Sequence[_Layer]) -> Issue:
    th = sum(layer.order == "th" for layer in kernels)
    ordered = f"; {th} are ordered th: (out, in, height, width)" if th else ""
    first = kernels[0].path
    if family == f"keras1-{UNKNOWN}":
        message = (
            f"{len(kernels)} layers with kernels, such as {first}: flipped if it was Theano's, which nothing tells"
        )
        hint = "convert with --mapping keras/keras1 (TensorFlow) or --mapping keras/keras1_theano"
        return Issue("kernels", "warning", first, message, hint)
    why = "names of weights end in `:0`" if family == "keras1-tensorflow" else "no name of a weight ends in `:0`"
    turned = "not flipped" if family == "keras1-tensorflow" else "flipped, as Theano has them"
    message = f"{len(kernels)} layers with kernels, such as {first}, {turned}: {why}{ordered}"
    other = next(m for f, m in _MAPPINGS.items() if f.startswith("keras1") and f != family)
    hint = f"convert applies {_MAPPINGS[family]}; --mapping {other} if the names mislead"
    return Issue("kernels", "note", first, message, hint)


def _of_untold(paths: Sequence[str]) -> Iterable[Issue]:
    if paths:
        message = f"nothing tells how {len(paths)} kernels are ordered, such as {paths[0]}'s: th or tf"
        yield Issue("kernels", "warning", paths[0], message, "a mapping of your own says it: docs/keras1.md")


def _of_shifted(kernels: Sequence[_Layer]) -> Iterable[Issue]:
    """Theano pads half a kernel on both sides and cuts the end off, which shifts even kernels by one."""
    shifted = [k.path for k in kernels if k.class_name == "ConvLSTM2D" or k.settings.get("border_mode") == "same"]
    sizes = {k.path: {k.settings.get(size, 1) for size in _SIZES} for k in kernels}
    found = [path for path in shifted if any(isinstance(size, int) and size % 2 == 0 for size in sizes[path])]
    if found:
        message = f"{len(found)} kernels, such as {found[0]}'s, have even sizes and border_mode same: Theano pads them"
        hint = "ZeroPadding in front of border_mode valid pads as Theano does"
        yield Issue("padding", "warning", found[0], f"{message} by one more at the start than TensorFlow does", hint)


_SIZES = ("nb_row", "nb_col", "filter_length", "kernel_dim1", "kernel_dim2", "kernel_dim3")


def _of_deviations(layers: Iterable[_Layer], version: str) -> Iterable[Issue]:
    layer = next((layer for layer in layers if "running_std" in layer.weights), None)
    digits = re.match(r"(\d+)\.(\d+)\.(\d+)", version, re.ASCII)
    if layer is None or (digits and tuple(map(int, digits.groups())) >= _VARIANCE_SINCE):
        return
    message = "running_std holds variances since Keras 1.0.6, standard deviations before; which Keras it was isn't told"
    yield Issue("statistics", "warning" if digits else "note", layer.path, message)


# Keras 2 on Theano


def _of_keras2(weights: Sequence[Weight], model: Configured | None) -> OldNames:
    """Names and ordering are today's there; kernels are flipped."""
    found = OldNames("keras2-theano")
    untold: list[str] = []
    turned: list[str] = []
    for weight in weights:
        path = weight.path or weight.stored.removesuffix(":0")
        layer, _, leaf = path.rpartition("/")
        class_name = _class2(weight, layer, leaf, model, untold)
        if class_name:
            turned.append(path)
        found.names.append(f"{found.family}/{class_name or 'other'}/{path}")
    if untold:
        message = (
            f"nothing tells the class of {len(untold)} layers; taken for convolutions: {', '.join(untold[:_SHOWN])}"
        )
        found.issues.append(Issue("guess", "warning", untold[0], message))
    if turned:
        message = (
            f"{len(turned)} kernels, such as {turned[0]}, flipped as Theano has them: the backend that the file names"
        )
        hint = "convert applies keras/keras2_theano"
        found.issues.append(Issue("kernels", "note", turned[0], message, hint))
    return found


def _class2(weight: Weight, layer: str, leaf: str, model: Configured | None, untold: list[str]) -> str:
    """The class of the layer whose flipped kernel it is; "" for what isn't flipped."""
    name = layer.removesuffix("/cell").rpartition("/")[2]
    told = next((one.called for _, one in model.walk() if one.name == name), "") if model is not None else ""
    default = re.sub(r"_\d+$", "", name)
    class_name = told or _BY_DEFAULT_NAME2.get(default, "")
    if not class_name and model is None and leaf == "kernel" and len(weight.shape) > _FLAT:
        class_name = f"Conv{len(weight.shape) - 2}D"
        untold.append(name)
    return class_name if re.fullmatch(FLIPPED2.get(class_name, "(?!)"), leaf) else ""
