"""Optimizer state that only some formats can hold so: object-based files, lists, several optimizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.doctor.case import Case, trained
from ckptmigrate.doctor.states import examine_states
from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Tensor, Variable

FLOAT_STEP = Stored("opt/iter", Tensor((), FLOAT32))


def state(
    name: str = "opt", kind: str = "adam", dialect: str = "keras2", slots: str = "a:m a:v b:m b:v"
) -> OptimizerState:
    keys = [SlotKey(*text.split(":")) for text in slots.split()]
    return OptimizerState(
        name, kind, dialect, slots={k: Stored(f"{name}/{k.variable}/{k.slot}", tensor()) for k in keys}
    )


def tensor(*shape: int) -> Tensor:
    return Tensor.of(np.ones(shape or (3,), np.float32), FLOAT32)


def found(
    *states: OptimizerState, against: OptimizerState | None = None, **trainable: bool
) -> list[tuple[str, str, str]]:
    variables = {n: Variable(n, tensor(), n, trainable=trainable.get(n, True)) for n in "ab"}
    other = Checkpoint(Path("other"), "tf2", variables, (against,)) if against else None
    case = Case("own", Checkpoint(Path("own"), "tf2", variables, states), other, "other")
    return [(i.severity, i.name, i.message) for i in examine_states(case)]


def starts(got: list[tuple[str, str, str]], *expected: tuple[str, str, str]) -> None:
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    for row, wanted in zip(got, expected, strict=True):
        assert row[2].startswith(wanted[2])


def test_nothing() -> None:
    assert found(state()) == []
    assert found(state(), against=state("other_opt")) == []


def test_two_of_one_name() -> None:
    twins = state(slots="a:m a:v"), state(slots="b:m b:v")
    starts(found(*twins), ("error", "opt", "2 optimizers of one name: nothing tells whose slots are whose"))


def test_two_that_share_the_variables() -> None:
    """A pair of optimizers, each with its own half, misses nothing."""
    assert found(state("gen", slots="a:m a:v"), state("disc", slots="b:m b:v")) == []


def test_a_slot_of_another_shape() -> None:
    odd = state()
    odd = replace(odd, slots={**odd.slots, SlotKey("a", "m"): Stored("x", tensor(4))})
    starts(found(odd), ("error", "a", "slot m is [4], its variable [3]"))


def test_slots_that_nobody_has() -> None:
    starts(found(state(slots="a:m b:m")), ("error", "opt", "no variable has slot v, which adam needs beside m"))


@pytest.mark.parametrize(
    ("kind", "slots"), [("adafactor", "a:r a:c b:v"), ("muon", "a:m b:m b:v"), ("unknown", "a:x b:x")]
)
def test_kinds_whose_slots_depend_on_the_variable(kind: str, slots: str) -> None:
    odd = state(kind=kind, slots=slots)
    assert (
        found(replace(odd, slots={k: Stored(s.key, tensor(1)) if k.slot in "rc" else s for k, s in odd.slots.items()}))
        == []
    )


def test_frozen_variables_need_no_slots() -> None:
    half = state(slots="a:m a:v")
    starts(found(half), ("warning", "b", "is trainable and has no slots, as others have"))
    assert found(half, b=False) == []


def test_slots_that_nobody_is_told_to_own() -> None:
    unbound = replace(state(slots="a:m a:v"), unbound=(Stored("opt/7", tensor()),))
    assert found(unbound) == []


@pytest.mark.parametrize(("dialect", "severities"), [("keras2", ["warning"]), ("keras1", [])])
def test_a_step_that_is_no_whole_number(dialect: str, severities: list[str]) -> None:
    odd = replace(state(dialect=dialect), scalars={"iter": FLOAT_STEP})
    assert [row[0] for row in found(odd)] == severities
    assert found(replace(odd, scalars={"iter": Stored("i", Tensor((), INT64))})) == []


def test_against_another() -> None:
    starts(
        found(state(), against=state(dialect="keras-legacy")),
        ("error", "", "the state is that of adam (keras2); adam (keras-legacy) of the other checkpoint doesn't find"),
    )
    starts(found(against=state()), ("error", "", "there is no optimizer state, and adam (keras2) expects some"))


def test_inner_optimizers_stand_for_their_wrappers() -> None:
    wrapped = OptimizerState("scaled", "loss_scale", "keras3", wraps=state("inner"))
    averages = state("ema", "ema", slots="a:average")
    held = Checkpoint(Path("own"), "tf2", {}, (wrapped, averages, OptimizerState("s", "loss_scale", "keras3")))
    assert [s.name for s in trained(held)] == ["inner"]
