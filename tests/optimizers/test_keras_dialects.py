"""Between the five dialects: slots that come and go, where epsilon stands, what lists need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.optimizers import OPTIMIZERS, Conversion, to_dialect
from ckptmigrate.optimizers.catalog import by_title, list_of
from ckptmigrate.optimizers.powers import power_after
from ckptmigrate.table import DIALECTS, OptimizerState, SlotKey, Stored, Tensor

RATE = {"learning_rate": 0.05}
KERAS = ("keras-legacy", "keras1", "keras2", "keras3")


def number(value: Any, dtype: str = "float32") -> Tensor:
    return Tensor.of(np.array(value, BY_NAME[dtype].numpy), BY_NAME[dtype])


def state(kind: str, dialect: str, slots: Iterable[str], hyper: Mapping[str, float] = RATE) -> OptimizerState:
    scalars = {"iter": Stored("iter", number(7, "int64"))} if dialect != "tf1" else {}
    held = {SlotKey("w", slot): Stored(f"w/{slot}", number(1.0)) for slot in slots}
    return OptimizerState("opt", kind, dialect, 7 if scalars else None, dict(hyper), scalars, held)


def stops(conversion: Conversion) -> list[tuple[str, str]]:
    return [(i.kind, i.severity) for i in conversion.issues if i.severity in ("error", "loss")]


def is_approximate(conversion: Conversion) -> bool:
    return any(i.kind == "approximate" and i.severity == "warning" for i in conversion.issues)


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize("source", DIALECTS)
def test_velocities_differ_from_sums_alone(source: str, to: str) -> None:
    conversion = to_dialect(state("momentum", source, ["momentum"], RATE | {"momentum": 0.9}), to, step=7)
    assert not stops(conversion)
    assert (conversion.state.kind, conversion.state.dialect) == ("momentum", to)
    assert bool(conversion.slot_steps) == ((source == "tf1") != (to == "tf1"))
    if to not in (source, "tf1"):
        assert conversion.state.scalars["iter"].tensor.read() == 7


@pytest.mark.parametrize(
    ("source", "hyper", "to", "kind", "dropped"),
    [
        ("keras2", {"momentum": 0.0}, "keras3", "sgd", ["momentum"]),
        ("keras1", {"momentum": 0.0}, "tf1", "sgd", ["momentum"]),
        ("keras1", {"momentum": 0.0}, "keras2", "momentum", []),
        ("keras2", {}, "keras3", "momentum", []),
    ],
)
def test_slots_that_nothing_reads(source: str, hyper: Any, to: str, kind: str, dropped: list[str]) -> None:
    conversion = to_dialect(state("momentum", source, ["momentum"], RATE | hyper), to)
    assert (conversion.state.kind, list(conversion.dropped)) == (kind, dropped)
    assert not stops(conversion)


@pytest.mark.parametrize("to", DIALECTS)
def test_plain_sgd_has_slots_in_some_dialects(to: str) -> None:
    conversion = to_dialect(state("sgd", "keras-legacy", []), to)
    has_slots = to in ("keras1", "keras2")
    assert conversion.new_slots == ({"momentum": 0.0} if has_slots else {})
    assert conversion.state.kind == ("momentum" if has_slots else "sgd")


def test_the_place_tells_what_the_target_has() -> None:
    """SGD of a template: with momentum it gets slots, without it gets none."""
    with_momentum, without = state("momentum", "keras3", ["momentum"]), state("sgd", "keras3", [])
    assert to_dialect(state("sgd", "tf1", []), "keras3", place=with_momentum).new_slots == {"momentum": 0.0}
    idle = state("momentum", "keras1", ["momentum"], {"momentum": 0.0})
    assert list(to_dialect(idle, "keras3", place=without).dropped) == ["momentum"]
    assert not to_dialect(idle, "keras3", place=with_momentum).dropped
    untold = to_dialect(state("momentum", "keras2", ["momentum"], {}), "keras3", place=without)
    assert list(untold.dropped) == ["momentum"]
    assert [i.severity for i in untold.issues if "--hyper momentum=0.9" in i.hint] == ["warning"]


def test_legacy_keras_makes_its_slots_at_the_first_step() -> None:
    """A template before any training has none: its momentum tells."""
    untrained = state("momentum", "keras-legacy", [], {"momentum": 0.9})
    assert not to_dialect(state("momentum", "keras2", ["momentum"], {}), "keras-legacy", place=untrained).dropped
    without = state("sgd", "keras-legacy", [], {"momentum": 0.0})
    assert to_dialect(state("momentum", "keras2", ["momentum"], {}), "keras-legacy", place=without).dropped


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize("source", DIALECTS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_epsilon_of_rmsprop(source: str, to: str, momentum: float) -> None:
    slots = ["rms", "momentum"] if momentum or source == "tf1" else ["rms"]
    if (source == to) or (momentum and "keras1" in (source, to)):
        return
    conversion = to_dialect(state("rmsprop", source, slots, RATE | {"momentum": momentum}), to, step=7)
    assert not stops(conversion)
    outside = {"keras1", "keras-legacy"} if not momentum else {"keras1"}
    assert is_approximate(conversion) == ((source in outside) != (to in outside))
    has_slot = to == "tf1" or momentum > 0
    left = {key.slot for key in state("rmsprop", source, slots).slots} - conversion.dropped.keys()
    assert ("momentum" in left | conversion.new_slots.keys()) == has_slot


def test_rmsprop_with_momentum_has_no_place_in_keras1() -> None:
    conversion = to_dialect(state("rmsprop", "keras3", ["rms", "momentum", "mg"]), "keras1")
    assert stops(conversion) == [("slot", "loss")] * 2
    assert sorted(conversion.dropped) == ["mg", "momentum"]


@pytest.mark.parametrize("to", ["keras2", "keras3"])
def test_a_list_needs_to_know_whether_there_is_momentum(to: str) -> None:
    source = state("rmsprop", "tf1", ["rms", "momentum"])
    assert stops(to_dialect(source, to, step=7)) == [("needed", "error")]
    assert not stops(to_dialect(source, to, step=7, hyper={"momentum": 0.0}))
    told = to_dialect(source, to, step=7, place=state("rmsprop", to, ["rms"]))
    assert list(told.dropped) == ["momentum"]


@pytest.mark.parametrize("kind", ["momentum", "adam", "adamw", "rmsprop"])
def test_keras3_needs_a_rate(kind: str) -> None:
    slots = {"momentum": ["momentum"], "rmsprop": ["rms"]}.get(kind, ["m", "v"])
    source = state(kind, "keras2", slots, {})
    conversion = to_dialect(source, "keras3")
    assert stops(conversion) == [("needed", "error")]
    assert "--hyper learning_rate=0.001" in next(i.hint for i in conversion.issues if i.kind == "needed")
    given = to_dialect(source, "keras3", hyper=RATE).state
    assert list(given.scalars) == ["iter", "learning_rate"]
    schedule = state(kind, "keras3", slots)
    assert not stops(to_dialect(source, "keras3", place=schedule))


def test_a_list_has_a_step() -> None:
    conversion = to_dialect(state("momentum", "tf1", ["momentum"]), "keras2")
    assert conversion.state.scalars["iter"].tensor.read() == 0
    assert [i.hint for i in conversion.issues if i.severity == "warning"] == ["--hyper iter=STEPS"]
    uncounted = state("rmsprop", "keras1", ["rms"])
    uncounted = OptimizerState("o", "rmsprop", "keras1", None, RATE, {}, uncounted.slots)
    assert to_dialect(uncounted, "keras-legacy").state.scalars["iter"].tensor.read() == 0
    assert "iter" not in to_dialect(state("momentum", "tf1", ["momentum"]), "keras-legacy").state.scalars


@pytest.mark.parametrize("to", KERAS)
@pytest.mark.parametrize("source", KERAS)
def test_amsgrad_goes_both_ways(source: str, to: str) -> None:
    conversion = to_dialect(state("adam", source, ["m", "v", "vhat"]), to)
    assert not stops(conversion)
    assert not conversion.dropped
    assert conversion.state.step == 7


def test_the_lead_of_keras_2_3() -> None:
    source = state("adam", "keras1", ["m", "v"])
    conversion = to_dialect(source, "keras2", lead=1)
    assert conversion.state.scalars["iter"].tensor.read() == 8
    assert [i.hint for i in conversion.issues if i.kind == "guess"] == ["--hyper iter=7 takes the steps as counted"]
    assert to_dialect(source, "keras2", lead=1, hyper={"iter": 7}).state.step == 7
    assert to_dialect(source, "keras1", lead=1).state.step == 7
    assert to_dialect(state("momentum", "keras1", ["momentum"]), "keras2", lead=1).state.step == 7


def test_placeholders_are_no_loss() -> None:
    source = state("adam", "keras1", ["m", "v"])
    scalars = {**source.scalars, "placeholder/0": Stored("p", number(0.0))}
    conversion = to_dialect(OptimizerState("o", "adam", "keras1", 7, RATE, scalars, source.slots), "keras2")
    assert not any("placeholder" in issue.message for issue in conversion.issues)
    assert "placeholder/0" not in conversion.state.scalars


def test_a_decay_needs_a_schedule() -> None:
    source = state("adam", "keras1", ["m", "v"], RATE | {"decay": 0.01})
    assert is_approximate(to_dialect(source, "keras3"))
    assert not is_approximate(to_dialect(source, "keras-legacy"))
    assert to_dialect(source, "keras-legacy").state.hyper["decay"] == 0.01


def test_adamw_decays_otherwise_in_tf1() -> None:
    powers = {n: Stored(n, number(power_after(b, 7))) for n, b in (("beta1_power", 0.9), ("beta2_power", 0.999))}
    source = state("adamw", "tf1", ["m", "v"])
    source = OptimizerState("o", "adamw", "tf1", hyper=RATE, scalars=powers, slots=source.slots)
    conversion = to_dialect(source, "keras3")
    assert is_approximate(conversion)
    assert conversion.state.step == 7
    assert not is_approximate(to_dialect(state("adamw", "keras2", ["m", "v"]), "keras3"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.kind)
def test_lists_hold_the_slots_of_their_records(optimizer: Any) -> None:
    for dialect, spelled in optimizer.dialects.items():
        listed = list_of(optimizer.kind, dialect)
        if listed is None:
            continue
        own = {slot for block in spelled.listed.blocks for slot in block.slots}
        assert own == {slot.name for slot in spelled.slots}, dialect
        optional = {slot for block in spelled.listed.blocks if block.when for slot in block.slots}
        assert optional <= {slot.name for slot in spelled.slots if slot.is_optional} | {"momentum"}, dialect
        if dialect in ("keras2", "keras3"):
            assert set(spelled.lists) == own, dialect
        assert set(listed.first) <= {*spelled.scalars, *spelled.hyper}
        found = by_title(spelled.title, dialect)
        assert found is optimizer or (found is not None and found.kind == "momentum")
