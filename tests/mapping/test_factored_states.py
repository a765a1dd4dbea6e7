"""Slots whose shape isn't their variable's: Adafactor's rows and columns, Muon's velocities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.mapping.assignment import Assignment, Fill, Move
from ckptmigrate.mapping.options import PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Tensor, Variable

SHAPES = {"w": (2, 3), "b": (3,)}
FACTORS = {("w", "r"): (2,), ("w", "c"): (3,), ("w", "v"): (2, 3), ("b", "v"): (3,)}


def ones(shape: tuple[int, ...]) -> Tensor:
    return Tensor.of(np.ones(shape, np.float32), FLOAT32)


def planned(kind: str, shapes: dict[tuple[str, str], tuple[int, ...]], **options: Any) -> Plan:
    slots = {SlotKey(*key): Stored("/".join(key), ones(shape)) for key, shape in shapes.items()}
    scalars = {
        "iter": Stored("iter", Tensor.of(np.array(5), INT64)),
        "learning_rate": Stored("rate", ones(())),
    }
    state = OptimizerState("o", kind, "keras3", 5, {"learning_rate": 1.0}, scalars, slots, tuple(slots))
    variables = {name: Variable(name, ones(shape), name) for name, shape in SHAPES.items()}
    source = Checkpoint(Path("source"), "keras-v3", variables, (state,))
    moves = tuple(Move((name,), (name,)) for name in source.variables)
    fills = (Fill("new", 0.0, shape=(4, 2)),)
    return make_plan(
        source,
        Assignment(moves, fills=fills),
        None,
        PlanOptions("tf2", ("keras-legacy", "tf1", "keras2", "keras3"), dialect="keras3", **options),
    )


def shapes(plan: Plan) -> dict[tuple[str, str], tuple[int, ...]]:
    (state,) = plan.optimizers
    return {(key.variable, key.slot): stored.tensor.shape for key, stored in state.slots.items()}


def test_new_variables_get_factors_of_their_own_shapes() -> None:
    plan = planned("adafactor", FACTORS)
    assert shapes(plan) == FACTORS | {("new", "r"): (4,), ("new", "c"): (2,), ("new", "v"): (4, 2)}
    assert not [i for i in plan.issues if i.severity in ("error", "loss")]


def test_fresh_factors_keep_their_shapes() -> None:
    plan = planned("adafactor", FACTORS, optimizer="fresh")
    assert shapes(plan) == FACTORS | {("new", "r"): (4,), ("new", "c"): (2,), ("new", "v"): (4, 2)}
    (state,) = plan.optimizers
    assert not any(stored.tensor.read().any() for stored in state.slots.values())


def test_matrices_have_no_velocity_with_muon() -> None:
    slots = {("w", "m"): (2, 3), ("b", "m"): (3,), ("b", "v"): (3,)}
    for optimizer in ("keep", "fresh"):
        assert shapes(planned("muon", slots, optimizer=optimizer)) == slots | {("new", "m"): (4, 2)}
