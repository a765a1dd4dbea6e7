"""Plans: values, slots and averages go the same way; what can't is a finding before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import dtypes
from ckptmigrate.compare import Finding, compare_group
from ckptmigrate.mapping.assignment import Assignment, Drop, Fill, Move
from ckptmigrate.mapping.group import Group, Planned
from ckptmigrate.mapping.operations import Operation, parse
from ckptmigrate.mapping.options import PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan
from ckptmigrate.table import (
    Checkpoint,
    Layer,
    OptimizerState,
    Role,
    SlotKey,
    Stored,
    Structure,
    Tensor,
    Variable,
)

TF2 = PlanOptions("tf2", ("keras-legacy", "tf1"), holds_averages=True)


def numbers(*shape: int, start: int = 0) -> np.ndarray[Any, Any]:
    return np.arange(start, start + int(np.prod(shape)), dtype=np.float32).reshape(shape)


def variable(name: str, values: np.ndarray[Any, Any], role: Role = "weight") -> Variable:
    dtype = dtypes.from_numpy(values.dtype)
    assert dtype is not None
    return Variable(name, Tensor.of(values, dtype), name, role)


def checkpoint(*variables: Variable, optimizers: tuple[OptimizerState, ...] = (), format_: str = "tf1") -> Checkpoint:
    return Checkpoint(Path("source"), format_, {v.name: v for v in variables}, optimizers)


def state(kind: str, slots: Mapping[tuple[str, str], np.ndarray[Any, Any]], name: str = "") -> OptimizerState:
    stored = {SlotKey(v, s): Stored(f"{v}/{s}", Tensor.of(a, dtypes.FLOAT32)) for (v, s), a in slots.items()}
    return OptimizerState(name or kind, kind, "tf1", slots=stored)


def assignment(*moves: Move, **rest: Any) -> Assignment:
    blank: dict[str, Any] = {"drops": (), "fills": (), "unmatched": (), "unfilled": (), "findings": ()}
    return Assignment(moves=moves, **{**blank, **rest})


def plain(name: str, to: str = "") -> Move:
    return Move((name,), (to or name,))


def operation(name: str, params: object) -> Operation:
    return parse(name, params, "map.yaml:7")


def by_place(plan: Plan) -> dict[tuple[str, str], Planned]:
    return {(p.name, p.slot): p for p in plan.planned}


def kinds(plan: Plan) -> list[str]:
    return [issue.kind for issue in plan.issues]


def test_a_rename_is_the_source_tensor_itself() -> None:
    source = checkpoint(variable("a", numbers(2, 3)))
    plan = make_plan(source, assignment(plain("a", "b")), None, TF2)
    assert plan.result().variables["b"].tensor is source.variables["a"].tensor
    assert plan.result().variables["b"].key == ""


def test_slots_and_averages_take_the_steps_of_their_variable() -> None:
    rms, average = numbers(2, 3, start=10), numbers(2, 3, start=20)
    source = checkpoint(
        variable("a", numbers(2, 3)),
        optimizers=(state("rmsprop", {("a", "rms"): rms}), state("ema", {("a", "average"): average})),
    )
    move = Move(("a",), ("b",), (operation("transpose", [1, 0]),))
    plan = make_plan(source, assignment(move), None, TF2)
    placed = by_place(plan)
    for slot, values in (("", numbers(2, 3)), ("rms", rms), ("average", average)):
        np.testing.assert_array_equal(placed["b", slot].tensor.read(), values.T)
        assert placed["b", slot].steps == placed["b", ""].steps
    ema = next(o for o in plan.result().optimizers if o.kind == "ema")
    assert ema.parent == "optimizer"
    assert "averages" in kinds(plan)


def test_using_averages_replaces_what_has_one() -> None:
    source = checkpoint(
        variable("a", numbers(2)),
        variable("a/moving_mean", numbers(2), "bn_mean"),
        optimizers=(state("ema", {("a", "average"): numbers(2, start=5)}),),
    )
    plan = make_plan(source, assignment(plain("a"), plain("a/moving_mean")), None, replace(TF2, averages="use"))
    placed = by_place(plan)
    np.testing.assert_array_equal(placed["a", ""].tensor.read(), [5, 6])
    np.testing.assert_array_equal(placed["a/moving_mean", ""].tensor.read(), [0, 1])
    assert ("a", "average") not in placed
    assert plan.result().optimizers == ()


def test_averages_that_the_target_cannot_hold_are_a_loss() -> None:
    source = checkpoint(variable("a", numbers(2)), optimizers=(state("ema", {("a", "average"): numbers(2)}),))
    plan = make_plan(source, assignment(plain("a")), None, replace(TF2, holds_averages=False))
    assert [(i.kind, i.severity) for i in plan.issues] == [("unholdable", "loss")]
    assert "--averages use" in plan.issues[0].hint
    asked = make_plan(source, assignment(plain("a")), None, replace(TF2, holds_averages=False, averages="drop"))
    assert asked.issues == ()
    assert [r.outcome for r in asked.dropped] == ["dropped"]


def test_a_shape_that_does_not_fit_the_template() -> None:
    source = checkpoint(variable("head", numbers(4, 91)))
    template = checkpoint(variable("head", numbers(4, 11)), format_="tf2")
    plan = make_plan(source, assignment(plain("head")), template, TF2)
    (issue,) = plan.issues
    assert issue.kind == "shape"
    assert "[4, 91]" in issue.message
    assert "[4, 11]" in issue.message
    assert "--reinit" in issue.hint


def test_a_dtype_that_does_not_fit_the_template_names_the_cast() -> None:
    source = checkpoint(variable("a", np.zeros(2)))
    template = checkpoint(variable("a", numbers(2)), format_="tf2")
    (issue,) = make_plan(source, assignment(plain("a")), template, TF2).issues
    assert "--dtype float32" in issue.hint
    cast = make_plan(source, assignment(plain("a")), template, replace(TF2, dtype="float32"))
    assert kinds(cast) == ["cast"]
    assert cast.result().variables["a"].tensor.dtype == dtypes.FLOAT32


@pytest.mark.parametrize(("value", "expected"), [("zeros", 0), ("ones", 1), (0.5, 0.5)])
def test_a_fill_and_its_slots(value: str | float, expected: float) -> None:
    source = checkpoint(variable("a", numbers(3)), optimizers=(state("rmsprop", {("a", "rms"): numbers(3)}),))
    fill = Fill("b", value, "a", None, "map.yaml:3")
    plan = make_plan(source, assignment(plain("a"), fills=(fill,)), None, TF2)
    placed = by_place(plan)
    np.testing.assert_array_equal(placed["b", ""].tensor.read(), np.full(3, expected, np.float32))
    assert placed["b", "rms"].origin == "filled"
    assert placed["b", "rms"].tensor.shape == (3,)


def test_what_a_drop_takes_along() -> None:
    source = checkpoint(
        variable("a", numbers(2)),
        variable("b", numbers(2)),
        optimizers=(state("rmsprop", {("a", "rms"): numbers(2), ("b", "rms"): numbers(2)}),),
    )
    plan = make_plan(source, assignment(plain("a"), drops=(Drop("b", "no head", "map.yaml:9"),)), None, TF2)
    assert {(r.name, r.slot, r.detail) for r in plan.dropped} >= {
        ("b", "", "no head"),
        ("b", "rms", "its variable isn't written"),
    }


def test_sources_of_one_rule_that_lack_a_slot() -> None:
    source = checkpoint(
        variable("q", numbers(2)),
        variable("k", numbers(2)),
        optimizers=(state("rmsprop", {("q", "rms"): numbers(2)}),),
    )
    move = Move(("q", "k"), ("qk",), (operation("concat", {"axis": 0}),))
    plan = make_plan(source, assignment(move), None, TF2)
    slots = [i for i in plan.issues if i.kind == "slot"]
    assert [i.severity for i in slots] == ["loss"]
    assert "k has none" in slots[0].message


def test_dropping_the_optimizer_is_listed() -> None:
    source = checkpoint(variable("a", numbers(2)), optimizers=(state("rmsprop", {("a", "rms"): numbers(2)}),))
    plan = make_plan(source, assignment(plain("a")), None, replace(TF2, optimizer="drop"))
    assert plan.result().optimizers == ()
    assert [(r.name, r.slot, r.detail) for r in plan.dropped] == [("a", "rms", "--optimizer drop")]


def test_a_split_reads_its_source_once_and_is_proven() -> None:
    reads = 0
    values = numbers(6, 2)

    def load() -> np.ndarray[Any, Any]:
        nonlocal reads
        reads += 1
        return values

    source = checkpoint(Variable("a", Tensor((6, 2), dtypes.FLOAT32, load), "a"))
    move = Move(("a",), ("b", "c"), (operation("split", {"axis": 0, "sizes": [2, 4]}),))
    plan = make_plan(source, assignment(move), None, TF2)
    b, c = (plan.result().variables[n].tensor.read() for n in ("b", "c"))
    np.testing.assert_array_equal(np.concatenate([b, c]), values)
    assert reads == 1


def test_comparing_finds_one_bit() -> None:
    values = numbers(4, 4)
    other = values.copy()
    other[2, 1] = np.nextafter(other[2, 1], np.float32(100))
    group = Group(("a",), (Tensor.of(values, dtypes.FLOAT32),))
    assert compare_group(group, {0: Tensor.of(values.copy(), dtypes.FLOAT32)})[0].outcome == "equal"
    found = compare_group(group, {0: Tensor.of(other, dtypes.FLOAT32)})[0]
    assert found.outcome == "differs"
    assert "1 of 16 elements differ, first at [2, 1]" in found.detail


def test_comparing_tells_nan_payloads_and_zeros_apart() -> None:
    nan = np.array([np.nan, 0.0], np.float32)
    assert _compared(nan, nan.copy()).outcome == "equal"
    assert _compared(nan, np.array([np.nan, -0.0], np.float32)).outcome == "differs"


def _compared(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Finding:
    return compare_group(Group(("a",), (Tensor.of(a, dtypes.FLOAT32),)), {0: Tensor.of(b, dtypes.FLOAT32)})[0]


def test_layers_follow_their_variables():
    layers = (Layer("d", "Dense", (("kernel", "a"), ("bias", "b"))),)
    source = replace(
        checkpoint(variable("a", numbers(2)), variable("b", numbers(2))), structure=Structure(layout=layers)
    )
    asked = assignment(plain("a", "c"), drops=(Drop("b", "unwanted"),))
    structure = make_plan(source, asked, None, TF2).result().structure
    assert structure.layout == (Layer("d", "Dense", (("kernel", "c"), ("bias", ""))),)
    template = replace(checkpoint(variable("c", numbers(2))), structure=Structure(layout=(Layer("e", "Dense"),)))
    assert make_plan(source, asked, template, TF2).result().structure.layout == (Layer("e", "Dense"),)


@pytest.mark.parametrize(
    ("target", "natural", "dialect"),
    [
        ("keras-h5", "", "keras3"),
        ("tf2", "", "keras3"),
        ("tf2", "keras-legacy", "keras-legacy"),
        ("tf1", "", "keras-legacy"),
    ],
)
def test_lists_of_any_keras_stay_as_they_are_where_files_hold_lists(target, natural, dialect):
    source = checkpoint(
        variable("w", numbers(2)),
        optimizers=(replace(state("adam", {("w", "m"): numbers(2), ("w", "v"): numbers(2)}), dialect="keras3"),),
        format_="keras-v3",
    )
    options = PlanOptions(target, ("keras-legacy", "keras3"), natural=natural)
    assert make_plan(source, assignment(plain("w")), None, options).optimizers[0].dialect == dialect
