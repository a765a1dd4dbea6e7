"""Object-based checkpoints judged by TensorFlow: trackables made from the stored graph are restored and compared.

Every node becomes a trackable and every edge a dependency, so the walk that TensorFlow makes is the walk that a real
model's objects would make; an optimizer's node answers for its slots the way optimizers do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmigrate.dtypes import VARIANT
from ckptmigrate.framework.compare import Array, Finding, differing_keys, differing_values, stored_tensors
from ckptmigrate.framework.tf1 import WITHOUT_KERNELS, restore_by_op, zeros
from ckptmigrate.issues import Issue
from ckptmigrate.objects import GRAPH_KEY, OBJECT_CONFIG, VARIABLE_VALUE, Node, ObjectGraph
from ckptmigrate.table import Checkpoint, Tensor


def check(checkpoint: Checkpoint) -> Finding:
    """Reads the checkpoint into objects made from its graph, asserts that all was consumed, compares bits."""
    import tensorflow as tf

    graph, prefix = checkpoint.structure.objects, str(checkpoint.path)
    tensors = stored_tensors(checkpoint)
    if graph is None:
        return Finding((Issue("framework", "error", "", "the checkpoint has no object graph"),))
    seen = set(tf.train.load_checkpoint(prefix).get_variable_to_shape_map()) - {GRAPH_KEY}
    issues = [i for i in differing_keys(tensors, seen, "TensorFlow") if not i.name.endswith(OBJECT_CONFIG)]
    objects = Objects(tf, graph, tensors)
    status = tf.train.Checkpoint(objects.trackables[0]).read(prefix)
    status.assert_existing_objects_matched()
    if objects.opaque:
        status.expect_partial()
    else:
        status.assert_consumed()
    held = {key: tensors[key] for key in objects.variables}
    issues += differing_values(held, lambda key: np.asarray(objects.variables[key].numpy()))
    bare = {k: t for k, t in tensors.items() if k in seen and k not in held and t.dtype is not VARIANT}
    issues += differing_values(bare, lambda key: _by_op(tf, prefix, key, bare[key]))
    details = {"checked_by": f"tensorflow {tf.__version__} Checkpoint", "restored": len(held), "read_only": len(bare)}
    return Finding(tuple(issues), details)


def _by_op(tf: Any, prefix: str, key: str, tensor: Tensor) -> Array:
    return np.asarray(restore_by_op(tf, prefix, key, tensor))


class Objects:
    """Trackables for every node of a graph.

    Attributes:
        trackables: One per node.
        variables: Stored key -> the variable that is to receive it.
        opaque: Nodes whose values only their own class can restore (tables, iterators, registered savers).
    """

    def __init__(self, tf: Any, graph: ObjectGraph, tensors: Mapping[str, Tensor]) -> None:
        self.variables: dict[str, Any] = {}
        self.opaque: set[int] = set()
        self.trackables: list[Any] = [self._make(tf, i, node, tensors) for i, node in enumerate(graph.nodes)]
        for node, trackable in zip(graph.nodes, self.trackables, strict=True):
            for edge in node.children:
                trackable._track_trackable(self.trackables[edge.node], edge.name, overwrite=True)
            for slot in node.slots:
                trackable.add(self.trackables[slot.variable], slot.slot, self.trackables[slot.node])

    def _make(self, tf: Any, number: int, node: Node, tensors: Mapping[str, Tensor]) -> Any:
        keys = [a.key for a in node.attributes if a.name in (VARIABLE_VALUE, "")]
        tensor = tensors.get(keys[0]) if len(keys) == len(node.attributes) == 1 else None
        if tensor is not None and tensor.dtype.name not in WITHOUT_KERNELS and node.saver is None:
            self.variables[keys[0]] = variable = tf.Variable(zeros(tf, tensor), shape=tensor.shape)
            return variable
        if node.attributes or node.saver is not None:
            self.opaque.add(number)
        return _optimizer(tf) if node.slots else tf.__internal__.tracking.AutoTrackable()


def _optimizer(tf: Any) -> Any:
    """An object that TensorFlow takes for an optimizer: it is asked for its slots by variable and name."""

    class Optimizer(tf.__internal__.tracking.AutoTrackable):  # type: ignore[misc]
        def __init__(self) -> None:
            self._slots = _Untracked({})

        def add(self, variable: Any, name: str, slot: Any) -> None:
            self._slots.held[id(variable), name] = slot

        def get_slot_names(self) -> list[str]:
            return sorted({name for _, name in self._slots.held})

        def get_slot(self, var: Any, slot_name: str | None = None, name: str | None = None) -> Any:
            return self._slots.held.get((id(var), slot_name or name or ""))

        def _create_or_restore_slot_variable(self, slot_variable_position: Any, slot_name: str, variable: Any) -> None:
            slot_variable_position.restore(self.get_slot(variable, slot_name))

    return Optimizer()


@dataclass(frozen=True)
class _Untracked:
    """Keeps a dict out of TensorFlow's attribute tracking."""

    held: dict[tuple[int, str], Any]
