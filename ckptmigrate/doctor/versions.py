"""Versions: the Keras that wrote a file, and those that are installed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.doctor.case import Case
from ckptmigrate.issues import Issue

PACKAGES = ("keras", "tf_keras")


def examine_versions(case: Case) -> Iterator[Issue]:
    """A whole model of Keras 1 or 2 where Keras 3 is installed, and of a newer Keras than the installed one."""
    told = case.checkpoint.metadata.get("keras_version")
    wrote, keras = _version(told), _version(case.installed.get("keras"))
    if not wrote or not keras or not _is_whole(case):
        return
    if wrote[0] < 3 <= keras[0]:
        message = (
            f"a whole model of Keras {told}, and Keras {case.installed['keras']} is installed: load_model rebuilds it "
        )
        if wrote[0] == 1:
            message += "in no Keras since 2.3"
        else:
            message += "only where no setting of its layers has changed since; optimizers of Keras 2 it doesn't know"
        hint = "build the model in code and load weights: " + case.convert(to="keras-v3")
        if wrote[0] == 2 and "tf_keras" in case.installed:
            hint += f"\ntf_keras {case.installed['tf_keras']} is installed: tf_keras.models.load_model reads it"
        yield Issue("version", "note", "", message, hint)
    elif wrote[0] >= 3 and wrote[:2] > keras[:2]:
        message = (
            f"written by Keras {told}, newer than the installed {case.installed['keras']}, which may not know all of it"
        )
        yield Issue("version", "note", "", message, f"pip install 'keras>={told}'")


def _is_whole(case: Case) -> bool:
    return "model_config" in case.checkpoint.structure.blobs


def _version(text: object) -> tuple[int, ...]:
    """(3, 15) of `3.15.1`; () for what is none."""
    parts = text.split(".")[:2] if isinstance(text, str) else []
    return tuple(map(int, parts)) if parts and all(p.isascii() and p.isdecimal() for p in parts) else ()
