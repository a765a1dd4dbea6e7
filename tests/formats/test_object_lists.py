"""State in lists of object-based files: where it is written, in which order, and what is said of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.formats import by_name, open_checkpoint
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.formats.object_composition import compose
from ckptmigrate.formats.object_order import by_layers
from ckptmigrate.objects import VALUE_SUFFIX
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TF2 = by_name("tf2")


def tensor(*shape, start=0.0):
    return Tensor.of(np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape), FLOAT32)


def number(value, dtype=FLOAT32):
    return Stored("", Tensor.of(np.array(value, dtype.numpy), dtype))


def holding(*names, dialect="keras3", kind="adam", slots=("m", "v"), of=None, rate=True, **rest):
    """A checkpoint of variables of one shape, with slots of some of them."""
    variables = {name: Variable(name, tensor(2), "") for name in names}
    held = {SlotKey(n, s): Stored("", tensor(2, start=at)) for at, n in enumerate(of or names) for s in slots}
    scalars = {"iter": number(3, INT64), **({"learning_rate": number(0.5)} if rate else {})}
    state = OptimizerState("optimizer", kind, dialect, 3, scalars=scalars, slots=held, **rest)
    return Checkpoint(Path("origin"), "plan", variables, (state,))


def keys(checkpoint, template=None):
    """Slot -> what of its key stands below the optimizer."""
    composed = compose(checkpoint, template)
    placed = {id(stored.tensor): stored.key for stored in composed.stored}
    (state,) = checkpoint.optimizers
    held = {f"{key.variable}:{key.slot}": placed.get(id(stored.tensor), "") for key, stored in state.slots.items()}
    return {n: k.removesuffix(VALUE_SUFFIX).removeprefix("optimizer/") for n, k in held.items()}


def edges(checkpoint, template=None):
    """Lists of the optimizer -> their numbers' keys."""
    graph = compose(checkpoint, template).graph
    at = next(e.node for e in graph.nodes[0].children if e.name == "optimizer")
    lists = {e.name: graph.nodes[e.node] for e in graph.nodes[at].children}
    return {
        name: {e.name: graph.nodes[e.node].attributes[0].key.removesuffix(VALUE_SUFFIX) for e in node.children}
        for name, node in lists.items()
    }


def test_numbers_and_aliases():
    source = holding("m/layer_with_weights-10/kernel", "m/layer_with_weights-2/bias", "m/layer_with_weights-2/kernel")
    found = keys(source)
    assert [found[f"m/layer_with_weights-2/kernel:{s}"] for s in "mv"] == ["_variables/2", "_variables/3"]
    assert [found[f"m/layer_with_weights-10/kernel:{s}"] for s in "mv"] == ["_variables/6", "_variables/7"]
    lists = edges(source)
    assert lists["_momentums"] == {str(n): f"optimizer/_variables/{2 + 2 * n}" for n in range(3)}
    assert lists["_variables"]["0"] == "optimizer/_iterations"
    assert lists["_variables"]["1"] == "optimizer/_learning_rate"
    assert lists["_trainable_variables"]["2"] == "m/layer_with_weights-10/kernel"


def test_without_a_rate_slots_stand_in_their_own_lists():
    """Nothing tells whether Keras 3 counts a rate, or has a schedule."""
    assert set(keys(holding("a", "b", rate=False)).values()) == {
        *("_momentums/0", "_momentums/1", "_velocities/0", "_velocities/1")
    }
    assert set(keys(holding("a", dialect="keras2", rate=False)).values()) == {"_variables/1", "_variables/2"}


@pytest.mark.parametrize(
    ("source", "severity"),
    [
        (holding("a", "b"), "warning"),
        (holding("a"), None),
        (holding("a", "b", order=tuple(SlotKey(n, s) for n in "ba" for s in "mv")), None),
        (holding("a", "b", dialect="keras-legacy"), None),
    ],
)
def test_an_assumed_order_is_told(source, severity):
    told = [issue.severity for issue in compose(source, None).issues]
    assert told == ([severity] if severity else [])


