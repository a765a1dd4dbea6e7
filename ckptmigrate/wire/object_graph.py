"""The object graph of a TF2 checkpoint: protobuf bytes to plain data and back.

Messages: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

from ckptmigrate.errors import DamagedError
from ckptmigrate.objects import Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.wire.protobuf import MalformedError, delimited, fields, integer, signed, string, text

# Tags: field number << 3 | wire type (2 length-delimited, 0 varint).
_1_BYTES, _2_BYTES, _3_BYTES, _4_BYTES, _5_BYTES = 0x0A, 0x12, 0x1A, 0x22, 0x2A
_1_VARINT, _3_VARINT = 0x08, 0x18

T = TypeVar("T", int, bytes)


def decode_graph(data: bytes, where: str) -> ObjectGraph:
    """The graph of a serialised TrackableObjectGraph.

    Args:
        data: The bytes, as the entry `_CHECKPOINTABLE_OBJECT_GRAPH` holds them.
        where: File and key, for errors.

    Raises:
        DamagedError: The bytes don't parse, or an edge or slot leads to a node that doesn't exist.
    """
    try:
        nodes = tuple(_node(value) for tag, value in fields(data) if tag == _1_BYTES)
    except MalformedError as error:
        raise error.damaged(where) from error
    count = len(nodes)
    for number, node in enumerate(nodes):
        for edge in node.children:
            if not 0 <= edge.node < count:
                raise _dangling(f"child {edge.name!r}", edge.node, number, count, where)
        for slot in node.slots:
            for target in (slot.variable, slot.node):
                if not 0 <= target < count:
                    raise _dangling(f"slot {slot.slot!r}", target, number, count, where)
    return ObjectGraph(nodes)


def encode_graph(graph: ObjectGraph) -> bytes:
    """The serialised TrackableObjectGraph, fields in the order of their numbers as TensorFlow writes them."""
    return b"".join(delimited(1, _encode_node(node)) for node in graph.nodes)


def _dangling(what: str, target: int, number: int, count: int, where: str) -> DamagedError:
    return DamagedError(f"{what} of node {number} leads to node {target}; the graph has {count} nodes", where=where)


def _node(data: bytes) -> Node:
    children: list[Edge] = []
    attributes: list[Attribute] = []
    slots: list[SlotReference] = []
    saver: tuple[str, str] | None = None
    has_values: bool | None = None
    for tag, value in fields(data):
        if tag == _1_BYTES:
            children.append(_edge(value))
        elif tag == _2_BYTES:
            attributes.append(Attribute(*_strings(value)))
        elif tag == _3_BYTES:
            slots.append(_slot(value))
        elif tag == _4_BYTES:
            saver = _strings(value)[:2]
        elif tag == _5_BYTES:
            has_values = bool(_last(fields(value), _1_VARINT, 0))
    return Node(tuple(children), tuple(attributes), tuple(slots), saver, has_values)


# Long lists repeat edges such as (`kernel`, n) rarely, but shared nodes hang below several parents.
@lru_cache(maxsize=1 << 14)
def _edge(data: bytes) -> Edge:
    found = fields(data)
    return Edge(text(_last(found, _2_BYTES, b"")), signed(_last(found, _1_VARINT, 0)))


def _slot(data: bytes) -> SlotReference:
    found = fields(data)
    variable, node = _last(found, _1_VARINT, 0), _last(found, _3_VARINT, 0)
    return SlotReference(signed(variable), text(_last(found, _2_BYTES, b"")), signed(node))


def _strings(data: bytes) -> tuple[str, str, str]:
    """String fields 1, 2 and 3 of a message."""
    found = fields(data)
    first, second, third = (text(_last(found, tag, b"")) for tag in (_1_BYTES, _2_BYTES, _3_BYTES))
    return first, second, third


def _last(found: list[tuple[int, Any]], tag: int, default: T) -> T:
    """The last value of a field, as protobuf reads repeated occurrences of a singular one."""
    value: T = default
    for known, found_value in found:
        if known == tag:
            value = found_value
    return value


def _encode_node(node: Node) -> bytes:
    parts = [delimited(1, integer(1, edge.node) + string(2, edge.name)) for edge in node.children]
    parts += [delimited(2, string(1, a.name) + string(2, a.full_name) + string(3, a.key)) for a in node.attributes]
    parts += [delimited(3, integer(1, s.variable) + string(2, s.slot) + integer(3, s.node)) for s in node.slots]
    if node.saver is not None:
        name, object_name = node.saver
        parts.append(delimited(4, string(1, name) + string(2, object_name)))
    if node.has_values is not None:
        parts.append(delimited(5, integer(1, int(node.has_values))))
    return b"".join(parts)
