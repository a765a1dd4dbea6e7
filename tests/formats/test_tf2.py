"""Object-based bundles: names from the graph, optimizers from its nodes, graphs kept, grown and made anew."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.errors import CkptMigrateError, DamagedError
from ckptmigrate.formats import by_name, open_checkpoint
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.formats.object_paths import MAX_PATH_CHARACTERS, layer_path, paths_of
from ckptmigrate.objects import GRAPH_KEY, VALUE_SUFFIX, Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable
from ckptmigrate.wire.bundle import read_bundle
from ckptmigrate.wire.bundle_writer import BundleWriter
from ckptmigrate.wire.object_graph import encode_graph

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "tf2"
TF2 = by_name("tf2")


def tensor(*shape, start=0.0):
    return Tensor.of(np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape), FLOAT32)


def variable(name, **rest):
    return Variable(name, tensor(2), name, **rest)


def holding(*variables, **rest):
    return Checkpoint(Path("origin"), "plan", {v.name: v for v in variables}, **rest)


def node(children=(), key="", slots=(), full_name=""):
    """A node from (name, number) pairs; `key` with or without its suffix."""
    stored = key if "/." in key else key + VALUE_SUFFIX
    attributes = (Attribute("VARIABLE_VALUE", full_name, stored),) if key else ()
    return Node(
        tuple(Edge(*child) for child in children), attributes, tuple(SlotReference(v, s, n) for v, s, n in slots)
    )


@pytest.fixture
def save(tmp_path):
    """Writes a graph, with a tensor under every key that it names and under those given."""

    def run(*nodes, keys=(), without=(), graph=None):
        writer = BundleWriter(tmp_path, "ckpt")
        named = [a.key for n in nodes for a in n.attributes]
        for key in dict.fromkeys([*named, *keys]):
            if key not in without:
                scalar = key.endswith(("iter" + VALUE_SUFFIX, "_iterations" + VALUE_SUFFIX))
                writer.add_array(key, 9 if scalar else 1, np.array(7) if scalar else np.ones(2, np.float32))
        writer.add_strings(GRAPH_KEY, (), [encode_graph(ObjectGraph(nodes)) if graph is None else graph])
        writer.finish()
        return tmp_path / "ckpt"

    return run


@pytest.fixture
def write(tmp_path):
    def run(checkpoint, name="out", **options):
        (tmp_path / name).mkdir()
        assert not TF2.writer.check(checkpoint, WriteOptions(**options))
        TF2.writer.write(checkpoint, tmp_path / name, name, WriteOptions(**options))
        return open_checkpoint(tmp_path / name / name)

    return run


def plain(tensor):
    values = tensor.read()
    return values.tolist() if values.dtype == object else values.tobytes()


def listing(checkpoint):
    return {(row.optimizer, row.name, row.slot): plain(row.tensor) for row in checkpoint.rows()}


def names(path):
    return list(open_checkpoint(path).variables)


# Names


def test_names_are_paths_breadth_first_in_stored_order(save):
    path = save(
        node([("z", 1), ("a", 2), ("root", 0)]),
        node([("w", 3)]),
        node([("w", 3), ("v.x/y", 4)]),
        node(key="z/w"),
        node(key="a/v..x.Sy"),
    )
    assert names(path) == ["z/w", "a/v..x.Sy"]


def test_names_never_lead_through_optimizers_or_keras_lists(save):
    path = save(
        node([("optimizer", 1), ("variables", 2), ("model", 3)]),
        node([("_iterations", 5), ("_trainable_variables", 4)]),
        node([("0", 6)]),
        node([("variables", 2), ("layer", 7)]),
        node([("0", 6), ("1", 8)]),
        node(key="optimizer/_iterations"),
        node(key="optimizer/_trainable_variables/0"),
        node([("kernel", 6)]),
        node(key="optimizer/_trainable_variables/1"),
    )
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.variables) == ["model/layer/kernel", "optimizer/_trainable_variables/1"]
        assert checkpoint.variables["model/layer/kernel"].key == "optimizer/_trainable_variables/0" + VALUE_SUFFIX
        (state,) = checkpoint.optimizers
        assert (state.name, state.step) == ("optimizer", 7)


@pytest.mark.parametrize(
    ("name", "full_name", "expected"),
    [
        ("layer_with_weights-0/kernel", "conv/kernel", "conv/kernel"),
        ("m/layer_with_weights-0/kernel", "scope/conv/kernel", "m/scope/conv/kernel"),
        ("layer_with_weights-0/cell/kernel", "lstm/lstm_cell/kernel", "lstm/cell/kernel"),
        ("layer_with_weights-2/layer_with_weights-0/kernel", "d/kernel", "layer_with_weights-2/d/kernel"),
        ("layer_with_weights-2/layer_with_weights-0/kernel", "in/d/kernel", "in/d/kernel"),
        ("layer_with_weights-0/kernel", "kernel", "layer_with_weights-0/kernel"),
        ("layer-0/kernel", "conv/kernel", "layer-0/kernel"),
    ],
)
def test_layer_path(name, full_name, expected):
    assert layer_path(name, full_name) == expected


def test_aliases_and_roles():
    with open_checkpoint(FIXTURES / "keras_adam") as checkpoint:
        kernel = checkpoint.variables["model/layer_with_weights-0/kernel"]
        assert kernel.aliases == {"full_name": ("d1/kernel",), "layer_path": ("model/d1/kernel",)}
        roles = {v.name.rpartition("/")[2]: v.role for v in checkpoint.variables.values()}
        assert (roles["moving_mean"], roles["save_counter"], roles["step"]) == ("bn_mean", "counter", "counter")
    with open_checkpoint(FIXTURES / "stateful") as checkpoint:
        roles = {v.name: v.role for v in checkpoint.variables.values()}
        assert roles["table/.ATTRIBUTES/table-keys"] == "table"
        assert roles["iterator/.ATTRIBUTES/ITERATOR_STATE"] == "iterator"
        assert roles["generator/_state_var"] == "rng"


# Optimizers


def test_two_optimizers_keep_apart():
    with open_checkpoint(FIXTURES / "gan") as checkpoint:
        assert [(s.name, s.step) for s in checkpoint.optimizers] == [
            ("discriminator_optimizer", 5),
            ("generator_optimizer", 3),
        ]
        for state in checkpoint.optimizers:
            assert {key.variable.partition("/")[0] for key in state.slots} == {state.name.partition("_")[0]}


def test_averages_are_a_state_of_their_own(save):
    slots = [(1, "momentum", 3), (1, "average", 4)]
    path = save(
        node([("w", 1), ("optimizer", 2)]),
        node(key="w"),
        node(slots=slots),
        node(key="w/.OPTIMIZER_SLOT/optimizer/momentum"),
        node(key="w/.OPTIMIZER_SLOT/optimizer/average"),
    )
    with open_checkpoint(path) as checkpoint:
        momentum, averages = checkpoint.optimizers
    assert (momentum.name, averages.parent) == ("optimizer", "optimizer")
    assert list(averages.slots) == [SlotKey("w", "average")]
    assert list(momentum.slots) == [SlotKey("w", "momentum")]


@pytest.mark.parametrize(
    ("fixture", "kind", "dialect", "slots"),
    [
        ("keras2_adam", "adam", "keras2", ("m", "v")),
        ("keras2_rmsprop", "rmsprop", "keras2", ("rms", "momentum")),
        ("keras3_adam", "adam", "keras3", ("m", "v")),
    ],
)
def test_lists_of_newer_optimizers_are_bound(fixture, kind, dialect, slots):
    with open_checkpoint(FIXTURES / fixture) as checkpoint:
        (state,) = checkpoint.optimizers
        assert (state.kind, state.dialect, state.step) == (kind, dialect, 3)
        assert (list(state.scalars), state.unbound) == (["iter", "learning_rate"], ())
        trained = [v for v in checkpoint.variables.values() if v.aliases.get("full_name", ("",))[0] in TRAINED[dialect]]
        assert set(state.order) == set(state.slots) == {SlotKey(v.name, slot) for v in trained for slot in slots}
        names = {a.key: a.full_name for node in checkpoint.structure.objects.nodes for a in node.attributes}
        full = {v.name: v.aliases["full_name"][0] for v in trained}
        for key, stored in state.slots.items():
            owner = full[key.variable] if dialect == "keras2" else full[key.variable].replace("/", "_")
            assert owner in names[stored.key]
            assert stored.tensor.shape == checkpoint.variables[key.variable].tensor.shape


TRAINED = {
    "keras2": ("d1/kernel", "d1/bias", "bn/gamma", "bn/beta", "d2/kernel"),
    "keras3": tuple(f"sequential/{n}" for n in ("d1/kernel", "d1/bias", "bn/gamma", "bn/beta", "d2/kernel")),
}


# Odd graphs


def test_every_key_stands_once_whatever_the_graph_says(save):
    path = save(
        node([("a", 1), ("a", 2), ("b", 1), ("me", 0)]),
        node([("up", 0)], key="a"),
        node(key="other"),
        node(key="a"),
        keys=["unknown" + VALUE_SUFFIX, "bare", "b" + VALUE_SUFFIX],
    )
    with open_checkpoint(path) as checkpoint:
        keys = [row.key for row in checkpoint.rows()]
        assert sorted(keys) == sorted(set(read_bundle(path).entries) - {GRAPH_KEY})
        assert list(checkpoint.variables) == ["a", "other", "b", "bare", "unknown"]


def test_values_that_the_graph_names_and_the_file_lacks(save):
    path = save(node([("w", 1), ("v", 2)]), node(key="w"), node(key="v"), without=["v" + VALUE_SUFFIX])
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.variables) == ["w"]
        (issue,) = checkpoint.issues
        assert (issue.severity, "v/.ATTR" in issue.message) == ("warning", True)


def test_deep_and_endless_paths(save):
    chain = [node([("x", n + 1)]) for n in range(2000)] + [node([("back", 0)], key="x" * 4)]
    assert names(save(*chain)) == ["/".join("x" * 2000)]
    endless = ObjectGraph(tuple(node([("x" * 5000, min(n + 1, 999))]) for n in range(1000)))
    assert MAX_PATH_CHARACTERS < 5000 * 1000 * 1000 / 2
    with pytest.raises(DamagedError, match="characters"):
        paths_of(endless)


@pytest.mark.parametrize(
    "graph", [b"\xff", b"\x0a\xff\xff\xff\x0f", encode_graph(ObjectGraph((node([("w", 5)]),))), b"\x0a\x03\x1a\x01\x08"]
)
def test_damaged_graph_says_where(graph, save):
    with pytest.raises(CkptMigrateError) as error:
        open_checkpoint(save(graph=graph))
    assert GRAPH_KEY in str(error.value)


def test_empty_graph_leaves_every_key_a_variable(save):
    assert names(save(keys=["w" + VALUE_SUFFIX], graph=b"")) == ["w"]


def test_large_graph_opens_at_once(save):
    layers = [node([("kernel", 2 * n + 2)]) for n in range(1000)]
    leaves = [node(key=f"layer-{n}/kernel") for n in range(1000)]
    pairs = [each for pair in zip(layers, leaves, strict=True) for each in pair]
    path = save(node([(f"layer-{n}", 2 * n + 1) for n in range(1000)]), *pairs)
    started = time.process_time()
    assert len(names(path)) == 1000
    assert time.process_time() - started < 2  # 0.04 s


def test_missing_data_file_still_lists_the_keys(save):
    path = save(node([("w", 1)]), node(key="w"))
    path.with_name("ckpt.data-00000-of-00001").unlink()
    with open_checkpoint(path) as checkpoint:
        assert (checkpoint.format, list(checkpoint.variables)) == ("tf2", ["w"])
        assert [i.severity for i in checkpoint.issues] == ["error"]


# Writing


def test_keys_that_its_own_graph_does_not_know_stay_unknown(save, write):
    keys = ["custom/saver-0", "loose" + VALUE_SUFFIX, "t/.ATTRIBUTES/odd-1", "t/.ATTRIBUTES/odd-2"]
    table = Node((), (Attribute("odd", "", "t/.ATTRIBUTES/odd"),))
    path = save(node([("w", 1), ("t", 2)]), node(key="w"), table, keys=keys, without=["t/.ATTRIBUTES/odd"])
    with open_checkpoint(path) as source:
        written = write(source)
        counter = "save_counter" + VALUE_SUFFIX
        assert set(read_bundle(written.path).entries) == set(read_bundle(path).entries) | {counter}
        assert written.structure.objects.nodes[1:3] == source.structure.objects.nodes[1:3]
        assert len(written.structure.objects.nodes) == 4


def test_own_graph_is_kept(write):
    with open_checkpoint(FIXTURES / "functional") as source:
        written = write(source)
        assert written.structure.objects == source.structure.objects
        assert dict(written.structure.blobs) == dict(source.structure.blobs)
        assert listing(written) == listing(source)


@pytest.mark.parametrize("fixture", sorted(p.name for p in FIXTURES.iterdir()))
def test_names_alone_are_enough(fixture, write):
    """Without its graph a file comes back with the same variables, slots and scalars."""
    with open_checkpoint(FIXTURES / fixture) as source:
        if fixture == "keras3_adam":
            pytest.skip("its weights' keys lie under the optimizer; the names don't say so")
        written = write(replace(source, structure=Structure()))
        held = listing(source)
        counter = {("", "save_counter", ""): bytes(8)}
        assert listing(written) == (counter | held)


def test_graph_made_from_names(write):
    written = write(holding(variable("a"), variable("a/b"), variable("x.Sy/c.d/e..f")))
    graph = written.structure.objects
    assert [edge.name for edge in graph.nodes[0].children] == ["a", "x/y", "save_counter"]
    assert list(written.variables) == ["a", "a/b", "x.Sy/c.d/e..f", "save_counter"]
    assert written.variables["save_counter"].tensor.dtype is INT64
    assert written.variables["a/b"].key == "a/b" + VALUE_SUFFIX
    assert all(n.has_values for n in graph.nodes)
    assert written.variables["a"].aliases["full_name"] == ("a",)


def test_save_counter_is_kept(write):
    counter = Variable("save_counter", Tensor.of(np.array(12), INT64), "save_counter")
    assert write(holding(counter)).variables["save_counter"].tensor.read() == 12


def adam(name="optimizer", dialect="keras-legacy", variables=("w",)):
    scalars = ("iter", "learning_rate", "beta_1", "beta_2", "decay")
    if dialect == "tf1":
        scalars = ("beta1_power", "beta2_power")
    values = {
        n: Tensor.of(np.array(3), INT64) if n == "iter" else Tensor.of(np.float32(0.5) * 1, FLOAT32) for n in scalars
    }
    return OptimizerState(
        name,
        "adam",
        dialect,
        scalars={n: Stored("", Tensor.of(np.asarray(t.read()), t.dtype)) for n, t in values.items()},
        slots={SlotKey(v, s): Stored("", tensor(2)) for v in variables for s in ("m", "v")},
    )


@pytest.mark.parametrize("dialect", ["keras-legacy", "tf1"])
def test_optimizers_where_their_names_say(dialect, write):
    states = (adam("opt/gen", dialect), adam("opt/disc", dialect, ("v",)))
    averages = OptimizerState("opt/gen/average", "ema", dialect, slots={SlotKey("w", "average"): Stored("", tensor(2))})
    written = write(holding(variable("w"), variable("v"), optimizers=(*states, replace(averages, parent="opt/gen"))))
    assert [(s.name, s.kind, s.dialect, s.parent) for s in written.optimizers] == [
        ("opt/gen", "adam", dialect, ""),
        ("opt/gen/average", "ema", dialect, "opt/gen"),
        ("opt/disc", "adam", dialect, ""),
    ]
    keys = set(read_bundle(written.path).entries)
    assert f"w/.OPTIMIZER_SLOT/opt/gen/m{VALUE_SUFFIX}" in keys
    assert f"v/.OPTIMIZER_SLOT/opt/disc/v{VALUE_SUFFIX}" in keys


def test_averages_alone(write):
    state = OptimizerState(
        "ExponentialMovingAverage", "ema", "tf1", slots={SlotKey("w", "average"): Stored("", tensor(2))}
    )
    (read,) = write(holding(variable("w"), optimizers=(state,))).optimizers
    assert (read.kind, list(read.slots)) == ("ema", [SlotKey("w", "average")])


# Templates


def test_template_supplies_graph_keys_and_place_of_the_optimizer(write):
    with open_checkpoint(FIXTURES / "keras_adam") as template:
        weights = [v for v in template.variables.values() if v.role in ("weight", "bn_mean", "bn_variance")]
        renamed = [replace(v, key="x", aliases={"full_name": (f"new/{n}",)}) for n, v in enumerate(weights)]
        state = replace(adam("Adam"), slots={k: Stored("x", tensor(2)) for k in template.optimizers[0].slots})
        extra = Variable("global_step", Tensor.of(np.array(3), INT64), "global_step")
        written = write(holding(*renamed, extra, optimizers=(state,)), template=template)
    before, after = template.structure.objects.nodes, written.structure.objects.nodes
    assert len(after) == len(before) + 1
    assert [n.slots for n in after[: len(before)]] == [n.slots for n in before]
    for old, new in zip(before[1:], after[1:], strict=False):
        assert [e for e in old.children if e in new.children] == list(new.children)
    assert set(written.variables) == {v.name for v in weights} | {"global_step", "save_counter"}
    assert written.variables[weights[0].name].key == weights[0].key
    assert written.variables[weights[0].name].aliases["full_name"] == ("new/0",)
    assert [s.name for s in written.optimizers] == ["optimizer"]
    assert "step" not in {e.name for e in after[0].children}, "a counter that nobody wrote is promised"
    promised = {a.key for n in after for a in n.attributes}
    assert promised == set(read_bundle(written.path).entries) - {GRAPH_KEY}


@pytest.mark.parametrize("fixture", ["keras_adam", "keras2_adam", "keras3_adam", "gan"])
def test_without_optimizer_nothing_of_it_is_promised(fixture, write):
    with open_checkpoint(FIXTURES / fixture) as source:
        written = write(replace(source, optimizers=()))
        assert listing(written) == {place: v for place, v in listing(source).items() if not place[0]}
        assert not written.optimizers
        assert "optimizer" not in {e.name for e in written.structure.objects.nodes[0].children}
        assert not written.issues


def test_state_of_another_dialect_takes_the_optimizers_place(write):
    with open_checkpoint(FIXTURES / "keras_adam") as template:
        state = replace(adam("Adam", "tf1"), slots={k: Stored("x", tensor(2)) for k in template.optimizers[0].slots})
        written = write(holding(*template.variables.values(), optimizers=(state,)), template=template)
    (read,) = written.optimizers
    assert (read.name, read.dialect, set(read.scalars)) == ("optimizer", "tf1", {"beta1_power", "beta2_power"})


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        (["a.b", "a..b"], "conflict"),
        (["a/b/.ATTRIBUTES/VARIABLE_VALUE", "a/b"], "conflict"),
    ],
)
def test_two_names_of_one_object_are_a_conflict(variables, kind):
    issues = TF2.writer.check(holding(*map(variable, variables)), WriteOptions())
    assert [i.kind for i in issues] == [kind]


def test_two_names_for_one_object_of_the_template():
    with open_checkpoint(FIXTURES / "keras_adam") as template:
        twice = [variable("model/layer_with_weights-0/kernel"), variable("model/layer-0/kernel")]
        issues = TF2.writer.check(holding(*twice), WriteOptions(template=template))
    assert [i.kind for i in issues] == ["conflict"]
