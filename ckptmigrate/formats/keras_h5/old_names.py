"""What rules call the variables of a file of Keras 1, or of Keras 2 on Theano: backend, class, layer and weight.

A kernel's layout is told by its layer's class, by `dim_ordering` and by the backend, not by its shape. So rules speak
of such variables in a system of names of its own: `keras1-theano/Convolution2D.th/conv_1/W`. Facts: the sources of
Keras 1.0.0 to 1.2.2 (`layers/*.py`, `engine/topology.py`, `backend/*.py`) and the files they write.

Names of weights end in `:0` where the backend was TensorFlow, and never where it was Theano; Keras 1 stores no other
sign of it. TensorFlow counts names that a process has had before: `conv_1_W_1:0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.formats.keras_h5.old_layers import (
    CLASSES,
    KERNELS,
    UNKNOWN,
    Layer,
    Weight,
    classify,
    layer_of,
    settle_order,
)
from ckptmigrate.formats.keras_h5.old_remarks import remarks
from ckptmigrate.issues import Issue

SYSTEM = "old_keras"
OWN = "own"  # vectors and matrices of classes that later Keras lack: nothing about them can be turned
_FLAT = 2  # dimensions
_SHOWN = 5

_LEAF = re.compile(
    r"(?P<layer>.+?)_(?P<leaf>[WUb](?:_(?:[ifcozrh]|carry))?|gamma|beta|running_mean|running_std|alphas|betas"
    r"|[ta]_(?:left|right)|(?:depth|point)wise_kernel)(?:_[1-9]\d*)?",
    re.ASCII,
)

# Keras 2 on Theano: kernels that were flipped, by class
FLIPPED2: Mapping[str, str] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose"), "kernel"),
    "ConvLSTM2D": "kernel|recurrent_kernel",
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "(?:depth|point)wise_kernel"),
    "DepthwiseConv2D": "depthwise_kernel",
}
_BY_DEFAULT_NAME2 = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(): name for name in FLIPPED2}


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
    layers: dict[str, Layer] = {}
    of = [layer_of(w, p[0], model, layers) for w, p in zip(weights, parsed, strict=True)]
    for weight, layer, (_, leaf) in zip(weights, of, parsed, strict=True):
        layer.weights[leaf or weight.stored.removesuffix(":0")] = weight.shape
    for layer in layers.values():
        classify(layer)
    found.issues += settle_order(layers.values())
    for layer, (_, leaf), weight in zip(of, parsed, weights, strict=True):
        found.names.append(f"{found.family}/{_called(layer, leaf, weight)}")
    found.issues += remarks(found.family, layers.values(), version)
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


def _called(layer: Layer, leaf: str, weight: Weight) -> str:
    if not leaf or layer.class_name not in CLASSES:
        leaf = leaf or weight.stored.removesuffix(":0").rpartition("/")[2]
        return f"{OWN if len(weight.shape) <= _FLAT else layer.class_name or UNKNOWN}/{layer.path}/{leaf}"
    kernel = KERNELS.get(layer.class_name)
    order = f".{layer.order}" if kernel and re.fullmatch(kernel[0], leaf) else ""
    return f"{layer.class_name}{order}/{layer.path}/{leaf}"


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
