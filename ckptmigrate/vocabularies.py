"""Vocabularies: what layers learned that isn't a weight, where a target's files don't hold it."""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.keras_config import Configured, read_config
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.options import KEY_KEEPERS
from ckptmigrate.table import ASSETS, Checkpoint

_SHOWN = 20  # names in a message
_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})
_HINT = "name the output NAME.keras, which holds it, or give --template MODEL.keras, which has one"


def left_out(source: Checkpoint, template: Checkpoint | None, target: str, name: str) -> Iterator[Issue]:
    """What is to be said of vocabularies that a source has and an output hasn't.

    Args:
        source: The checkpoint to move.
        template: A checkpoint of the target model, which has its own.
        target: The target format's id.
        name: The output's base name.
    """
    if template is not None or target in KEY_KEEPERS:
        return
    left = [asset for asset in source.structure.blobs if asset.startswith(ASSETS)]
    if left and name.endswith(".keras"):
        return
    left += [asset for graph in source.metadata.get("meta_graphs", ()) for asset in graph["assets"]]
    if left:
        message = (
            f"not written: {', '.join(left[:_SHOWN])}; layers that learned a vocabulary must get it in another way"
        )
        yield Issue("assets", "warning", "", message, _HINT)
    elif untold := list(_untold(source)):
        message = f"the configuration has no vocabulary for {', '.join(untold[:_SHOWN])}: set it after loading"
        yield Issue("assets", "warning", untold[0], message, _HINT)


def _untold(source: Checkpoint) -> Iterator[str]:
    """Layers that look words up, in a configuration without these."""
    config = source.structure.blobs.get("model_config")
    try:
        model = read_config(config, "model_config") if config is not None else Configured("", "")
    except DamagedError:
        return
    for path, layer in model.walk():
        if layer.class_name in _LOOKUPS and not layer.config.get("vocabulary"):
            yield path
