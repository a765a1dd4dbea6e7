"""The configuration of a `.keras` archive: carried as it is, from a file of the same form."""

from __future__ import annotations

import json

from ckptmigrate.formats.keras_v3.naming import METADATA_MEMBER, MODEL_CONFIG, VERSION
from ckptmigrate.table import Checkpoint


def version_of(checkpoint: Checkpoint) -> str:
    """The Keras that wrote a checkpoint; "" where it doesn't tell."""
    version = checkpoint.metadata.get(VERSION)
    return version if isinstance(version, str) else ""


def archive_config(checkpoint: Checkpoint) -> bytes | None:
    """The `config.json` for a checkpoint; None where there is no configuration, or none that a .keras file can hold.

    Legacy .h5 files, also those of today's Keras, don't name the modules of classes, without which no .keras loads.
    """
    blob = checkpoint.structure.blobs.get(MODEL_CONFIG)
    try:
        told = json.loads(blob) if blob is not None else None
    except (ValueError, RecursionError):
        return None
    return blob if isinstance(told, dict) and isinstance(told.get("module"), str) else None


def metadata_of(checkpoint: Checkpoint) -> bytes:
    """The `metadata.json` that goes with it: the source's own, or the version alone; no time of ours."""
    blob = checkpoint.structure.blobs.get(METADATA_MEMBER)
    return blob if blob is not None else json.dumps({VERSION: version_of(checkpoint)}).encode()
