"""What the files of a SavedModel are called (tensorflow/python/saved_model/constants.py)."""

from __future__ import annotations

from pathlib import Path

PROTO = "saved_model.pb"
PROTO_TEXT = "saved_model.pbtxt"
KERAS_METADATA = "keras_metadata.pb"
FINGERPRINT = "fingerprint.pb"
HUB_MODULE = "tfhub_module.pb"
VARIABLES = "variables"
ASSETS = ("assets", "assets.extra")


def prefix_of(folder: Path) -> Path:
    """The prefix of the bundle with its variables."""
    return folder / VARIABLES / VARIABLES
