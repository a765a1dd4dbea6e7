"""The object graph's codec: literal bytes, inverse, broken graphs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.errors import DamagedError
from ckptmigrate.objects import Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.wire.object_graph import decode_graph, encode_graph

# Written by TensorFlow 2.21: a Checkpoint of a module with two variables, and its save counter.
LITERAL = bytes.fromhex(
    "0a210a09080112056d6f64656c0a100802120c736176655f636f756e7465722a0208010a120a0508031201610a0508041201622a0208010a4d"
    "12470a0e5641524941424c455f56414c5545120c736176655f636f756e7465721a27736176655f636f756e7465722f2e415454524942555445"
    "532f5641524941424c455f56414c55452a0208010a3d12370a0e5641524941424c455f56414c55451201611a226d6f64656c2f612f2e415454"
    "524942555445532f5641524941424c455f56414c55452a0208010a3d12370a0e5641524941424c455f56414c55451201621a226d6f64656c2f"
    "622f2e415454524942555445532f5641524941424c455f56414c55452a020801"
)


def leaf(full_name: str, path: str) -> Node:
    return Node((), (Attribute("VARIABLE_VALUE", full_name, f"{path}/.ATTRIBUTES/VARIABLE_VALUE"),), has_values=True)


GRAPH = ObjectGraph(
    (
        Node((Edge("model", 1), Edge("save_counter", 2)), has_values=True),
        Node((Edge("a", 3), Edge("b", 4)), has_values=True),
        leaf("save_counter", "save_counter"),
        leaf("a", "model/a"),
        leaf("b", "model/b"),
    )
)

names = st.text(max_size=8)
numbers = st.integers(0, 2)
nodes = st.builds(
    Node,
    st.lists(st.builds(Edge, names, numbers), max_size=3).map(tuple),
    st.lists(st.builds(Attribute, names, names, names), max_size=2).map(tuple),
    st.lists(st.builds(SlotReference, numbers, names, numbers), max_size=2).map(tuple),
    st.none() | st.tuples(names, names),
    st.none() | st.booleans(),
)


def test_literal_bytes_both_ways() -> None:
    assert decode_graph(LITERAL, "here") == GRAPH
    assert encode_graph(GRAPH) == LITERAL


@given(st.lists(nodes, min_size=3, max_size=3).map(tuple))
def test_what_is_encoded_is_decoded(graph: tuple[Node, ...]) -> None:
    assert decode_graph(encode_graph(ObjectGraph(graph)), "here") == ObjectGraph(graph)


@pytest.mark.parametrize(
    "node",
    [
        Node((Edge("a", 5),)),
        Node((Edge("a", -1),)),
        Node(slots=(SlotReference(0, "m", 9),)),
        Node(slots=(SlotReference(-3, "m", 0),)),
    ],
)
def test_edges_into_nowhere(node: Node) -> None:
    with pytest.raises(DamagedError, match="the graph has 1 nodes") as caught:
        decode_graph(encode_graph(ObjectGraph((node,))), "m.index, graph")
    assert caught.value.where == "m.index, graph"


@given(st.integers(0, 60), st.integers(0, 255))
def test_mutations_are_read_or_damaged(at: int, byte: int) -> None:
    data = bytearray(encode_graph(GRAPH))
    data[at % len(data)] = byte
    with contextlib.suppress(DamagedError):
        decode_graph(bytes(data), "here")
