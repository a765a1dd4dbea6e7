"""The object graph of a TF2 checkpoint as plain data: nodes, edges, attributes, slot references.

Follows tensorflow/core/protobuf/trackable_object_graph.proto. Local names are not escaped here; stored keys are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VARIABLE_VALUE = "VARIABLE_VALUE"
ATTRIBUTES = "/.ATTRIBUTES/"
VALUE_SUFFIX = ATTRIBUTES + VARIABLE_VALUE
OPTIMIZER_SLOT = "/.OPTIMIZER_SLOT/"
OBJECT_CONFIG = "OBJECT_CONFIG_JSON"
GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"

_ESCAPED = re.compile(r"\.[.S]")
_MEANT = {"..": ".", ".S": "/"}


@dataclass(frozen=True, slots=True)
class Edge:
    """A child: its local name, unescaped, and its node number."""

    name: str
    node: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """A stored value of a node: attribute name, the variable's own name, and the key (or prefix) it stands under."""

    name: str
    full_name: str
    key: str


@dataclass(frozen=True, slots=True)
class SlotReference:
    """An optimizer's slot: of which variable, its name, and the node that holds it."""

    variable: int
    slot: str
    node: int


@dataclass(frozen=True, slots=True)
class Node:
    """One tracked object. `saver` is (name, object name) of a registered saver; `has_values` is None in older files."""

    children: tuple[Edge, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    slots: tuple[SlotReference, ...] = ()
    saver: tuple[str, str] | None = None
    has_values: bool | None = None


@dataclass(frozen=True, slots=True)
class ObjectGraph:
    """The whole graph; node 0 is the root."""

    nodes: tuple[Node, ...]


def escape(name: str) -> str:
    """A local name as it stands in a stored key (tensorflow/python/checkpoint/trackable_view, `escape_local_name`).

    >>> escape("x/y.z")
    'x.Sy..z'
    """
    return name.replace(".", "..").replace("/", ".S")


def unescape(name: str) -> str:
    """The local name behind one escaped segment of a key.

    >>> unescape("x.Sy..z")
    'x/y.z'
    """
    return _ESCAPED.sub(lambda pair: _MEANT[pair[0]], name) if "." in name else name
