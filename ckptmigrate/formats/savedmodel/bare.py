"""A SavedModel of variables alone: what is written without a SavedModel as template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ckptmigrate.dtypes import STRING
from ckptmigrate.formats.object_composition import compose
from ckptmigrate.formats.object_view import is_value
from ckptmigrate.issues import Issue
from ckptmigrate.objects import GRAPH_KEY, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.table import Checkpoint, Stored, Tensor, Variable
from ckptmigrate.wire.object_graph import encode_graph
from ckptmigrate.wire.saved_objects import NewVariable, encode_saved_model

# Types that TensorFlow has no kernels to hold in a variable: those objects stay plain, their values in the bundle.
_NO_VARIABLES = frozenset(
    {"qint8", "quint8", "qint16", "quint16", "qint32", "int2", "uint2", "float4_e2m1fn", "variant"}
    | {"float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"}
)


@dataclass(frozen=True, slots=True)
class Bare:
    """What is to be written: `saved_model.pb`, every tensor of the bundle under its key, the graph among them, and what
    was assumed."""

    proto: bytes
    stored: tuple[Stored, ...]
    issues: tuple[Issue, ...]


def bare(checkpoint: Checkpoint, template: Checkpoint | None) -> Bare:
    """Lays a checkpoint out as object graphs of the bundle and of the SavedModel, with the same numbers in both.

    Optimizers' slots stand in the bundle, where `tf.train.Checkpoint` finds them; the SavedModel, which could only load
    them with the optimizer's own class, has plain objects in their place.
    """
    composed = compose(checkpoint, template, counts_saves=False)
    graph = pruned(composed.graph)
    proto = encode_saved_model(graph, _variables(graph, composed.stored, checkpoint))
    return Bare(
        proto, (*composed.stored, Stored(GRAPH_KEY, Tensor.of(_string(encode_graph(graph)), STRING))), composed.issues
    )


def pruned(graph: ObjectGraph) -> ObjectGraph:
    """The graph without objects that hold nothing: a model's functions, empty lists, Keras' bookkeeping."""
    kept = {n for n, node in enumerate(graph.nodes) if node.attributes or node.saver is not None} | {0}
    parents: dict[int, list[int]] = {}
    for number, node in enumerate(graph.nodes):
        for child in (*(e.node for e in node.children), *(s.node for s in node.slots)):
            parents.setdefault(child, []).append(number)
    queue = list(kept)
    while queue:
        for parent in parents.get(queue.pop(), ()):
            if parent not in kept:
                kept.add(parent)
                queue.append(parent)
    order = {old: new for new, old in enumerate(sorted(kept))}
    return ObjectGraph(tuple(_renumbered(graph.nodes[old], order) for old in order))


def _renumbered(node: Node, order: Mapping[int, int]) -> Node:
    children = tuple(Edge(e.name, order[e.node]) for e in node.children if e.node in order)
    slots = tuple(SlotReference(order[s.variable], s.slot, order[s.node]) for s in node.slots if s.node in order)
    return Node(children, node.attributes, slots, node.saver, node.has_values)


def _variables(graph: ObjectGraph, stored: tuple[Stored, ...], checkpoint: Checkpoint) -> dict[int, NewVariable]:
    """Node -> the variable that the SavedModel has in it."""
    tensors = {item.key: item.tensor for item in stored}
    slots = {slot.node for node in graph.nodes for slot in node.slots}
    told = {id(variable.tensor): variable for variable in checkpoint.variables.values()}
    found = {}
    for number, node in enumerate(graph.nodes):
        value = next((a for a in node.attributes if is_value(a)), None)
        tensor = tensors.get(value.key) if value is not None and number not in slots else None
        if value is not None and tensor is not None and tensor.dtype.name not in _NO_VARIABLES:
            name = value.full_name or value.key.partition("/.ATTRIBUTES/")[0]
            trainable = _is_trainable(told.get(id(tensor)), tensor)
            found[number] = NewVariable(name, tensor.dtype.tf, tensor.shape, trainable)
    return found


def _is_trainable(variable: Variable | None, tensor: Tensor) -> bool:
    """As the source says; where it doesn't, weights of floats are."""
    if variable is None:
        return False
    return variable.trainable if variable.trainable is not None else variable.role == "weight" and tensor.dtype.is_float


def _string(blob: bytes) -> np.ndarray[tuple[()], np.dtype[np.object_]]:
    array = np.empty((), object)
    array[()] = blob
    return array
