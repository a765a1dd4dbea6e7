"""Adagrad, Adadelta, Adamax, Nadam, Ftrl and those that few dialects have: values, what is told, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers import BY_KIND, anew, recognise_names, to_dialect
from ckptmigrate.optimizers.nadam import product_after
from ckptmigrate.optimizers.powers import power_after
from ckptmigrate.table import OptimizerState, SlotKey, Stored

RATE = {"learning_rate": 0.05}
KERAS = ("keras1", "keras-legacy", "keras2", "keras3")
SAME_EVERYWHERE = {
    "adagrad": ("accumulator",),
    "adadelta": ("accum_grad", "accum_var"),
    "adamax": ("m", "v"),
    "ftrl": ("accumulator", "linear"),
    "lion": ("m",),
    "adafactor": ("r", "c", "v"),
}


@pytest.fixture
def state(make: Any) -> Any:
    def made(kind: str, dialect: str, scalars: Mapping[str, Any] | None = None, **rest: Any) -> OptimizerState:
        held = {n: Stored(n, t) for n, t in make.table(scalars or {}).items()}
        slots = SAME_EVERYWHERE.get(kind, ("m", "v"))
        stored = {SlotKey("w", slot): Stored(f"w/{slot}", make.value([1.0, -2.0])) for slot in slots}
        return OptimizerState("opt", kind, dialect, scalars=held, slots=stored, **rest)

    return made


def stops(issues: tuple[Issue, ...]) -> list[tuple[str, str]]:
    return [(i.kind, i.severity) for i in issues if i.severity in ("error", "loss")]


def told(issues: tuple[Issue, ...], kind: str) -> list[tuple[str, str]]:
    return [(i.severity, i.message) for i in issues if i.kind == kind]


PAIRS = [(k, a, b) for k in SAME_EVERYWHERE for a in BY_KIND[k].dialects for b in BY_KIND[k].dialects if a != b]


@pytest.mark.parametrize(("kind", "source", "target"), PAIRS)
def test_slots_stay_as_they_are(state: Any, kind: str, source: str, target: str) -> None:
    scalars = {"beta1_power": float(power_after(0.9, 7))} if source == "tf1" and kind == "adamax" else {"iter": 7}
    hyper = {"learning_rate": 0.05, "beta_1": 0.9, "beta_2": 0.999}
    conversion = to_dialect(state(kind, source, scalars, hyper=hyper, step=7), target, hyper=RATE)
    assert not stops(conversion.issues)
    assert [*conversion.slot_steps, *conversion.new_slots, *conversion.dropped] == []
    assert conversion.state.step == 7
    if target == "tf1":
        expected = {"beta1_power": float(power_after(0.9, 7))} if kind == "adamax" else {}
        assert {n: float(s.tensor.read()) for n, s in conversion.state.scalars.items()} == expected
    else:
        assert int(conversion.state.scalars["iter"].tensor.read()) == 7


@pytest.mark.parametrize(
    ("source", "target", "severity"),
    [
        ("tf1", "keras-legacy", "note"),
        ("tf1", "keras3", "note"),
        ("keras-legacy", "keras2", "note"),
        ("keras1", "keras3", "warning"),  # whose sums start at 0
        ("keras1", "keras-legacy", None),
        ("keras2", "keras3", None),
    ],
)
def test_where_adagrad_adds_epsilon(state: Any, source: str, target: str, severity: str | None) -> None:
    issues = to_dialect(state("adagrad", source, {"iter": 3}, step=3), target, hyper=RATE).issues
    assert [s for s, _ in told(issues, "approximate")] == ([severity] if severity else [])


@pytest.mark.parametrize(("source", "target", "is_told"), [("tf1", "keras3", True), ("keras-legacy", "keras3", False)])
def test_adadeltas_epsilon(state: Any, source: str, target: str, is_told: bool) -> None:
    issues = to_dialect(state("adadelta", source, {"iter": 3}, step=3), target, hyper=RATE).issues
    assert bool(told(issues, "approximate")) == is_told


def test_ftrls_linear_holds_the_rate(state: Any) -> None:
    issues = to_dialect(state("ftrl", "keras-legacy", {"iter": 3}, hyper=RATE, step=3), "keras2").issues
    ((severity, message),) = told(issues, "rate")
    assert severity == "note"
    assert message.endswith("the same (0.05).")


# Adamax


@pytest.mark.parametrize(
    ("power", "hyper", "step", "expected"),
    [
        (float(power_after(0.9, 7)), {}, None, 7),
        (float(power_after(0.77, 7)), {"beta_1": 0.77}, None, 7),
        (float(power_after(0.77, 7)), {"iter": 9.0}, None, 9),
        (0.0, {}, None, 829),  # underflowed: any such number of steps is as good
        (0.0, {}, 5000, 5000),
        (None, {}, 11, 11),
    ],
)
def test_adamax_steps(state: Any, power: float | None, hyper: Any, step: int | None, expected: int) -> None:
    scalars = {} if power is None else {"beta1_power": power}
    conversion = to_dialect(state("adamax", "tf1", scalars), "keras-legacy", hyper=hyper, step=step)
    assert not stops(conversion.issues)
    assert int(conversion.state.scalars["iter"].tensor.read()) == expected


@pytest.mark.parametrize(("power", "hyper"), [(0.1234, {}), (float(power_after(0.9, 7)), {"beta_1": 0.5}), (None, {})])
def test_adamax_needs_its_step(state: Any, power: float | None, hyper: Any) -> None:
    scalars = {} if power is None else {"beta1_power": power}
    conversion = to_dialect(state("adamax", "tf1", scalars), "keras-legacy", hyper=hyper)
    assert stops(conversion.issues) == [("needed", "error")]


@pytest.mark.parametrize(("hyper", "step"), [({}, 3), ({"beta_1": 0.9}, None), ({}, None)])
def test_adamax_needs_beta_and_step_for_its_power(state: Any, hyper: Any, step: int | None) -> None:
    conversion = to_dialect(state("adamax", "keras2", {}, hyper=hyper, step=step), "tf1")
    assert stops(conversion.issues) == [("needed", "error")]


def test_powers_go_to_adam_and_adamax(make: Any) -> None:
    """The pair is Adam's, the one alone AdaMax'."""
    w = [2, 3]
    entries = {"a/w": w, "a/w/Adam": w, "a/w/Adam_1": w, "b/w": w, "b/w/AdaMax": w, "b/w/AdaMax_1": w}
    powers = {"beta1_power": float(power_after(0.9, 3)), "beta2_power": float(power_after(0.999, 3))}
    alone = {"beta1_power_1": float(power_after(0.9, 5))}
    found = recognise_names(make.table({**entries, **powers, **alone})).optimizers
    assert {s.kind: (s.step, [v.key for v in s.scalars.values()]) for s in found} == {
        "adam": (3, ["beta1_power", "beta2_power"]),
        "adamax": (5, ["beta1_power_1"]),
    }


# Nadam


def test_nadams_product_goes_along(state: Any) -> None:
    scalars = {"iter": 7, "learning_rate": 0.05, "momentum_cache": 0.125}
    for source, target in (("keras2", "keras3"), ("keras3", "keras2"), ("keras1", "keras-legacy")):
        conversion = to_dialect(state("nadam", source, scalars, step=7, hyper=RATE), target, hyper={"beta_2": 0.999})
        assert not stops(conversion.issues)
        assert float(conversion.state.scalars["momentum_cache"].tensor.read()) == 0.125
        (by_hand, *_) = [m for _, m in told(conversion.issues, "approximate")] or [""]
        assert ("_u_product_counter = 8" in by_hand) == (target == "keras2")  # tf_keras' own counter
        assert ("_u_product.assign(0.125)" in by_hand) == (target == "keras2")


@pytest.mark.parametrize(
    ("source", "target", "decay"),
    [("keras2", "keras3", 1.0), ("keras3", "keras2", 1.0), ("keras1", "keras-legacy", 0.004)],
)
def test_nadams_product_is_computed_where_it_was_lost(state: Any, source: str, target: str, decay: float) -> None:
    before = state("nadam", source, {"iter": 7}, step=7, hyper={**RATE, "beta_1": 0.8})
    conversion = to_dialect(before, target)
    assert not stops(conversion.issues)
    value = conversion.state.scalars["momentum_cache"].tensor.read()
    expected = np.prod([0.8 * (1 - 0.5 * 0.96 ** (decay * t)) for t in range(1, 8)])
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert "7 momenta, by beta_1=0.8" in conversion.steps_text["momentum_cache"]


def test_nadams_product_is_regained_in_its_own_dialect(state: Any) -> None:
    """For a target that holds it: tf_keras' `.h5` into a checkpoint of objects."""
    lost = state("nadam", "keras2", {"iter": 7}, step=7, hyper={**RATE, "beta_1": 0.8})
    assert set(to_dialect(lost, "keras2").state.scalars) == {"iter"}
    found = to_dialect(lost, "keras2", regains=True)
    assert found.state.scalars["iter"] == lost.scalars["iter"]
    assert found.state.scalars["momentum_cache"].tensor.read().tobytes() == product_after(0.8, 7, 1.0).tobytes()
    whole = state("nadam", "keras2", {"iter": 7, "momentum_cache": 0.125}, step=7)
    assert to_dialect(whole, "keras2", regains=True).state.scalars == whole.scalars
    other = state("nadam", "keras1", {"iter": 7}, step=7)
    assert to_dialect(other, "keras1", regains=True).state.scalars == other.scalars