def test_the_list_tells_the_order():
    source = holding("a", "b", order=tuple(SlotKey(n, s) for n in "ba" for s in "mv"))
    assert keys(source) == {"a:m": "_variables/4", "a:v": "_variables/5", "b:m": "_variables/2", "b:v": "_variables/3"}


def test_a_template_tells_the_order_and_what_is_vacant(tmp_path):
    """A variable that the template trains and the source has no slots of leaves its numbers free."""
    live = holding("a", "b", "c", order=tuple(SlotKey(n, s) for n in "cba" for s in "mv"))
    TF2.writer.write(live, tmp_path, "template", WriteOptions())
    with open_checkpoint(tmp_path / "template") as template:
        source = holding("a", "b", "c", of="ac")
        assert keys(source, template) == {
            "c:m": "_variables/2",
            "c:v": "_variables/3",
            "a:m": "_variables/6",
            "a:v": "_variables/7",
        }
        assert compose(source, template).issues == ()
        assert set(edges(source, template)["_momentums"]) == {"0", "2"}


def test_a_slot_without_a_list_is_a_loss():
    (issue,) = [i for i in compose(holding("a", slots=("m", "v", "strange")), None).issues if i.kind == "slot"]
    assert (issue.severity, issue.name) == ("loss", "a")


@pytest.mark.parametrize("dialect", ["keras2", "keras3", "keras-legacy"])
@pytest.mark.parametrize("fixture", ["keras2_adam", "keras3_adam", "keras_adam"])
@pytest.mark.parametrize("to", ["tf2", "savedmodel"])
def test_between_dialects_of_one_format(fixture, dialect, to, tmp_path):
    """The optimizer's node starts anew; what verifies it reads every slot back by its variable."""
    hyper = {"beta_1": 0.9, "beta_2": 0.999}
    report = convert(FIXTURES / "tf2" / fixture / "ckpt-1", tmp_path / "out", to=to, dialect=dialect, hyper=hyper)
    assert (report.verdict, report.exit_code) == ("verified", 0)
    with open_checkpoint(tmp_path / "out") as found:
        (state,) = found.optimizers
        assert (state.kind, state.dialect, len(state.slots), state.unbound) == ("adam", dialect, 10, ())


@pytest.mark.parametrize(
    ("flavor", "dialect"), [("", "keras3"), ("keras3", "keras3"), ("tf_keras", "keras2"), ("paths", "keras-legacy")]
)
def test_flavors_name_the_dialect(flavor, dialect, tmp_path):
    source = FIXTURES / "keras-v3" / "keras3_adam"
    convert(next(source.glob("*.keras")), tmp_path / "out", to="tf2", flavor=flavor)
    with open_checkpoint(tmp_path / "out") as found:
        assert [state.dialect for state in found.optimizers] == [dialect]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["d/bias", "d/kernel", "bn/beta", "bn/gamma"], ["d/kernel", "d/bias", "bn/gamma", "bn/beta"]),
        (["d/v", "d/kernel"], ["d/v", "d/kernel"]),
        (["m/1/w", "m/0/in/w", "m/0/w"], ["m/0/w", "m/0/in/w", "m/1/w"]),
        ([], []),
    ],
)
def test_layers_in_order(names, expected):
    assert by_layers(names) == expected


def test_unbound_state_of_another_format_is_refused(tmp_path):
    source = FIXTURES / "keras-v3" / "keras2_weights"
    report = convert(next(p for p in source.iterdir() if p.suffix == ".h5"), tmp_path / "out", to="tf2")
    assert report.exit_code == 6
    assert any("whose slot" in issue.message for issue in report.issues)


def test_structure_without_graph(tmp_path):
    """From names alone: what is read back is the same."""
    with open_checkpoint(FIXTURES / "tf2" / "keras2_rmsprop" / "ckpt-1") as source:
        TF2.writer.write(replace(source, structure=Structure()), tmp_path, "out", WriteOptions())
        (wanted,) = source.optimizers
    with open_checkpoint(tmp_path / "out") as found:
        (state,) = found.optimizers
        assert (state.kind, state.dialect, state.order) == (wanted.kind, wanted.dialect, wanted.order)
