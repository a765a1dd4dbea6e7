"""What Keras calls the objects of a SavedModel: the layers' own names in place of the numbers they are stored under.

Keras wrote each object's configuration beside the graph: `keras_metadata.pb` (2.5 and newer) or the object's own
metadata (older). Only its name is looked at; nothing is built from it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping

from ckptmigrate.formats.object_paths import BOOKKEEPING_EDGES
from ckptmigrate.objects import ObjectGraph, escape
from ckptmigrate.wire.saved_model import SavedObject

_MODELS = frozenset({"_tf_keras_model", "_tf_keras_network", "_tf_keras_sequential"})
_KERAS = "_tf_keras_"
WRAPPERS = frozenset({"trackable_list_wrapper", "trackable_dict_wrapper", "trackable_tuple_wrapper"})

# Edges from a Keras 3 model to what it is made of
_KERAS3_EDGES = frozenset({"_all_variables", "_layers", "_operations", "_functional"})


def layer_paths(graph: ObjectGraph, objects: Mapping[int, SavedObject], closed: Iterable[int]) -> dict[int, str]:
    """Node -> path with each layer of a model under its own name, as far as the file tells those.

    Layers stand right below their model, also those that it holds in lists; parts of layers keep the attribute's name,
    without leading underscores: `lstm/cell/kernel`, `mha/query_dense/kernel`, `sub/a/kernel`.

    Args:
        graph: The object graph.
        objects: What is known of its nodes; identifier and metadata of Keras objects among it.
        closed: Optimizers, which aren't entered.
    """
    names = {n: name for n, o in objects.items() if o.identifier.startswith(_KERAS) and (name := _name(o.metadata))}
    if not names:
        return {}
    shut = set(closed)
    paths: dict[int, str] = {0: ""}
    models: dict[int, str] = {}  # node of a model, or of a list in one -> path of the model
    queue = deque([0])
    while queue:
        number = queue.popleft()
        known = objects.get(number)
        if known is not None and known.identifier in _MODELS:
            models[number] = paths[number]
        for edge in graph.nodes[number].children if number not in shut else ():
            if edge.node in paths or edge.name in BOOKKEEPING_EDGES:
                continue
            if number in models and edge.node in names:
                paths[edge.node] = _below(models[number], names[edge.node])
            else:
                paths[edge.node] = _below(paths[number], escape(edge.name.lstrip("_") or edge.name))
            child = objects.get(edge.node)
            if number in models and child is not None and child.identifier in WRAPPERS:
                models[edge.node] = models[number]
            queue.append(edge.node)
    return paths


def keras3_paths(graph: ObjectGraph, names: Mapping[int, str]) -> dict[int, str]:
    """Node -> the variable's path without the model's name, which all variables of a Keras 3 model begin with.

    Args:
        graph: The object graph.
        names: Node -> the variable's own name.
    """
    if not any(edge.name in _KERAS3_EDGES for edge in graph.nodes[0].children):
        return {}
    parts = {number: name.partition("/") for number, name in names.items()}
    if len({first for first, _, rest in parts.values() if "/" in rest}) != 1:
        return {}
    return {number: rest for number, (_, _, rest) in parts.items() if "/" in rest}


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _name(metadata: str) -> str:
    """The name in an object's configuration; "" where there is none."""
    try:
        told = json.loads(metadata)
    except (ValueError, RecursionError):
        return ""
    name = told.get("name") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""
