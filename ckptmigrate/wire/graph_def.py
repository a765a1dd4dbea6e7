"""Graphs: which kind of graph file one is, and the constants in it; nothing else of a graph is looked at.

Messages: tensorflow/core/framework/graph.proto, node_def.proto, function.proto, attr_value.proto.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.mapped import Mapped
from ckptmigrate.wire.protobuf import text
from ckptmigrate.wire.reading import opened
from ckptmigrate.wire.tensor_proto import TensorPlace, place_tensor

_1_VARINT, _1_BYTES, _2_BYTES, _3_BYTES, _5_BYTES, _8_BYTES = 0x08, 0x0A, 0x12, 0x1A, 0x2A, 0x42
_GRAPH_TAGS = frozenset({_1_BYTES, _2_BYTES, 0x18, 0x22, _5_BYTES})  # node, library, version, versions, debug_info
_FIRST_BYTES = (b"\x08", b"\x0a", b"\x12")  # a schema version, a node or a meta graph's facts, a library
_OP = re.compile(rb"[A-Za-z_][A-Za-z0-9_.>/-]*")  # op_def_builder.cc, loosely
_LOOKED_AT = 8  # fields of a file, or of its first node, that tell its kind


class Constant(NamedTuple):
    """A `Const` node: its name, those in a function behind the function's; `place` None where its type is unknown."""

    name: str
    place: TensorPlace | None


class Graph(NamedTuple):
    """The constants of a GraphDef in file order, and how many nodes, functions and ops that hold variables it has."""

    constants: tuple[Constant, ...]
    nodes: int
    functions: int
    variables: int


# Ops whose values are in a checkpoint beside the graph
_VARIABLE_OPS = frozenset({b"VariableV2", b"Variable", b"VarHandleOp", b"AutoReloadVariable"})


def kind_of(path: Path) -> str:
    """What a file holds: "graph", "saved_model", "meta_graph", or "" for anything else. Reads its beginning."""
    return _kind_of_protobuf(path) if _begins_so(path) else ""


def _begins_so(path: Path) -> bool:
    """Most strangers don't; of remote ones no more is fetched."""
    try:
        with opened(path, 0, 1) as descriptor:
            return os.pread(descriptor, 1, 0) in _FIRST_BYTES
    except (OSError, SourceError):
        return False


def _kind_of_protobuf(path: Path) -> str:
    try:
        file = Mapped(path)
        head = list(islice(file.fields(file.view), _LOOKED_AT))
        if not head:
            return ""
        tag, value = head[0]
        if tag == _1_VARINT and value < 16 and len(head) > 1 and head[1][0] == _2_BYTES:
            return "saved_model"
        if tag == _1_BYTES and _is_node(file, value):
            return "graph" if {known for known, _ in head} <= _GRAPH_TAGS else ""
        if tag == _1_BYTES and any(known == _2_BYTES for known, _ in head):
            return "meta_graph"
        return "graph" if tag == _2_BYTES and _is_library(file, value) else ""
    except (DamagedError, SourceError):
        return _kind_of_torn(path)


def _kind_of_torn(path: Path) -> str:
    """A graph that was cut off still begins with a whole node."""
    try:
        file = Mapped(path)
        tag, value = next(file.fields(file.view), (0, memoryview(b"")))
        return "graph" if tag == _1_BYTES and _is_node(file, value) else ""
    except (DamagedError, SourceError):
        return ""


def _is_node(file: Mapped, message: memoryview) -> bool:
    """Whether a message looks like a NodeDef: a name and an op come first."""
    first = list(islice(file.fields(message), 2))
    return [tag for tag, _ in first] == [_1_BYTES, _2_BYTES] and bool(_OP.fullmatch(bytes(first[1][1])))


def _is_library(file: Mapped, message: memoryview) -> bool:
    tag, function = next(file.fields(message), (0, memoryview(b"")))
    return tag == _1_BYTES and next(file.fields(function), (0, None))[0] == _1_BYTES


def read_graph(path: Path) -> Graph:
    """The constants of a GraphDef file. Reads no values.

    Raises:
        SourceError: It can't be opened.
        DamagedError: It doesn't parse.
    """
    file = Mapped(path)
    constants: list[Constant] = []
    nodes = functions = variables = 0
    for prefix, message in _nodes(file):
        if message is None:
            functions += 1
            continue
        nodes += 1
        op, name, value = _node(file, message)
        variables += op in _VARIABLE_OPS
        if op == b"Const" and value is not None:
            constants.append(Constant(prefix + name, place_tensor(file, value)))
    return Graph(tuple(constants), nodes, functions, variables)


def _nodes(file: Mapped) -> Iterator[tuple[str, memoryview | None]]:
    """(prefix of its name, NodeDef) of every node, those of functions too; (its name, None) for each function."""
    for tag, value in file.fields(file.view):
        if tag == _1_BYTES:
            yield "", value
        elif tag == _2_BYTES:
            for inner, function in file.fields(value):
                if inner == _1_BYTES:
                    yield from _function(file, function)


def _function(file: Mapped, message: memoryview) -> Iterator[tuple[str, memoryview | None]]:
    name = ""
    for tag, value in file.fields(message):
        if tag == _1_BYTES:  # the signature, an OpDef, comes before the nodes
            name = next((text(bytes(v)) for t, v in file.fields(value) if t == _1_BYTES), "")
            yield name, None
        elif tag == _3_BYTES:
            yield f"{name}/" if name else "", value


def _node(file: Mapped, message: memoryview) -> tuple[bytes, str, memoryview | None]:
    """A node's op, name, and the tensor in its attribute `value`, where it is a constant."""
    name, op = b"", b""
    attributes: list[memoryview] = []
    for tag, value in file.fields(message):
        if tag == _1_BYTES:
            name = bytes(value)
        elif tag == _2_BYTES:
            op = bytes(value)
        elif tag == _5_BYTES:
            attributes.append(value)
    found = None
    if op == b"Const":
        for attribute in attributes:
            entry = dict(file.fields(attribute))
            if entry.get(_1_BYTES) == b"value" and _2_BYTES in entry:
                found = dict(file.fields(entry[_2_BYTES])).get(_8_BYTES)
    return op, text(name), found