def test_nadams_product_needs_a_step(state: Any) -> None:
    conversion = to_dialect(state("nadam", "keras2", {}, hyper=RATE), "keras3")
    assert ("needed", "error") in stops(conversion.issues)
    assert any("--hyper iter=STEPS" in i.hint for i in conversion.issues if i.kind == "needed")


def test_nadams_beta_is_guessed_aloud(state: Any) -> None:
    conversion = to_dialect(state("nadam", "keras2", {"iter": 2}, hyper=RATE, step=2), "keras3")
    assert [s for s, _ in told(conversion.issues, "guess")] == ["warning"]


@pytest.mark.parametrize(
    ("source", "target"),
    [("keras-legacy", "keras2"), ("keras1", "keras3"), ("keras3", "keras-legacy"), ("keras2", "keras1")],
)
def test_nadam_is_not_portable_between_schedules(state: Any, source: str, target: str) -> None:
    scalars = {"iter": 7, "momentum_cache": 0.125}
    hyper = {**RATE, "beta_1": 0.9}
    conversion = to_dialect(state("nadam", source, scalars, step=7, hyper=hyper), target)
    assert stops(conversion.issues) == [("slot", "loss")]
    (issue,) = (i for i in conversion.issues if i.severity == "loss")
    assert "not portable" in issue.message
    assert "--optimizer fresh" in issue.hint
    # under --allow-loss the product is that of the new schedule
    decay = 1.0 if target in ("keras2", "keras3") else 0.004
    found = conversion.state.scalars["momentum_cache"].tensor.read()
    assert found.tobytes() == product_after(0.9, 7, decay).tobytes()


