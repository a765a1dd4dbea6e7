"""Beta powers: from steps to powers and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.optimizers.powers import (
    SMALLEST,
    USUAL_BETA_1,
    USUAL_BETA_2,
    Reading,
    power_after,
    read_powers,
    steps_of,
    steps_to_underflow,
)

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "tf1"
STEPS = (0, 1, 2, 3, 10, 99, 500, 813)


@pytest.mark.parametrize("beta_1", USUAL_BETA_1)
@pytest.mark.parametrize("beta_2", USUAL_BETA_2)
@pytest.mark.parametrize("steps", STEPS)
def test_steps_come_back(beta_1: float, beta_2: float, steps: int) -> None:
    powers = [float(power_after(beta, steps)) for beta in (beta_1, beta_2)]
    read = read_powers(*powers, beta_1, beta_2)
    usable = any(power >= SMALLEST for power in powers)
    assert (read.step, read.is_settled) == ((steps, False) if usable else (None, True))
    if steps >= 2:
        assert read_powers(*powers).step in (steps, None)


@pytest.mark.parametrize("fixture", ["adam", "adam_named", "tf14_adam"])
def test_tensorflow_wrote_the_same_bytes(fixture: str) -> None:
    """Three steps of TensorFlow 1.15 and 1.4; its own reader's hash of the powers."""
    listing = json.loads((FIXTURES / fixture / "listing.json").read_text(encoding="utf-8"))["tensors"]
    for name, beta in (("beta1_power", 0.9), ("beta2_power", 0.999)):
        assert hashlib.sha256(power_after(beta, 3).tobytes()).hexdigest() == listing[name]["sha256"]


def test_betas_are_found_among_the_usual_ones() -> None:
    powers = float(power_after(0.9, 42)), float(power_after(0.997, 42))
    assert read_powers(*powers) == Reading(42, 0.9, 0.997)
    assert read_powers(0.123, 0.456) == Reading()


def test_the_second_power_counts_on_when_the_first_has_underflowed() -> None:
    assert float(power_after(0.9, 5000)) == 0
    assert read_powers(0.0, float(power_after(0.999, 5000)), 0.9, 0.999).step == 5000
    assert read_powers(0.0, float(power_after(0.999, 5000))).step == 5000
    assert read_powers(0.0, float(power_after(0.999, 500)), 0.9, 0.999).step is None  # 0.9 doesn't underflow that soon
    assert read_powers(0.0, 0.0, 0.9, 0.999) == Reading(is_settled=True)


def test_powers_that_disagree_tell_nothing() -> None:
    assert read_powers(float(power_after(0.9, 3)), float(power_after(0.999, 4)), 0.9, 0.999) == Reading()


@pytest.mark.parametrize("beta", [0.0, 1.0, -1.0, 2.0, 1e-50, 0.99999999999, float("inf"), float("nan")])
def test_odd_betas(beta: float) -> None:
    assert steps_of(0.5, beta) == (None, False)
    assert steps_to_underflow(beta) == 0
    assert np.array_equal(power_after(beta, 3), np.float32(beta), equal_nan=True)


@pytest.mark.parametrize("power", [0.0, -1.0, 1.0, 2.0, 1e-44, float("inf"), float("nan")])
def test_odd_powers(power: float) -> None:
    assert steps_of(power, 0.9) == (None, False)
    assert read_powers(power, power).step is None


def test_a_beta_near_one_takes_no_memory() -> None:
    step, is_exact = steps_of(0.5, 0.99999994)
    assert step is not None
    assert not is_exact
    assert 0.4 < float(power_after(0.99999994, step)) < 0.6
