"""Changes of dialect: arithmetic, what is needed, what is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.errors import TargetError, UsageError
from ckptmigrate.optimizers import Conversion, initial_value, to_dialect
from ckptmigrate.optimizers.powers import power_after
from ckptmigrate.table import OptimizerState, SlotKey, Stored

RATE = {"learning_rate": 0.05}


@pytest.fixture
def state(make: Any) -> Any:
    def made(
        kind: str,
        dialect: str,
        slots: Iterable[str],
        *,
        scalars: Mapping[str, Any] | None = None,
        hyper: Mapping[str, float] | None = None,
        step: int | None = None,
    ) -> OptimizerState:
        held = {n: Stored(n, t) for n, t in make.table(scalars or {}).items()}
        stored = {SlotKey("w", slot): Stored(f"w/{slot}", make.value([1.0, -2.0])) for slot in slots}
        return OptimizerState("opt", kind, dialect, step=step, hyper=hyper or {}, scalars=held, slots=stored)

    return made


def powers(steps: int, beta_1: float = 0.9, beta_2: float = 0.999) -> dict[str, float]:
    return {"beta1_power": float(power_after(beta_1, steps)), "beta2_power": float(power_after(beta_2, steps))}


def stops(conversion: Conversion) -> list[tuple[str, str]]:
    return [(i.kind, i.severity) for i in conversion.issues if i.severity in ("error", "loss")]


def kinds(conversion: Conversion) -> list[str]:
    return [i.kind for i in conversion.issues if i.severity != "note"]


def number(conversion: Conversion, name: str) -> float:
    return float(conversion.state.scalars[name].tensor.read())


@pytest.mark.parametrize("kind", ["momentum", "adam", "unknown"])
def test_the_same_dialect_changes_nothing(state: Any, kind: str) -> None:
    before = state(kind, "tf1", ["m"], scalars={"x": 1.0}, step=3)
    after = to_dialect(before, "tf1", hyper=RATE, step=9)
    assert after.state.scalars == before.scalars
    assert (after.state.step, after.state.slots) == (3, {})
    assert [*after.slot_steps, *after.new_slots, *after.dropped, *after.issues] == []


# Momentum


@pytest.mark.parametrize(("source", "to", "factor"), [("tf1", "keras-legacy", -0.05), ("keras-legacy", "tf1", -20.0)])
def test_momentum_is_multiplied(state: Any, source: str, to: str, factor: float) -> None:
    conversion = to_dialect(state("momentum", source, ["momentum"]), to, hyper=RATE)
    assert not stops(conversion)
    (step,) = conversion.slot_steps["momentum"]((2,), BY_NAME["float32"])
    values = np.array([1.5, -3.0], np.float32)
    (result,) = step.apply([values])
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, values * factor, rtol=1e-6)
    assert step.undo is not None
    np.testing.assert_allclose(step.undo([result])[0], values, rtol=1e-6)
    assert not step.is_exact
    assert values.tolist() == [1.5, -3.0]
    assert step.text in ("v = -0.05 * a", "a = -v / 0.05")


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1), st.floats(1e-6, 1.0))
def test_momentum_there_and_back(values: list[float], rate: float) -> None:
    there, back = (
        to_dialect(
            OptimizerState("o", "momentum", source, slots={SlotKey("w", "momentum"): Stored("k", None)}),  # type: ignore[arg-type]
            to,
            hyper={"learning_rate": rate},
        ).slot_steps["momentum"]((len(values),), BY_NAME["float32"])[0]
        for source, to in (("tf1", "keras-legacy"), ("keras-legacy", "tf1"))
    )
    array = np.array(values, np.float32)
    returned = back.apply(there.apply([array]))[0]
    np.testing.assert_allclose(returned, array, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
def test_momentum_of_other_types(state: Any, dtype: str) -> None:
    conversion = to_dialect(state("momentum", "tf1", ["momentum"]), "keras-legacy", hyper={"learning_rate": 0.5})
    (step,) = conversion.slot_steps["momentum"]((1,), BY_NAME[dtype])
    values = np.array([3.0]).astype(BY_NAME[dtype].numpy)
    assert step.apply([values])[0].dtype == BY_NAME[dtype].numpy
    assert complex(step.apply([values])[0][0]) == -1.5
    with pytest.raises(TargetError):
        conversion.slot_steps["momentum"]((1,), BY_NAME["int32"])


@pytest.mark.parametrize(
    "hyper",
    [{}, {"learning_rate": 0.0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"learning_rate": 1e-300}],
)
@pytest.mark.parametrize(("source", "to"), [("tf1", "keras-legacy"), ("keras-legacy", "tf1")])
def test_momentum_needs_a_learning_rate(state: Any, source: str, to: str, hyper: dict[str, float]) -> None:
    conversion = to_dialect(state("momentum", source, ["momentum"], hyper=hyper), to)
    assert stops(conversion) == [("needed", "error")]
    hint = next(i.hint for i in conversion.issues if i.kind == "needed")
    for way in ("--hyper learning_rate=0.01", f"--dialect {source}", "--optimizer drop"):
        assert way in hint


def test_the_rate_of_the_last_step(state: Any) -> None:
    """Legacy Keras' decay: the third step ran at 0.1 / (1 + 0.5 * 2)."""
    hyper = {"learning_rate": 0.1, "decay": 0.5}
    before = state("momentum", "keras-legacy", ["momentum"], hyper=hyper, step=3)
    assert to_dialect(before, "tf1").slot_steps["momentum"]((2,), BY_NAME["float32"])[0].text == "a = -v / 0.05"
    flag = to_dialect(before, "tf1", hyper={"learning_rate": 0.2})
    assert flag.slot_steps["momentum"]((2,), BY_NAME["float32"])[0].text == "a = -v / 0.2"
    odd = state("momentum", "keras-legacy", ["momentum"], hyper={"learning_rate": 0.1, "decay": -1.0}, step=2)
    assert stops(to_dialect(odd, "tf1")) == [("needed", "error")]


