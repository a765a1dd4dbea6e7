"""The beta powers of TF1's Adam: from a stored power to the number of completed steps, and back.

A power starts at beta and multiplies it by beta, in float32, once a step (tensorflow/python/training/adam.py); after
t steps it holds beta^(t+1), rounded t times. The same products are made here, so a stored power is found bit for bit.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

SMALLEST = float(np.finfo(np.float32).tiny)  # below, TensorFlow's threads flush to 0
MAX_PRODUCTS = 2_000_000  # 8 MB: beta 0.9999 underflows after 870,000 steps; beyond, the logarithm must do
USUAL_BETA_1 = (0.9, 0.5, 0.8, 0.85, 0.95, 0.99, 0.0)
USUAL_BETA_2 = (0.999, 0.99, 0.98, 0.997, 0.9999, 0.9995, 0.995, 0.95, 0.9)


class Reading(NamedTuple):
    """What two powers tell: completed steps and betas, None where they don't; `is_settled` when both underflowed."""

    step: int | None = None
    beta_1: float | None = None
    beta_2: float | None = None
    is_settled: bool = False


@lru_cache(maxsize=16)
def _products(beta: float, count: int) -> np.ndarray[Any, Any]:
    products: np.ndarray[Any, Any] = np.multiply.accumulate(np.full(count, beta, np.float32))
    return products


def _is_decaying(beta: float) -> bool:
    """True for what TF1 can raise to a power that tells something: inside (0, 1), also as a float32."""
    return SMALLEST <= float(np.float32(beta)) < 1 if math.isfinite(beta) and abs(beta) < 2 else False


def power_after(beta: float, steps: int) -> np.ndarray[Any, Any]:
    """What TF1 holds after that many steps: a float32 scalar.

    >>> float(power_after(0.5, 2))
    0.125
    """
    if not _is_decaying(beta):
        return np.array(beta, np.float32)  # 0 and 1 stay what they are
    last = min(steps, steps_to_underflow(beta)) + 1
    if last <= MAX_PRODUCTS:
        product = _products(beta, _rounded_up(last))[last - 1]
    else:
        product = np.float32(float(np.float32(beta)) ** last)
    return np.array(product if product >= SMALLEST else 0, np.float32)


def steps_to_underflow(beta: float) -> int:
    """After how many steps a power is as good as 0; 0 for a beta that isn't between 0 and 1."""
    return math.ceil(math.log(SMALLEST) / math.log(float(np.float32(beta)))) if _is_decaying(beta) else 0


def steps_of(power: float, beta: float) -> tuple[int | None, bool]:
    """(completed steps, True when a power has these very bits); None when it is no power of `beta`, or underflowed.

    >>> steps_of(0.125, 0.5)
    (2, True)
    """
    if not (_is_decaying(beta) and SMALLEST <= power < 1):
        return None, False
    count = math.log(power) / math.log(float(np.float32(beta)))
    near = round(count)
    margin = 2 + int(count * 1e-4)  # rounding drifts by at most 6e-8 a product, 6e-5 of the count at 0.999
    if near + margin <= MAX_PRODUCTS:
        first = max(near - margin, 1)
        nearby = _products(beta, _rounded_up(near + margin))[first - 1 : near + margin]
        found = np.flatnonzero(nearby == np.float32(power))
        if found.size:
            return first - 1 + int(found[0]), True
    is_near = near >= 1 and abs(count - near) <= 0.01 + count * 1e-4
    return (near - 1, False) if is_near else (None, False)


def _rounded_up(count: int) -> int:
    return max(1024, 1 << (count - 1).bit_length())  # few sizes, so that the cache is met


def read_powers(
    power_1: float, power_2: float | None, beta_1: float | None = None, beta_2: float | None = None
) -> Reading:
    """What a pair of powers tells; betas that aren't given are looked for among the usual ones, bit for bit.

    AdaMax has the first power alone: `power_2` is None then.
    """
    if power_2 is None:
        return _read_power(power_1, beta_1)
    is_settled = power_1 < SMALLEST and power_2 < SMALLEST
    fits = [
        Reading(step, b1, b2)
        for b2 in ((beta_2,) if beta_2 is not None else USUAL_BETA_2)
        for b1 in ((beta_1,) if beta_1 is not None else USUAL_BETA_1)
        for step in [_common_step((power_1, b1, beta_1 is None), (power_2, b2, beta_2 is None))]
        if step is not None
    ]
    steps = {f.step for f in fits}
    if len(steps) != 1:
        return Reading(is_settled=is_settled)
    betas_1, betas_2 = {f.beta_1 for f in fits}, {f.beta_2 for f in fits}
    return Reading(
        steps.pop(),
        betas_1.pop() if len(betas_1) == 1 else None,
        betas_2.pop() if len(betas_2) == 1 else None,
    )


def _read_power(power: float, beta: float | None) -> Reading:
    betas = USUAL_BETA_1 if beta is None else (beta,)
    steps = [(_common_step((power, b, beta is None)), b) for b in betas]
    fits = [Reading(step, b) for step, b in steps if step is not None]
    return fits[0] if len(fits) == 1 else Reading(is_settled=power < SMALLEST)


def _common_step(*powers: tuple[float, float, bool]) -> int | None:
    """The one step that all usable powers (power, beta, is a guess) agree on; a guessed beta must fit bit for bit."""
    steps, least = set(), 0
    for power, beta, is_guess in powers:
        if 0 <= power < SMALLEST:  # underflowed: it only tells that there were many
            least = max(least, steps_to_underflow(beta) - 2)
            continue
        step, is_exact = steps_of(power, beta)
        if step is None or (is_guess and not is_exact):
            return None
        steps.add(step)
    return steps.pop() if len(steps) == 1 and min(steps) >= least else None
