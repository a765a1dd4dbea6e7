"""Laws of object-based files, tried on graphs that nobody would make."""

import string
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.formats import by_name
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.formats.tf2.reader import read
from ckptmigrate.objects import GRAPH_KEY, VALUE_SUFFIX, Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.table import Checkpoint, Tensor, Variable
from ckptmigrate.wire.bundle import read_bundle
from ckptmigrate.wire.bundle_writer import BundleWriter
from ckptmigrate.wire.object_graph import encode_graph

WRITER = by_name("tf2").writer
LOCALS = st.sampled_from(
    [
        *("a", "b", "a.b", "x/y", "optimizer", "iter", "decay", "variables", "", "m", "0", "1", "2", "_iterations"),
        *("_learning_rate", "_variables", "_trainable_variables", "_momentums", "_velocities", "_index_dict"),
    ]
)
KEYS = st.sampled_from(
    [f"{path}{VALUE_SUFFIX}" for path in ("a", "b", "a/b", "a.b", "a..b", "optimizer/iter", "m/0", "save_counter")]
    + ["t/.ATTRIBUTES/table", "t/.ATTRIBUTES/table-keys", "bare", "a/.OPTIMIZER_SLOT/optimizer/m" + VALUE_SUFFIX]
)


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 7))
    number = st.integers(0, count - 1)
    keys = iter(draw(st.lists(KEYS, unique=True, max_size=count)))
    nodes = []
    for _ in range(count):
        edges = draw(st.lists(st.builds(Edge, LOCALS, number), max_size=4))
        slots = draw(st.lists(st.builds(SlotReference, number, st.sampled_from(["m", "average"]), number), max_size=2))
        key = next(keys, None) if draw(st.booleans()) else None
        attributes = [Attribute("VARIABLE_VALUE" if key.endswith(VALUE_SUFFIX) else "table", "n", key)] if key else []
        nodes.append(Node(tuple(edges), tuple(attributes), tuple(slots)))
    return ObjectGraph(tuple(nodes))


LISTS = ("_variables", "_trainable_variables", "_momentums", "_velocities", "_index_dict", "_iterations")
SHAPES = [(), (2,), (2, 2)]


@st.composite
def lists(draw):
    """An optimizer whose lists name any node: the model's variables, other lists, itself, nodes twice."""
    members = [f"v{number}{VALUE_SUFFIX}" for number in range(draw(st.integers(1, 6)))]
    count = 2 + len(LISTS) + len(members)
    edges = st.lists(st.builds(Edge, st.sampled_from(["0", "1", "2", "3", "01", "x"]), st.integers(0, count - 1)))
    root = Node((Edge("optimizer", 1), *(Edge(n, draw(st.integers(1, count - 1))) for n in "ab")))
    own = draw(st.lists(st.sampled_from(range(len(LISTS))), min_size=1, unique=True))
    node = Node((*(Edge(LISTS[n], 2 + n) for n in own), Edge("_learning_rate", count - 1)))
    listed = [Node(tuple(draw(edges))) for _ in LISTS]
    names = st.sampled_from(["", "a", "iteration", "adam/iteration", "Adam/m/a", "Adam/v/b", "m/a"])
    values = [Node((), (Attribute("VARIABLE_VALUE", draw(names), key),)) for key in members]
    shapes = [draw(st.sampled_from(SHAPES)) for _ in members]
    return ObjectGraph((root, node, *listed, *values)), dict(zip(members, shapes, strict=True))


def save(folder, graph, keys):
    writer = BundleWriter(folder, "ckpt")
    for number, key in enumerate(keys):
        values = np.array(number, np.int64) if "iter" in key or "counter" in key else np.full(2, number, np.float32)
        writer.add_array(key, 9 if values.shape == () else 1, values)
    writer.add_strings(GRAPH_KEY, (), [encode_graph(graph)])
    writer.finish()
    return folder / "ckpt"


def values(checkpoint):
    return {row.key: row.tensor.read().tolist() for row in checkpoint.rows()}


@settings(max_examples=60)
@given(graphs(), st.lists(KEYS, unique=True, min_size=1))
def test_every_key_is_listed_once_under_one_name(graph, keys):
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = read(save(Path(folder), graph, keys))
        rows = list(checkpoint.rows())
        assert sorted(row.key for row in rows) == sorted(keys)
        assert all(name == v.name for name, v in checkpoint.variables.items())


@settings(max_examples=60)
@given(lists())
def test_lists_hold_what_they_held(drawn):
    graph, shapes = drawn
    with tempfile.TemporaryDirectory() as folder:
        writer = BundleWriter(Path(folder), "ckpt")
        for number, (key, shape) in enumerate(shapes.items()):
            writer.add_array(key, 1, np.full(shape, number, np.float32))
        writer.add_strings(GRAPH_KEY, (), [encode_graph(graph)])
        writer.finish()
        checkpoint = read(Path(folder, "ckpt"))
        assert sorted(row.key for row in checkpoint.rows()) == sorted(shapes)
        if any(issue.severity in ("error", "loss") for issue in WRITER.check(checkpoint, WriteOptions())):
            return
        (out := Path(folder, "out")).mkdir()
        WRITER.write(checkpoint, out, "x", WriteOptions())
        before, after = values(checkpoint), values(read(out / "x"))
        assert sorted(map(str, before.values())) == sorted(str(v) for k, v in after.items() if k != COUNTER)


COUNTER = f"save_counter{VALUE_SUFFIX}"


@settings(max_examples=60)
@given(graphs(), st.lists(KEYS, unique=True, min_size=1))
def test_writing_promises_what_it_holds_or_says_that_it_cannot(graph, keys):
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = read(save(Path(folder), graph, keys))
        if WRITER.check(checkpoint, WriteOptions()):
            return
        (out := Path(folder, "out")).mkdir()
        WRITER.write(checkpoint, out, "x", WriteOptions())
        held = set(read_bundle(out / "x").entries) - {GRAPH_KEY}
        written = read(out / "x")
        assert set(values(written)) == held
        assert not written.issues
        before, after = values(checkpoint), values(written)
        assert sorted(map(str, before.values())) == sorted(
            str(v) for k, v in after.items() if k in before or not k.startswith("save_counter")
        )


NAMES = st.lists(
    st.text(string.ascii_lowercase[:3] + "./S_-", min_size=1, max_size=8), unique=True, min_size=1, max_size=6
)


@settings(max_examples=60)
@given(NAMES)
def test_names_come_back_as_they_were(names):
    tensor = Tensor.of(np.ones(1, np.float32), FLOAT32)
    checkpoint = Checkpoint(Path("x"), "plan", {n: Variable(n, tensor, n) for n in names})
    if WRITER.check(checkpoint, WriteOptions()):
        return
    with tempfile.TemporaryDirectory() as folder:
        WRITER.write(checkpoint, Path(folder), "x", WriteOptions())
        assert set(read(Path(folder, "x")).variables) == {*names, "save_counter"}
