"""The ordered layers of a Keras model in a SavedModel, and its configuration, which is carried and never acted on.

Keras lists a model's layers under `keras_api/layers`, and each layer's variables under `variables`, both in the order
that `model.layers` and `layer.weights` have. Files saved without traces lack the lists: there
the order of attributes tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ckptmigrate.formats.savedmodel.layers import WRAPPERS
from ckptmigrate.objects import ObjectGraph
from ckptmigrate.table import Layer
from ckptmigrate.wire.saved_model import SavedObject

_TAGS = ("__tuple__", "TensorShape")
_CONFIGURATIONS = ("model_config", "training_config", "keras_version", "backend")  # as in Keras' HDF5 files


def layout_of(
    graph: ObjectGraph, objects: Mapping[int, SavedObject], paths: Mapping[int, str], names: Mapping[int, str]
) -> tuple[Layer, ...] | None:
    """The layers of the model that the root is, in order; None where the file lists none.

    Args:
        graph: The object graph.
        objects: What is known of its nodes.
        paths: Node -> path with layers under their own names.
        names: Node -> the name of the variable it is.
    """
    listed = _child(graph, _child(graph, 0, "keras_api"), "layers")
    numbers = list(_items(graph, listed)) if listed is not None else _own_layers(graph, objects, paths)
    layers = []
    for number in numbers:
        told = _metadata(objects.get(number))
        name = told.get("name")
        if not isinstance(name, str):
            return None
        held = list(_items(graph, _child(graph, number, "variables"))) or _below(paths, name)
        attributes = [(paths[n].removeprefix(f"{name}/"), names[n]) for n in held if n in names and n in paths]
        layers.append(Layer(name, _class(told), tuple(attributes)))
    return tuple(layers) or None


def _own_layers(graph: ObjectGraph, objects: Mapping[int, SavedObject], paths: Mapping[int, str]) -> list[int]:
    """The layers right below the model, also those in its lists, where nothing lists them (`save_traces=False`)."""
    found: dict[int, None] = {}
    seen = {0}
    stack = [0]
    while stack:  # depth first: a list's layers come where the list is
        number = stack.pop()
        told = objects.get(number)
        if number and told is not None and told.metadata and _metadata(told).get("name") == paths.get(number):
            found[number] = None
        elif not number or (told is not None and told.identifier in WRAPPERS):
            stack += [e.node for e in reversed(graph.nodes[number].children) if e.node in paths and e.node not in seen]
            seen.update(e.node for e in graph.nodes[number].children if e.node in paths)
    return list(found)


def _below(paths: Mapping[int, str], name: str) -> list[int]:
    return [n for n, path in paths.items() if path.startswith(f"{name}/")]


def configurations(root: SavedObject | None) -> dict[str, bytes]:
    """What the root's metadata says of the whole model, under the names that Keras' HDF5 files use."""
    told = _metadata(root)
    found: dict[str, bytes] = {}
    for name in _CONFIGURATIONS:
        value = told.get(name)
        if isinstance(value, str) and value:
            found[name] = value.encode("utf-8", "surrogateescape")
        elif isinstance(value, dict) and value.get("config", True):  # a class of the user's own may have {}
            found[name] = json.dumps(_untagged(value)).encode()
    return found


def _untagged(value: Any) -> Any:
    """Tuples and shapes as lists, as Keras' HDF5 files have them (tf_keras/src/saving/legacy/saved_model)."""
    if isinstance(value, dict):
        if value.get("class_name") in _TAGS and value.keys() == {"class_name", "items"}:
            return _untagged(value["items"])
        return {key: _untagged(item) for key, item in value.items()}
    return [_untagged(item) for item in value] if isinstance(value, list) else value


def batch_norm_settings(objects: Mapping[int, SavedObject], paths: Mapping[int, str]) -> dict[str, dict[str, Any]]:
    """Path of a batch normalisation -> its epsilon and momentum, which each layer's own metadata tells.

    Args:
        objects: What is known of the nodes.
        paths: Node -> path with layers under their own names.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, path in paths.items():
        told = _metadata(objects.get(number))
        config = told.get("config")
        if "BatchNorm" in _class(told) and isinstance(config, dict):
            found[path] = {name: config[name] for name in ("epsilon", "momentum") if name in config}
    return found


def _child(graph: ObjectGraph, number: int | None, name: str) -> int | None:
    if number is None:
        return None
    return next((edge.node for edge in graph.nodes[number].children if edge.name == name), None)


def _items(graph: ObjectGraph, number: int | None) -> Iterator[int]:
    """The nodes of a list, in order."""
    edges = graph.nodes[number].children if number is not None else ()
    numbered = sorted((int(e.name), e.node) for e in edges if e.name.isascii() and e.name.isdecimal())
    return (node for _, node in numbered)


def _metadata(known: SavedObject | None) -> Mapping[str, Any]:
    try:
        told = json.loads(known.metadata) if known is not None else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _class(told: Mapping[str, Any]) -> str:
    """The class without its package: `Dense` of `Custom>Dense`."""
    found = told.get("class_name")
    return found.rpartition(">")[2] if isinstance(found, str) else ""