@pytest.mark.parametrize(
    ("source", "target", "hyper", "flags"),
    [
        ("keras-legacy", "keras3", {"decay": 1.0}, {}),  # built with schedule_decay=1.0
        ("keras3", "keras-legacy", {}, {"decay": 1.0}),
        ("keras1", "keras2", {"schedule_decay": 1.0}, {}),
    ],
)
def test_nadam_with_the_new_schedule_is_portable(state: Any, source: str, target: str, hyper: Any, flags: Any) -> None:
    before = state("nadam", source, {"iter": 7, "momentum_cache": 0.125}, step=7, hyper={**RATE, **hyper})
    conversion = to_dialect(before, target, hyper=flags)
    assert not stops(conversion.issues)
    assert float(conversion.state.scalars["momentum_cache"].tensor.read()) == 0.125


@pytest.mark.parametrize(("source", "target"), [("keras-legacy", "keras2"), ("keras3", "keras-legacy")])
def test_fresh_nadam_goes_anywhere(state: Any, source: str, target: str) -> None:
    before = state("nadam", source, {"iter": 7, "momentum_cache": 0.125}, step=7, hyper=RATE)
    conversion = to_dialect(anew(before), target, hyper={"iter": 0})
    assert not stops(conversion.issues)
    assert float(conversion.state.scalars["momentum_cache"].tensor.read()) == 1.0


