"""What is said of the layers of a file of Keras 1: what was taken for granted, and what no rule can mend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ckptmigrate.formats.keras_h5.old_layers import KERNELS, UNKNOWN, Layer
from ckptmigrate.issues import Issue

_SHOWN = 5
_MAPPINGS = {
    "keras1-tensorflow": "keras/keras1",
    "keras1-theano": "keras/keras1_theano",
    "keras2-theano": "keras/keras2_theano",
}
_VARIANCE_SINCE = (1, 0, 6)  # until then running_std was the standard deviation that its name promises


def remarks(family: str, layers: Iterable[Layer], version: str) -> Iterable[Issue]:
    """All of them, for a family of names (`keras1-theano`) and the version that the file tells."""
    kernels = [layer for layer in layers if layer.class_name in KERNELS]
    if kernels:
        yield _of_kernels(family, kernels)
        yield from _of_untold([layer.path for layer in kernels if layer.order == UNKNOWN])
        if family == "keras1-theano":
            yield from _of_shifted(kernels)
    guessed = [layer for layer in layers if not layer.is_told and layer.class_name]
    if guessed:
        taken = ", ".join(f"{layer.path} ({layer.class_name})" for layer in guessed[:_SHOWN])
        message = f"nothing tells the class of {len(guessed)} layers; by the ranks of their weights taken for: {taken}"
        yield Issue("guess", "warning", guessed[0].path, message, "a file with the model's configuration tells them")
    yield from _of_deviations(layers, version)


def _of_kernels(family: str, kernels: Sequence[Layer]) -> Issue:
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


def _of_shifted(kernels: Sequence[Layer]) -> Iterable[Issue]:
    """Theano pads half a kernel on both sides and cuts the end off, which shifts even kernels by one."""
    shifted = [k.path for k in kernels if k.class_name == "ConvLSTM2D" or k.settings.get("border_mode") == "same"]
    sizes = {k.path: {k.settings.get(size, 1) for size in _SIZES} for k in kernels}
    found = [path for path in shifted if any(isinstance(size, int) and size % 2 == 0 for size in sizes[path])]
    if found:
        message = f"{len(found)} kernels, such as {found[0]}'s, have even sizes and border_mode same: Theano pads them"
        hint = "ZeroPadding in front of border_mode valid pads as Theano does"
        yield Issue("padding", "warning", found[0], f"{message} by one more at the start than TensorFlow does", hint)


_SIZES = ("nb_row", "nb_col", "filter_length", "kernel_dim1", "kernel_dim2", "kernel_dim3")


def _of_deviations(layers: Iterable[Layer], version: str) -> Iterable[Issue]:
    layer = next((layer for layer in layers if "running_std" in layer.weights), None)
    digits = re.match(r"(\d+)\.(\d+)\.(\d+)", version, re.ASCII)
    if layer is None or (digits and tuple(map(int, digits.groups())) >= _VARIANCE_SINCE):
        return
    message = "running_std holds variances since Keras 1.0.6, standard deviations before; which Keras it was isn't told"
    yield Issue("statistics", "warning" if digits else "note", layer.path, message)
