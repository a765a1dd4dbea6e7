"""The parent's side of translating a model's configuration for another Keras: that Keras does it, in a child."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ckptmigrate.errors import TargetError, UsageError
from ckptmigrate.framework.process import TIMEOUT, ask

INSTALL = "pip install 'ckptmigrate[tensorflow]'"
FLAVORS = {"keras3": "keras", "tf_keras": "tf_keras"}  # flavor -> the package that tells configurations of it
_TITLES = {"keras3": "Keras 3", "tf_keras": "tf_keras"}
_HINT = (
    "build the model anew with {}, save it, and add it as --template; "
    "or write weights alone: --to keras-v3, NAME.weights.h5"
)


@dataclass(frozen=True, slots=True)
class Translated:
    """A configuration as a Keras tells it.

    Attributes:
        config: Text of a `config.json`.
        version: Of the Keras that told it.
        uncompiled: Why it holds no optimizer, loss and metrics; "" where it does, or there were none.
    """

    config: str
    version: str
    uncompiled: str = ""


def translate(
    config: str, training: str, flavor: str, where: str, *, is_new: bool, timeout: float = TIMEOUT
) -> Translated:
    """A model's configuration for Keras 3 or tf_keras.

    Args:
        config, training: Texts of JSON; "" for no training configuration.
        flavor: keras3 | tf_keras.
        where: The file it is from.
        is_new: Keras 3 told it.
        timeout: Seconds until the child is stopped.

    Raises:
        UsageError: That Keras isn't installed.
        TargetError: It can't be translated: classes that aren't Keras' own, code, settings that the other Keras lacks;
            tf_keras reads nothing that Keras 3 tells, not even an InputLayer.
    """
    package, title = FLAVORS[flavor], _TITLES[flavor]
    hint = _HINT.format(title)
    if is_new and flavor == "tf_keras":
        message = "the model's configuration is told by Keras 3, and tf_keras can't read that"
        raise TargetError(message, where=where, hint=hint)
    if not sys.executable or any(importlib.util.find_spec(name) is None for name in {package, "keras"}):
        message = f"the model's configuration has to be translated for {title}, by {title}, which isn't installed"
        raise UsageError(message, where=where, hint=f"{INSTALL}; or --template with a file of the model")
    request = {"config": config, "training": training, "to": flavor, "is_new": is_new}
    with tempfile.TemporaryDirectory(prefix="ckptmigrate-") as folder:
        told = ask("ckptmigrate.framework.configuring", request, Path(folder), timeout)
    if isinstance(told, str) or "failed" in told:
        why = told if isinstance(told, str) else told["failed"]
        raise TargetError(f"the model's configuration can't be translated for {title}: {why}", where=where, hint=hint)
    return Translated(told["config"], told["version"], told["uncompiled"])
