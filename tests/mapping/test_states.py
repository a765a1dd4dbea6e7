"""Optimizer state in plans: kinds, what a template tells, wrappers, what starts anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.issues import exit_code
from ckptmigrate.mapping.assignment import Assignment, Move
from ckptmigrate.mapping.load import load
from ckptmigrate.mapping.options import PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan
from ckptmigrate.optimizers.powers import power_after
from ckptmigrate.table import Checkpoint, Layer, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable

TF2 = PlanOptions("tf2", ("keras-legacy", "tf1", "keras2", "keras3"))


def number(value: Any, dtype: str = "float32") -> Tensor:
    return Tensor.of(np.array(value, BY_NAME[dtype].numpy), BY_NAME[dtype])


def state(kind: str, dialect: str, slots: str, scalars: Mapping[str, Any], name: str = "optimizer") -> OptimizerState:
    """Slots of the variables w and b, and scalars: whole numbers are int64."""
    held = {n: Stored(n, number(v, "int64" if isinstance(v, int) else "float32")) for n, v in scalars.items()}
    bound = {SlotKey(v, s): Stored(f"{v}/{s}", number([1.0, 2.0])) for s in slots.split() for v in ("w", "b")}
    hyper = {n: float(v) for n, v in scalars.items() if n in ("learning_rate", "beta_1", "beta_2", "momentum")}
    return OptimizerState(name, kind, dialect, scalars.get("iter"), hyper, held, bound, tuple(bound))


def checkpoint(*states: OptimizerState, format_: str = "tf1", **metadata: Any) -> Checkpoint:
    variables = {n: Variable(n, number([3.0, 4.0]), n) for n in ("w", "b")}
    return Checkpoint(Path("source"), format_, variables, states, metadata=metadata)


def planned(source: Checkpoint, template: Checkpoint | None = None, **options: Any) -> Plan:
    moves = tuple(Move((name,), (name,)) for name in source.variables)
    return make_plan(source, Assignment(moves), template, replace(TF2, **options))


def stops(plan: Plan) -> list[tuple[str, str]]:
    return [(i.kind, i.severity) for i in plan.issues if i.severity in ("error", "loss")]


def values(found: OptimizerState) -> dict[str, Any]:
    return {name: stored.tensor.read().tolist() for name, stored in found.scalars.items()}


ADAM = state("adam", "keras2", "m v", {"iter": 5, "learning_rate": 0.5})
RMSPROP = state("rmsprop", "keras3", "rms", {"iter": 9, "learning_rate": 0.25})


def test_another_kind_needs_a_fresh_start() -> None:
    plan = planned(checkpoint(ADAM), checkpoint(RMSPROP, format_="tf2"))
    assert exit_code(plan.issues, allow_loss=True) == 6
    (issue,) = (i for i in plan.issues if i.severity == "error")
    assert "adam" in issue.message
    assert "--optimizer fresh starts rmsprop anew" in issue.hint


def test_the_templates_kind_starts_anew() -> None:
    plan = planned(checkpoint(ADAM), checkpoint(RMSPROP, format_="tf2"), optimizer="fresh")
    assert not stops(plan)
    (found,) = plan.optimizers
    assert (found.kind, found.dialect, found.step) == ("rmsprop", "keras3", 0)
    assert values(found) == {"iter": 0, "learning_rate": 0.25}
    assert {(k.variable, k.slot): s.tensor.read().tolist() for k, s in found.slots.items()} == {
        ("w", "rms"): [0, 0],
        ("b", "rms"): [0, 0],
    }
    assert {(r.name, r.slot) for r in plan.dropped} >= {("w", "m"), ("b", "v"), ("optimizer.iter", "")}
    ones = planned(checkpoint(ADAM), checkpoint(RMSPROP, format_="tf2"), optimizer="fresh", dialect="tf1").optimizers
    assert {k.slot: s.tensor.read().tolist() for k, s in ones[0].slots.items()} == {"rms": [1, 1], "momentum": [0, 0]}


@pytest.mark.parametrize(("dialect", "expected"), [("keras3", [0, 0.5]), ("keras2", [0, 0.5]), ("keras1", [0])])
def test_fresh_in_another_dialect(dialect: str, expected: list[float]) -> None:
    source = replace(ADAM, hyper={**ADAM.hyper, "beta_1": 0.9, "beta_2": 0.999})
    (found,) = planned(checkpoint(source), optimizer="fresh", dialect=dialect, dialects=()).optimizers
    assert list(values(found).values()) == expected
    assert all(not s.tensor.read().any() for s in found.slots.values())
    (one,) = planned(checkpoint(source), optimizer="fresh", dialect="tf1").optimizers
    assert values(one) == {n: float(np.float32(b)) for n, b in (("beta1_power", 0.9), ("beta2_power", 0.999))}


def test_adamw_takes_adams_state() -> None:
    place = state("adamw", "keras3", "m v", {"iter": 0, "learning_rate": 0.1})
    plan = planned(checkpoint(ADAM), checkpoint(place, format_="tf2"))
    assert not stops(plan)
    assert [(o.kind, o.dialect) for o in plan.optimizers] == [("adamw", "keras3")]


def test_adamax_and_adam_of_legacy_objects_are_told_apart_by_the_other_side() -> None:
    """Their slots have the same names there."""
    legacy = state("adam", "keras-legacy", "m v", {"iter": 5, "learning_rate": 0.5})
    place = state("adamax", "keras3", "m v", {"iter": 0, "learning_rate": 0.5})
    objects = replace(checkpoint(legacy), format="tf2")
    plan = planned(objects, checkpoint(place, format_="keras-v3"))
    assert not stops(plan)
    assert [(o.kind, o.dialect) for o in plan.optimizers] == [("adamax", "keras3")]
    back = planned(checkpoint(place, format_="keras-v3"), objects)
    assert not stops(back)
    assert [(o.kind, o.dialect) for o in back.optimizers] == [("adamax", "keras-legacy")]
    assert stops(planned(checkpoint(place, format_="keras-v3"), replace(objects, format="keras-h5")))


def test_the_template_tells_the_dialect() -> None:
    source = replace(checkpoint(ADAM), format="tf2")
    plan = planned(source, checkpoint(replace(ADAM, dialect="keras3"), format_="tf2"))
    assert plan.optimizers[0].dialect == "keras3"
    assert planned(source).optimizers[0].dialect == "keras2"


def test_plain_sgd_gets_the_slots_of_the_target() -> None:
    source = checkpoint(state("sgd", "tf1", "", {}))
    (found,) = planned(source, dialect="keras2", hyper={"learning_rate": 0.1, "iter": 3}).optimizers
    assert found.kind == "momentum"
    assert {k.variable for k in found.slots} == {"w", "b"}
    place = state("momentum", "keras3", "momentum", {"iter": 0, "learning_rate": 0.1})
    place = replace(place, slots={key: s for key, s in place.slots.items() if key.variable == "w"})
    options = {"hyper": {"learning_rate": 0.1, "iter": 3}}
    (found,) = planned(source, checkpoint(place, format_="tf2"), **options).optimizers
    assert (found.kind, list(found.slots)) == ("momentum", [SlotKey("w", "momentum")])


def test_keras_2_3_is_a_step_ahead() -> None:
    source = checkpoint(state("adam", "keras1", "m v", {"iter": 5}), format_="keras-h5", keras_version="2.3.1")
    assert planned(source, dialect="keras2").optimizers[0].step == 6
    assert planned(replace(source, metadata={"keras_version": "2.2.4"}), dialect="keras2").optimizers[0].step == 5


SCALED = {"current_loss_scale": 1024.0, "good_steps": 7}
AROUND = {"iter": 0, "learning_rate": 0.0, "step_counter": 7, "dynamic_scale": 1024.0}


@pytest.mark.parametrize("dialect", ["keras2", "keras-legacy", "tf1"])
def test_loss_scaling_goes_into_keras_3_and_back(dialect: str) -> None:
    scalars = {"iter": 5, "learning_rate": 0.5, **SCALED}
    if dialect == "tf1":
        powers = {n: float(power_after(b, 5)) for n, b in (("beta1_power", 0.9), ("beta2_power", 0.999))}
        scalars = {**powers, **SCALED}
    source = checkpoint(state("adam", dialect, "m v", scalars))
    plan = planned(source, dialect="keras3", hyper={"learning_rate": 0.5})
    assert not stops(plan)
    outer, inner = plan.optimizers
    assert (outer.name, outer.kind, inner.name, inner.kind) == (
        "optimizer",
        "loss_scale",
        "optimizer/inner_optimizer",
        "adam",
    )
    assert values(outer) == AROUND
    assert values(inner) == {"iter": 5, "learning_rate": 0.5}
    assert {p.place for p in plan.planned} == {(e.optimizer, e.name, e.slot) for e in plan.result().rows()}
    betas = {"beta_1": 0.9, "beta_2": 0.999}
    (back,) = planned(replace(plan.result(), format="tf2"), dialect=dialect, hyper=betas).optimizers
    assert values(back).items() >= scalars.items()
    assert len(back.slots) == 4


def test_loss_scaling_of_keras_3_stays_as_it_is() -> None:
    outer = state("loss_scale", "keras3", "", AROUND)
    inner = state("adam", "keras3", "m v", {"iter": 5, "learning_rate": 0.5}, "optimizer/inner_optimizer")
    source = checkpoint(outer, inner, format_="tf2")
    found = planned(source).optimizers
    assert [(o.name, values(o), set(o.slots)) for o in found] == [
        (o.name, values(o), set(o.slots)) for o in (outer, inner)
    ]
    assert [s.key for o in found for s in o.scalars.values()] == [*AROUND, "iter", "learning_rate"]
    nested = checkpoint(replace(outer, wraps=inner), format_="tf2")
    assert [o.name for o in planned(nested).optimizers] == ["optimizer", "optimizer/inner_optimizer"]


def listed() -> Checkpoint:
    """A list without owners: m and v of w and b, whose shapes differ."""
    stored = [("iter", number(5, "int64")), *((n, number([float(n)] * (2 + n // 3))) for n in (1, 2, 3, 4))]
    scalars = {"iter": Stored("o/0", stored[0][1])}
    unbound = tuple(Stored(f"o/{n}", tensor) for n, (_, tensor) in enumerate(stored[1:], 1))
    loose = OptimizerState("optimizer", "unknown", "keras2", 5, scalars=scalars, unbound=unbound)
    variables = {n: Variable(n, number([0.0] * size), n) for n, size in (("b", 3), ("w", 2))}
    return Checkpoint(Path("source"), "keras-v3", variables, (loose,))


WANTED = {("w", "m"): 1, ("w", "v"): 2, ("b", "m"): 3, ("b", "v"): 4}
TO3 = {"dialect": "keras3", "hyper": {"learning_rate": 0.1}}


def bound(plan: Plan) -> dict[tuple[str, str], float]:
    (found,) = plan.optimizers
    return {(k.variable, k.slot): float(s.tensor.read()[0]) for k, s in found.slots.items()}


def test_a_list_without_owners_stops_the_run_with_the_block_to_fill_in() -> None:
    plan = planned(listed(), **TO3)
    assert stops(plan) == [("slot", "loss")]
    (issue,) = (i for i in plan.issues if i.severity == "loss")
    assert 'optimizers: [{from: optimizer, kind: KIND, variables: "{name:path}"}]' in issue.hint
    assert not stops(planned(listed(), target_format="keras-v3", dialects=("keras3", "keras2")))


def test_blocks_tell_owners_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("ckptmigrate: 1\noptimizers:\n  - {kind: adam, variables: w}\n  - {kind: adam, variables: b}\n")
    blocks = load(str(path)).optimizers
    assert bound(planned(listed(), blocks=blocks, **TO3)) == WANTED
    wrong = planned(listed(), blocks=tuple(reversed(blocks)), **TO3)
    assert ("slot", "error") in stops(wrong)
    assert any("2 variables in this order" in i.message and i.where.endswith("map.yaml:4") for i in wrong.issues)


def test_the_templates_list_tells_owners() -> None:
    place = state("adam", "keras2", "m v", {"iter": 0})
    order = tuple(SlotKey(v, s) for v in ("w", "b") for s in ("m", "v"))
    template = replace(listed(), format="tf2", optimizers=(replace(place, order=order),))
    plan = planned(listed(), template, **TO3)
    assert bound(plan) == WANTED
    assert [i.severity for i in plan.issues if "taken for those of the template" in i.message] == ["note"]
    layers = (Layer("a", "", (("w", "w"),)), Layer("c", "", (("b", "b"),)))
    untrained = replace(place, slots={}, order=())
    fresh = replace(template, optimizers=(untrained,), structure=Structure(layout=layers))
    assert bound(planned(listed(), fresh, **TO3)) == WANTED
    other = planned(listed(), replace(template, optimizers=(replace(place, order=order[2:]),)), **TO3)
    assert stops(other) == [("slot", "loss")]


RMS = {"iter": number(5, "int64"), **{f"{n}": number([float(n)] * 2) for n in (1, 2, 3, 4)}}
ASKED = "--hyper momentum=0.9 or --hyper centered=1 tells which slots these are"


def doubled(kind: str, dialect: str = "keras2") -> Checkpoint:
    """RMSprop's list of two slots a variable, for w and b; its kind is in Keras 3's files alone."""
    unbound = tuple(Stored(f"o/{n}", tensor) for n, tensor in RMS.items() if n != "iter")
    order = (SlotKey("w", ""), SlotKey("b", ""))
    scalars = {"iter": Stored("o/0", RMS["iter"])}
    loose = OptimizerState("optimizer", kind, dialect, 5, {}, scalars, {}, order, unbound)
    return replace(checkpoint(loose), format="keras-v3")


@pytest.mark.parametrize(
    ("hyper", "second"),
    [({"momentum": 0.9}, "momentum"), ({"centered": 1.0}, "mg"), ({"centered": 0.0}, "momentum"), ({}, "")],
)
def test_settings_tell_the_slots_of_a_list(hyper: Mapping[str, float], second: str) -> None:
    source = doubled("rmsprop")
    plan = planned(source, dialect="keras3", hyper={"learning_rate": 0.1, **hyper})
    if second:
        assert not stops(plan)
        assert bound(plan) == {("w", "rms"): 1, ("b", "rms"): 2, ("w", second): 3, ("b", second): 4}
    else:
        assert [i.hint.partition(";")[0] for i in plan.issues if i.severity == "loss"] == [ASKED]
        assert not stops(planned(source, target_format="keras-v3", dialects=("keras3", "keras2")))


@pytest.mark.parametrize(
    ("dialect", "slots", "second"),
    [
        ("keras3", "rms momentum", "momentum"),
        ("keras2", "rms mg", "mg"),
        ("tf1", "rms mg momentum", "mg"),
        ("tf1", "rms momentum", "momentum"),
    ],
)
def test_the_templates_slots_tell_those_of_a_list(dialect: str, slots: str, second: str) -> None:
    source = doubled("unknown")
    scalars = {} if dialect == "tf1" else {"iter": 0}
    template = replace(
        checkpoint(state("rmsprop", dialect, slots, scalars)), format="tf1" if dialect == "tf1" else "tf2"
    )
    found = bound(planned(source, template, target_format=template.format, hyper={"learning_rate": 0.1}))
    assert {name: found[name] for name in found if name[1] in ("rms", second)} == {
        ("w", "rms"): 1,
        ("b", "rms"): 2,
        ("w", second): 3,
        ("b", second): 4,
    }


def test_a_block_without_settings_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("ckptmigrate: 1\noptimizers:\n  - {kind: rmsprop, variables: '{name:path}'}\n")
    blocks = load(str(path)).optimizers
    plan = planned(doubled("unknown"), blocks=blocks, dialect="keras3", hyper={"learning_rate": 0.1})
    assert [i.hint for i in plan.issues if i.severity == "error"] == [ASKED]
    path.write_text(path.read_text().replace("rmsprop,", "rmsprop, hyper: {momentum: 0.9},"))
    plan = planned(
        doubled("unknown"), blocks=load(str(path)).optimizers, dialect="keras3", hyper={"learning_rate": 0.1}
    )
    assert not stops(plan)
    assert bound(plan)["w", "momentum"] == 3