# Adam


def test_adam_from_powers_to_iter(state: Any) -> None:
    conversion = to_dialect(state("adam", "tf1", ["m", "v"], scalars=powers(42)), "keras-legacy", hyper=RATE, step=9)
    assert conversion.state.scalars["iter"].tensor.dtype.name == "int64"
    assert number(conversion, "iter") == conversion.state.step == 42
    assert number(conversion, "learning_rate") == pytest.approx(0.05)
    assert number(conversion, "beta_2") == pytest.approx(0.999)
    assert not kinds(conversion)
    assert conversion.slot_steps == {}
    assert number(conversion, "decay") == 0  # TF1 has none of its own
    assert not [i for i in conversion.issues if i.kind == "hyper"]


def test_adam_from_iter_to_powers(state: Any) -> None:
    hyper = {"beta_1": float(np.float32(0.9)), "beta_2": float(np.float32(0.999))}
    before = state("adam", "keras-legacy", ["m", "v"], scalars={"iter": 42, **hyper}, hyper=hyper, step=42)
    conversion = to_dialect(before, "tf1")
    assert {n: number(conversion, n) for n in conversion.state.scalars} == powers(42)
    assert not kinds(conversion)
    assert conversion.steps_text["beta1_power"].startswith("beta_1^(iter + 1) = 0.9^43")


@pytest.mark.parametrize(
    ("scalars", "hyper", "step", "expected"),
    [
        (powers(5000), {}, None, 5000),  # beta1_power is 0
        ({"beta1_power": 0.0, "beta2_power": 0.0}, {}, 123_456, 123_456),  # any large step does
        ({"beta1_power": 0.0, "beta2_power": 0.0}, {}, None, 87_294),
        (powers(42, 0.77, 0.88), {"beta_1": 0.77, "beta_2": 0.88}, None, 42),
        (powers(42, 0.77, 0.88), {"iter": 42.0}, None, 42),
        ({}, {"iter": 7.0}, None, 7),
        (powers(42), {"iter": 7.0}, None, 7),
    ],
)
def test_adam_steps(state: Any, scalars: Any, hyper: Any, step: int | None, expected: int) -> None:
    conversion = to_dialect(state("adam", "tf1", ["m", "v"], scalars=scalars), "keras-legacy", hyper=hyper, step=step)
    assert number(conversion, "iter") == expected
    assert not kinds(conversion)


@pytest.mark.parametrize(
    ("scalars", "hyper"),
    [
        (powers(42, 0.77, 0.88), {}),
        (powers(42), {"beta_1": 0.8, "beta_2": 0.999}),
        ({}, {}),
        (powers(3) | {"beta1_power_1": 0.9, "beta2_power_1": 0.999}, {}),
    ],
)
def test_adam_needs_its_step(state: Any, scalars: Any, hyper: Any) -> None:
    conversion = to_dialect(state("adam", "tf1", ["m", "v"], scalars=scalars), "keras-legacy", hyper=hyper)
    assert stops(conversion) == [("needed", "error")]
    assert "iter" not in conversion.state.scalars


def test_adam_without_powers_takes_the_step_it_is_given(state: Any) -> None:
    conversion = to_dialect(state("adam", "tf1", ["m", "v"]), "keras-legacy", step=11)
    assert number(conversion, "iter") == 11
    assert kinds(conversion) == ["guess"]


