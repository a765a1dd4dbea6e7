"""Frozen graphs: which constants are variables, and graphs that lie."""

import resource
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.errors import DamagedError
from ckptmigrate.formats import identify, open_checkpoint
from ckptmigrate.wire.graph_def import kind_of
from ckptmigrate.wire.protobuf import delimited, integer, string

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
FLOATS = np.arange(6, dtype=np.float32)
CONTENT = delimited(4, FLOATS.tobytes())


def shape(*dims):
    return delimited(2, b"".join(delimited(2, integer(1, d)) for d in dims))


def const(name, tensor, op="Const"):
    value = delimited(5, string(1, "value") + delimited(2, delimited(8, tensor)))
    return delimited(1, string(1, name) + string(2, op) + value)


def floats(*values):
    return delimited(5, np.array(values, np.float32).tobytes())


@pytest.fixture
def graph(tmp_path):
    """Writes a graph of these nodes; its path."""

    def write(*nodes):
        path = tmp_path / "graph.pb"
        path.write_bytes(b"".join(nodes) + delimited(4, integer(1, 21)))
        return path

    return write


def test_floats_of_rank_one_and_more_are_variables():
    checkpoint = open_checkpoint(FIXTURES / "frozen-graph" / "tf1")
    assert {"scope/kernel", "scope/parts/part_0", "typed/quantised"} < checkpoint.variables.keys()
    others = checkpoint.metadata["other_constants"]
    assert {"integers", "strings"} < set(others["names"])
    assert others["count"] == len(others["names"])
    assert not set(others["names"]) & checkpoint.variables.keys()
    assert checkpoint.variables["scope/kernel"].tensor.extents


def test_constants_of_functions_stand_behind_their_function():
    (inner, outer) = open_checkpoint(FIXTURES / "frozen-graph" / "tf2_function").variables.values()
    assert inner.name == "outer_bias"
    assert outer.name.endswith("/inner_kernel")


TENSORS = {
    "content": (integer(1, 1) + shape(2, 3) + CONTENT, FLOATS.reshape(2, 3).tolist()),
    "the last repeats": (integer(1, 1) + shape(2, 2) + floats(1, 2), [[1, 2], [2, 2]]),
    "one for all": (integer(1, 1) + shape(1 << 24) + floats(7), None),
    "zeros": (integer(1, 1) + shape(2), [0, 0]),
    "unpacked": (integer(1, 1) + shape(2) + b"\x2d" + FLOATS[1:2].tobytes() + b"\x2d" + FLOATS[2:3].tobytes(), [1, 2]),
    "reference type": (integer(1, 101) + shape(2) + floats(1), [1, 1]),
    "empty": (integer(1, 1) + shape(0, 3), []),
    "fields in any order": (CONTENT + shape(6) + integer(1, 1), FLOATS.tolist()),
}


@pytest.mark.parametrize(("tensor", "values"), TENSORS.values(), ids=list(TENSORS))
def test_values(tensor, values, graph):
    read = open_checkpoint(graph(const("w", tensor))).variables["w"].tensor.read()
    assert not read.flags.writeable
    if values is None:
        assert read[[0, -1]].tolist() == [7, 7]
    else:
        assert read.tolist() == values


HOSTILE = {
    "shape bomb": integer(1, 1) + shape(1 << 40) + floats(1),
    "no values, 4 TB": integer(1, 1) + shape(1 << 40),
    "negative dimension": integer(1, 1) + shape((1 << 64) - 1) + CONTENT,
    "product overflows": integer(1, 1) + shape(1 << 62, 4, 4) + CONTENT,
    "rank 300": integer(1, 1) + shape(*[1] * 300) + floats(1),
    "unknown rank": integer(1, 1) + delimited(2, integer(3, 1)) + floats(1),
    "content too short": integer(1, 1) + shape(7) + CONTENT,
    "content too long": integer(1, 1) + shape(5) + CONTENT,
    "too many values": integer(1, 1) + shape(1) + floats(1, 2),
    "values cut": integer(1, 1) + shape(3) + delimited(5, b"\0" * 7),
    "not a message": b"\x0a\xff\xff\xff\xff\x7f",
    "a varint without end": b"\x08" + b"\xff" * 11,
}


@pytest.mark.parametrize("tensor", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_constant_is_refused(tensor, graph):
    path = graph(const("w", tensor))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedError, match=r"byte|values") as caught:
        open_checkpoint(path, "frozen-graph").variables["w"].tensor.read()
    assert str(path) in caught.value.where
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_two_nodes_of_one_name(graph):
    node = const("w", integer(1, 1) + shape(6) + CONTENT)
    with pytest.raises(DamagedError, match="two nodes are called 'w'"):
        open_checkpoint(graph(node, node))


def test_types_that_nobody_defined_are_counted(graph):
    checkpoint = open_checkpoint(graph(const("w", integer(1, 99) + shape(6) + CONTENT)))
    assert checkpoint.metadata["other_constants"] == {"count": 1, "names": ["w"]}


def test_a_graph_that_was_not_frozen_is_empty(graph):
    checkpoint = open_checkpoint(graph(delimited(1, string(1, "w") + string(2, "VariableV2"))))
    (issue,) = checkpoint.issues
    assert (dict(checkpoint.variables), issue.severity) == ({}, "note")
    assert "checkpoint" in issue.hint


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (delimited(1, string(1, "n") + string(2, "NoOp")), "graph"),
        (delimited(1, string(1, "n") + string(2, "NoOp"))[:-1] + b"\x0a", ""),
        (delimited(2, delimited(1, delimited(1, string(1, "f")))), "graph"),
        (integer(1, 1) + delimited(2, b""), "saved_model"),
        (delimited(1, delimited(4, b"serve")) + delimited(2, b""), "meta_graph"),
        (b"", ""),
        (b"\x0a", ""),
        (b"hello", ""),
    ],
)
def test_kinds_are_told_by_content(content, kind, tmp_path):
    path = tmp_path / "x.pb"
    path.write_bytes(content)
    assert kind_of(path) == kind


def test_any_suffix_will_do(graph, tmp_path):
    path = graph(const("w", integer(1, 1) + shape(6) + CONTENT)).rename(tmp_path / "weights.bin")
    assert identify(path).format.name == "frozen-graph"
