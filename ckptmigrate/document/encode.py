"""A Checkpoint as plain data."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmigrate.objects import Node
from ckptmigrate.table import Checkpoint, OptimizerState, Stored, Structure, Tensor, Variable

VERSION = 1

# What reading adds to the metadata of this machine's doing: it would make equal inputs give different bytes.
_MACHINE = frozenset({"used"})


def encode(checkpoint: Checkpoint, members: Iterable[str], metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document of a checkpoint. Reads no tensor.

    Args:
        checkpoint: What to describe.
        members: The name each tensor has in the container, in the order of `checkpoint.rows()`.
        metadata: Added to the checkpoint's own, e.g. {"provenance": ...}.
    """
    names = iter(members)
    document = {
        "ckptmigrate": VERSION,
        "variables": [_variable(v, next(names)) for v in checkpoint.variables.values()],
        "optimizers": [_optimizer(state, names) for state in checkpoint.optimizers],
        **_structure(checkpoint.structure),
    }
    kept = {key: value for key, value in checkpoint.metadata.items() if key not in _MACHINE}
    return document | _given(metadata=plain(kept | dict(metadata or {})))


def encode_template(checkpoint: Checkpoint) -> dict[str, Any]:
    """The document of a template: no values, every shape left open."""
    rows = [entry.key for entry in checkpoint.rows()]
    document: dict[str, Any] = _opened(encode(checkpoint, rows))
    return {key: value for key, value in document.items() if key != "metadata"}


def dump(document: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """The document's bytes, ASCII; the same document gives the same bytes."""
    separators = (",", ":") if indent is None else None
    return json.dumps(document, indent=indent, separators=separators, allow_nan=False).encode("ascii")


def plain(value: Any) -> Any:
    """A value as JSON has it: sorted keys; numbers that are no JSON numbers, and anything unknown, as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: None if k == "shape" else _opened(v) for k, v in value.items()}
    return [_opened(v) for v in value] if isinstance(value, list) else value


def _variable(variable: Variable, member: str) -> dict[str, Any]:
    return {
        "name": variable.name,
        **_tensor(variable.key, member, variable.tensor),
        **_given(
            role=variable.role if variable.role != "weight" else None,
            trainable=variable.trainable,
            aliases={system: list(names) for system, names in sorted(variable.aliases.items())},
            copies=list(variable.copies),
        ),
    }


def _optimizer(state: OptimizerState, members: Iterator[str]) -> dict[str, Any]:
    """Takes the members in the order of `Checkpoint.rows()`: scalars, slots, unbound, then what it wraps."""
    return {
        "name": state.name,
        "kind": state.kind,
        "dialect": state.dialect,
        **_given(
            step=state.step,
            hyper={name: plain(float(value)) for name, value in sorted(state.hyper.items())},
            scalars=[{"name": name, **_stored(s, members)} for name, s in state.scalars.items()],
            slots=[{"variable": k.variable, "slot": k.slot, **_stored(s, members)} for k, s in state.slots.items()],
            order=[[key.variable, key.slot] for key in state.order],
            unbound=[_stored(s, members) for s in state.unbound],
            wraps=_optimizer(state.wraps, members) if state.wraps is not None else None,
            parent=state.parent,
        ),
    }


def _stored(stored: Stored, members: Iterator[str]) -> dict[str, Any]:
    return _tensor(stored.key, next(members), stored.tensor) | _given(copies=list(stored.copies))


def _tensor(key: str, member: str, tensor: Tensor) -> dict[str, Any]:
    return {
        "member": member,
        **({"key": key} if key not in ("", member) else {}),
        "dtype": tensor.dtype.name,
        "shape": None if tensor.is_open else list(tensor.shape),
    }


def _structure(structure: Structure) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if structure.objects is not None:
        fields["objects"] = [_node(node) for node in structure.objects.nodes]
    if structure.layout is not None:
        fields["layout"] = [
            {"name": layer.name, "class_name": layer.class_name, "attributes": _lists(layer.attributes)}
            for layer in structure.layout
        ]
    blobs = {name: base64.b64encode(data).decode("ascii") for name, data in sorted(structure.blobs.items())}
    return fields | _given(blobs=blobs)


def _node(node: Node) -> dict[str, Any]:
    return _given(
        children=[[edge.name, edge.node] for edge in node.children],
        attributes=[[a.name, a.full_name, a.key] for a in node.attributes],
        slots=[[s.variable, s.slot, s.node] for s in node.slots],
        saver=list(node.saver) if node.saver is not None else None,
        has_values=node.has_values,
    )


def _lists(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    return [list(pair) for pair in pairs]


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that say something: not None, not empty."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
