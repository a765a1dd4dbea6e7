"""Resized: a model's configuration with the widths of layers that start anew in another shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Fill
from ckptmigrate.steps import Shape
from ckptmigrate.table import Checkpoint

_CONFIG = "model_config"
_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
# Class -> setting -> the axis of its kernel that it tells.
_WIDTHS: Mapping[str, Mapping[str, int]] = {
    "Dense": {"units": -1},
    **{name: {"filters": -1} for name in _CONVOLUTIONS},
    "Embedding": {"input_dim": 0, "output_dim": 1},
}


def resized(source: Checkpoint, fills: Sequence[Fill]) -> tuple[Checkpoint, tuple[Issue, ...]]:
    """The checkpoint with a configuration that fits variables of other shapes, and what was changed.

    Args:
        source: The checkpoint to move; where it holds no configuration it stays as it is.
        fills: What starts anew.
    """
    config = source.structure.blobs.get(_CONFIG)
    shapes = {f.replaces: f.shape for f in fills if f.replaces and f.shape and f.shape != _shape(source, f.replaces)}
    if config is None or not shapes:
        return source, ()
    told, layers = _read(config)
    issues = []
    for name in dict.fromkeys(name.rpartition("/")[0] for name in shapes):
        own = {n.rpartition("/")[2]: shape for n, shape in shapes.items() if n.rpartition("/")[0] == name}
        issues.append(_resize(name, layers.get(name), own))
    blobs = {**source.structure.blobs, _CONFIG: json.dumps(told).encode()} if layers else source.structure.blobs
    return replace(source, structure=replace(source.structure, blobs=blobs)), tuple(issues)


def _read(config: bytes) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The configuration as plain data, and its layers by their paths: none where it is broken."""
    try:
        told = json.loads(config)
        return told, dict(_layers(told, ""))
    except (ValueError, RecursionError):
        return None, {}


def _shape(source: Checkpoint, name: str) -> Shape:
    return source.variables[name].tensor.shape


def _resize(name: str, layer: dict[str, Any] | None, shapes: Mapping[str, Shape]) -> Issue:
    """Changes a layer's settings; says so, or that it can't."""
    widths = _WIDTHS.get(str((layer or {}).get("class_name")), {})
    kernel = next((shape for shape in shapes.values() if len(shape) > 1), None)
    if layer is None or not widths or kernel is None:
        message = "its weights get another shape, and nothing tells which settings of its configuration that changes"
        return Issue("shape", "error", name, message, "--template CKPT, a file of the new model")
    new = {setting: kernel[axis] for setting, axis in widths.items()}
    layer["config"].update(new)
    text = ", ".join(f"{setting}={size}" for setting, size in new.items())
    return Issue("configuration", "note", name, f"the model's configuration now says {text}")


def _layers(told: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path of names -> every layer of a configuration that is a dictionary with settings."""
    config = told.get("config") if isinstance(told, dict) else None
    listed = config.get("layers") if isinstance(config, dict) else config
    for layer in listed if isinstance(listed, list) else ():
        held = layer.get("config") if isinstance(layer, dict) else None
        if isinstance(held, dict) and isinstance(held.get("name"), str):
            own = f"{path}{held['name']}"
            yield own, layer
            yield from _layers(layer, f"{own}/")