@pytest.mark.parametrize("steps", [0, 1, 500, 5_000_000])
def test_products_of_any_length(steps: int) -> None:
    product = product_after(0.9, steps, 1.0)
    assert (product.shape, product.dtype) == ((), np.float32)
    assert (float(product) == 1.0) == (steps == 0)
    assert (float(product) == 0.0) == (steps > 500)


# Those that few dialects have


@pytest.mark.parametrize(
    ("kind", "source", "target"),
    [
        ("lion", "keras3", "keras-legacy"),
        ("lamb", "keras3", "keras2"),
        ("muon", "keras3", "tf1"),
        ("nadam", "keras2", "tf1"),
    ],
)
def test_a_dialect_without_the_optimizer_refuses_it(state: Any, kind: str, source: str, target: str) -> None:
    conversion = to_dialect(state(kind, source, {"iter": 3}, step=3, hyper=RATE), target)
    assert stops(conversion.issues) == [("slot", "loss")]


@pytest.mark.parametrize(
    ("slot", "variable", "shape", "expected"),
    [
        ("r", "w", (2, 3), (2,)),
        ("c", "w", (2, 3), (3,)),
        ("r", "w", (5, 2, 3), (5, 2)),
        ("c", "w", (5, 2, 3), (5, 3)),
        ("r", "b", (3,), None),
        ("c", "b", (), None),
    ],
)
def test_adafactors_rows_and_columns(slot: str, variable: str, shape: Any, expected: Any) -> None:
    for spelled in BY_KIND["adafactor"].dialects.values():
        assert spelled.slot(slot).shape(variable, shape) == expected  # type: ignore[union-attr, misc]


@pytest.mark.parametrize(
    ("variable", "shape", "has_velocity"),
    [
        ("d/kernel", (2, 3), False),
        ("d/bias", (3,), True),
        ("Embedding_1/table", (2, 3), True),
        ("c/k", (2, 2, 3), True),
    ],
)
def test_muons_velocities(variable: str, shape: Any, has_velocity: bool) -> None:
    made = BY_KIND["muon"].dialects["keras3"].slot("v").shape(variable, shape)  # type: ignore[union-attr, misc]
    assert made == (shape if has_velocity else None)


# Home-made names


@pytest.mark.parametrize(
    ("slots", "kind"),
    [
        (("accumulator",), "adagrad"),
        (("accum_grad", "accum_var"), "adadelta"),
        (("accumulator", "linear"), "ftrl"),
        (("m", "v"), "adam"),
        (("accum_grad",), "unknown"),
    ],
)
def test_endings_that_a_mapping_names(make: Any, slots: tuple[str, ...], kind: str) -> None:
    endings = {f"my_{slot}": slot for slot in slots}
    entries = {"w": [2], "b": [3], **{f"w/{e}": [2] for e in endings}, **{f"b/{e}": [3] for e in endings}}
    (found,) = recognise_names(make.table(entries), slots=endings).optimizers
    assert (found.kind, len(found.slots)) == (kind, 2 * len(slots))