def test_adam_needs_betas_for_powers(state: Any) -> None:
    assert stops(to_dialect(state("adam", "keras-legacy", ["m", "v"], step=3), "tf1")) == [("needed", "error")]


def test_amsgrad_has_no_place_in_tf1(state: Any) -> None:
    hyper = {"beta_1": 0.9, "beta_2": 0.999}
    conversion = to_dialect(state("adam", "keras-legacy", ["m", "v", "vhat"], hyper=hyper, step=3), "tf1")
    assert list(conversion.dropped) == ["vhat"]
    assert stops(conversion) == [("slot", "loss")]


@pytest.mark.parametrize("steps", [float("nan"), float("inf"), -1.0, 0.5, 1e30])
def test_iter_is_a_number_of_steps(state: Any, steps: float) -> None:
    with pytest.raises(UsageError):
        to_dialect(state("adam", "tf1", ["m", "v"]), "keras-legacy", hyper={"iter": steps})


# RMSprop, averages, others


@pytest.mark.parametrize(
    ("source", "slots", "hyper", "expected"),
    [
        ("tf1", ["rms", "momentum"], {"momentum": 0.9}, ([], [], False)),
        ("tf1", ["rms", "mg", "momentum"], {"momentum": 0.9}, ([], [], False)),
        ("tf1", ["rms", "momentum"], {"momentum": 0.0}, ([], ["momentum"], True)),
        ("tf1", ["rms", "momentum"], {}, ([], [], True)),
        ("keras-legacy", ["rms"], {}, (["momentum"], [], True)),
        ("keras-legacy", ["rms", "mg"], {"momentum": 0.0}, (["momentum"], [], True)),
        ("keras-legacy", ["rms", "momentum"], {"momentum": 0.9}, ([], [], False)),
    ],
)
def test_rmsprop(state: Any, source: str, slots: Any, hyper: Any, expected: Any) -> None:
    new, dropped, warned = expected
    to = {"tf1": "keras-legacy", "keras-legacy": "tf1"}[source]
    conversion = to_dialect(state("rmsprop", source, slots, hyper=hyper), to, step=9)
    assert list(conversion.new_slots) == new
    assert list(conversion.dropped) == dropped
    assert kinds(conversion) == (["approximate"] if warned else [])
    assert not conversion.slot_steps
    assert conversion.state.step == 9
    assert set(conversion.state.scalars) == ({"iter", "decay", *hyper} if to == "keras-legacy" else set())


def test_unknown_hyperparameters_are_one_note(state: Any) -> None:
    conversion = to_dialect(state("rmsprop", "tf1", ["rms", "momentum"]), "keras-legacy", hyper={"momentum": 0.9})
    first, second = [i for i in conversion.issues if i.kind == "hyper"]
    assert first.hint == "--hyper learning_rate=VALUE --hyper rho=VALUE"
    assert second.hint == "--hyper iter=STEPS"
    assert {first.severity, second.severity} == {"note"}


def test_averages_are_the_same_everywhere(state: Any) -> None:
    conversion = to_dialect(state("ema", "tf1", ["average"]), "keras-legacy")
    assert conversion.state.dialect == "keras-legacy"
    assert [*conversion.slot_steps, *conversion.dropped, *conversion.issues, *conversion.state.scalars] == []


def test_the_loss_scale_goes_along(state: Any) -> None:
    before = state("adam", "tf1", ["m", "v"], scalars=powers(3) | {"current_loss_scale": 8.0, "good_steps": 5})
    after = to_dialect(before, "keras-legacy").state
    assert after.scalars["good_steps"] is before.scalars["good_steps"]
    assert "beta1_power" not in after.scalars


@pytest.mark.parametrize(("kind", "to"), [("unknown", "keras-legacy"), ("adamw", "keras1"), ("adam", "nonsense")])
def test_no_way_is_a_loss(state: Any, kind: str, to: str) -> None:
    conversion = to_dialect(state(kind, "tf1", ["m", "v"], scalars=powers(3)), to)
    assert stops(conversion) == [("slot", "loss")]
    assert set(conversion.dropped) == {"m", "v"}
    assert not conversion.state.scalars


def test_initial_values() -> None:
    assert initial_value("rmsprop", "tf1", "rms") == 1.0
    for kind, dialect, slot in [("rmsprop", "keras-legacy", "rms"), ("adam", "tf1", "m"), ("unknown", "tf1", "x")]:
        assert initial_value(kind, dialect, slot) == 0.0
