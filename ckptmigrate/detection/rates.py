"""The optimizer of a pipeline.config: its hyperparameters, and the learning rate of the last step that was done.

Facts: object_detection/protos/optimizer.proto, builders/optimizer_builder.py, utils/learning_schedules.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ckptmigrate.detection.pipeline import Pipeline

_AT = ("train_config", "optimizer")

# The API's optimizers -> hyperparameter -> its setting, and the default of that.
_SETTINGS: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "rms_prop_optimizer": {"momentum": ("momentum_optimizer_value", 0.9), "rho": ("decay", 0.9)},
    "momentum_optimizer": {"momentum": ("momentum_optimizer_value", 0.9)},
    "adam_optimizer": {},
}


def hyperparameters(config: Pipeline, step: int | None) -> dict[str, float]:
    """What the configuration tells of its optimizer, by canonical name.

    Args:
        config: The configuration.
        step: Completed steps, which a schedule's rate depends on; None for unknown.
    """
    kind = next((name for name in _SETTINGS if config.document.has(*_AT, name)), "")
    if not kind:
        return {}
    known = {name: config.number(default, *_AT, kind, key) for name, (key, default) in _SETTINGS[kind].items()}
    rate = _rate(config, (*_AT, kind, "learning_rate"), step)
    return known if rate is None else {**known, "learning_rate": rate}


def _rate(config: Pipeline, at: tuple[str, ...], step: int | None) -> float | None:
    for name, schedule in _SCHEDULES.items():
        if config.document.has(*at, name):
            is_known = name == "constant_learning_rate" or step is not None
            return schedule(config, (*at, name), max((step or 0) - 1, 0)) if is_known else None
    return None


def _constant(config: Pipeline, at: tuple[str, ...], _step: int) -> float:
    return config.number(0.002, *at, "learning_rate")


def _exponential(config: Pipeline, at: tuple[str, ...], step: int) -> float:
    base = config.number(0.002, *at, "initial_learning_rate")
    burn_in = config.integer(0, *at, "burnin_steps")
    if step < burn_in:
        return config.number(0.0, *at, "burnin_learning_rate") or base
    periods = (step - burn_in) / max(config.integer(4_000_000, *at, "decay_steps"), 1)
    if config.flag(True, *at, "staircase"):
        periods = math.floor(periods)
    decayed: float = base * config.number(0.95, *at, "decay_factor") ** periods
    return max(decayed, config.number(0.0, *at, "min_learning_rate"))


def _manual(config: Pipeline, at: tuple[str, ...], step: int) -> float:
    steps = [int(n) for n in config.numbers(*at, "schedule", "step")]
    rates = [config.number(0.002, *at, "initial_learning_rate"), *config.numbers(*at, "schedule", "learning_rate")]
    done = sum(step >= boundary for boundary in steps)
    if done == 0 and config.flag(False, *at, "warmup") and steps and len(rates) > 1:
        return rates[0] + (rates[1] - rates[0]) * step / steps[0]
    return rates[min(done, len(rates) - 1)]


def _cosine(config: Pipeline, at: tuple[str, ...], step: int) -> float:
    base = config.number(0.002, *at, "learning_rate_base")
    total = config.integer(4_000_000, *at, "total_steps")
    warm = config.integer(10_000, *at, "warmup_steps")
    hold = config.integer(0, *at, "hold_base_rate_steps")
    if step < warm:
        first = config.number(0.0002, *at, "warmup_learning_rate")
        return first + (base - first) * step / warm
    if step < warm + hold:
        return base
    if step > total:
        return 0.0
    return 0.5 * base * (1 + math.cos(math.pi * (step - warm - hold) / max(total - warm - hold, 1)))


_SCHEDULES: Mapping[str, Callable[[Pipeline, tuple[str, ...], int], float]] = {
    "constant_learning_rate": _constant,
    "exponential_decay_learning_rate": _exponential,
    "manual_step_learning_rate": _manual,
    "cosine_decay_learning_rate": _cosine,
}
