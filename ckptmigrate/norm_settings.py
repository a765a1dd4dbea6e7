"""Epsilon and momentum of batch normalisations: shown where a file holds the model's configuration, and compared.

Neither is a variable. An epsilon that differs changes every output: y = gamma * (x - mean) / sqrt(variance + epsilon)
+ beta (Ioffe and Szegedy, 2015, algorithm 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import sqrt
from typing import Any, NamedTuple

from ckptmigrate.batchnorm import CLASSES, batch_norms
from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.keras_config import Configured, read_config
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.table import Checkpoint

MODEL_CONFIG = "model_config"


class NormSettings(NamedTuple):
    """What a configuration says of one batch normalisation; None where it says nothing."""

    epsilon: float | None
    momentum: float | None


def norm_settings(checkpoint: Checkpoint) -> dict[str, NormSettings]:
    """Layer, as `batch_norms` calls it -> its settings; {} where the file holds no configuration."""
    told = _told(checkpoint)
    if not told:
        return {}
    last = Counter(path.rpartition("/")[2] for path in told)
    unique = {path.rpartition("/")[2]: settings for path, settings in told.items()}
    found = {}
    for group in batch_norms(checkpoint).values():
        name = group.path.rpartition("/")[2]
        settings = told.get(group.path) or (unique[name] if last[name] == 1 else None)
        if settings is not None:
            found[group.layer] = settings
    return found


def _told(checkpoint: Checkpoint) -> dict[str, NormSettings]:
    """Path of a layer through models -> its settings, by the model's configuration or by each object's own."""
    if data := checkpoint.structure.blobs.get(MODEL_CONFIG):
        try:
            return dict(_configured(read_config(data, str(checkpoint.path))))
        except DamagedError:
            return {}  # whoever needs the configuration says so
    own = checkpoint.metadata.get("batch_norms")
    return {path: _settings(held) for path, held in own.items()} if isinstance(own, Mapping) else {}


def _configured(model: Configured) -> Iterator[tuple[str, NormSettings]]:
    for path, layer in model.walk():
        inner = layer.inner.items()
        for held, place in ((layer, path), *((below, f"{path}/{attribute}") for attribute, below in inner)):
            if held.called in CLASSES:
                yield place, _settings(held.config)


def _settings(config: Mapping[str, Any]) -> NormSettings:
    return NormSettings(*(_number(config.get(name)) for name in NormSettings._fields))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def differing(source: Checkpoint, template: Checkpoint, moves: Iterable[Move]) -> list[Issue]:
    """Warnings for batch normalisations whose template was configured otherwise; where both files tell.

    Args:
        source, template: Both sides.
        moves: Which variable becomes which.
    """
    near, far = norm_settings(source), norm_settings(template)
    if not near or not far:
        return []
    target = {name: move.targets[0] for move in moves for name in move.sources if move.targets}
    home = {name: group.layer for group in batch_norms(template).values() for name in group.parts.values()}
    issues: list[Issue] = []
    for group in batch_norms(source).values():
        other = next((home[target[n]] for n in group.parts.values() if target.get(n) in home), "")
        if group.layer in near and other in far:
            issues += _differences(group.layer, near[group.layer], far[other])
    return issues


def _differences(layer: str, one: NormSettings, other: NormSettings) -> Iterator[Issue]:
    hint = "build the target with the source's value, and save its checkpoint anew for --template"
    for name, near, far, effect in (
        ("epsilon", one.epsilon, other.epsilon, _of_epsilon),
        ("momentum", one.momentum, other.momentum, _of_momentum),
    ):
        if near is not None and far is not None and near != far:
            message = f"{name} is {near:g} in the source and {far:g} in the template: {effect(near, far)}"
            yield Issue("batchnorm", "warning", layer, message, hint)


def _of_epsilon(near: float, far: float) -> str:
    if near < 0 or far < 0:
        return "an epsilon is no negative number"
    factors = [f"{sqrt((v + near) / (v + far)):.5g} at a variance of {v:g}" for v in (1, 0.01)]
    return f"outputs are multiplied by {', '.join(factors)}"


def _of_momentum(near: float, far: float) -> str:
    return "predictions stay the same; in training on, the statistics follow the batches at another rate"
