"""Configured: a checkpoint whose configuration is told as the Keras that the output is for tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ckptmigrate.framework.configuration import translate
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint

_CONFIG, _TRAINING, _METADATA = "model_config", "training_config", "metadata.json"
_ARCHIVE = ".keras"
_STEEPER = "hard_sigmoid"  # clip(0.2x + 0.5) until Keras 3, relu6(x + 3)/6 there


def configured(source: Checkpoint, target: str, name: str, flavor: str) -> tuple[Checkpoint, str, tuple[Issue, ...]]:
    """The checkpoint with the configuration that a whole model's file needs, its flavor, and what was found.

    Args:
        source: The checkpoint to move.
        target: The target format's id.
        name: The output's base name.
        flavor: tf_keras | keras3 | paths, or "" for the source's.

    Raises:
        UsageError: The Keras that translates isn't installed.
        TargetError: The configuration can't be translated.
    """
    blobs = source.structure.blobs
    wanted = _needed(source, target, name, flavor)
    if not wanted:
        return source, flavor, ()
    config, training = (blobs.get(key, b"").decode("utf-8", "surrogateescape") for key in (_CONFIG, _TRAINING))
    is_new = _version(source).startswith("3")
    told = translate(config, training, wanted, str(source.path), is_new=is_new)
    kept = {key: blob for key, blob in blobs.items() if key not in (_METADATA, _TRAINING)}
    facts = json.dumps({"keras_version": told.version})
    new = {_CONFIG: told.config.encode(), _METADATA: facts.encode()}
    structure = replace(source.structure, blobs={**kept, **new})
    title = "Keras" if wanted == "keras3" else wanted
    message = f"the model's configuration is translated by {title} {told.version}"
    issues = [Issue("configuration", "note", "", message)]
    if told.uncompiled:
        message = f"optimizer, loss and metrics aren't in the new configuration: {told.uncompiled}"
        issues.append(Issue("configuration", "warning", "", message, "call model.compile after loading"))
    if wanted == "keras3" and not is_new:
        issues += _changed(json.loads(config))
    return replace(source, structure=structure), wanted, tuple(issues)


def flavor_of(source: Checkpoint, target: str, name: str, flavor: str) -> str:
    """The flavor of an output: as asked, else the one that its configuration was translated for, else ""; see above."""
    return _needed(source, target, name, flavor) or flavor


def _needed(source: Checkpoint, target: str, name: str, flavor: str) -> str:
    """The flavor to translate a configuration to; "" where it is right, or the output holds none."""
    if _CONFIG not in source.structure.blobs or flavor == "paths":
        return ""
    own = "keras3" if _version(source).startswith("3") else "tf_keras"
    wanted = flavor or own
    if target == "keras-v3" and name.endswith(_ARCHIVE):
        return "" if wanted == own and _is_archived(source) else wanted
    return wanted if target == "keras-h5" and wanted != own else ""


def _version(source: Checkpoint) -> str:
    version = source.metadata.get("keras_version")
    return version if isinstance(version, str) else ""


def _is_archived(source: Checkpoint) -> bool:
    """Whether the configuration names the modules of its classes, as those in .keras files do."""
    try:
        told = json.loads(source.structure.blobs[_CONFIG])
    except (ValueError, RecursionError):
        return True  # what can't be read can't be translated either; its writer says so
    return isinstance(told, dict) and isinstance(told.get("module"), str)


def _changed(told: Any) -> Iterator[Issue]:
    """Layers that compute something else in Keras 3."""
    found = sorted({name for name, config in _settings(told) if _STEEPER in map(str, config.values())})
    if found:
        message = (
            f"{len(found)} layers use hard_sigmoid, which is a steeper function until Keras 3: predictions will differ"
        )
        hint = "--flavor tf_keras keeps it; --allow-loss accepts the difference"
        yield Issue("unholdable", "loss", found[0], message, hint)


def _settings(told: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(told, dict):
        config = told.get("config")
        if isinstance(config, dict):
            yield str(config.get("name", "")), config
        for value in told.values():
            yield from _settings(value)
    elif isinstance(told, list):
        for value in told:
            yield from _settings(value)
