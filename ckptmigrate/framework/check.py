"""The parent's side of a framework check: asks a child process, and turns its end into issues.

A bad file can crash TensorFlow (on opening, or on reading); it must not crash us.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from ckptmigrate.errors import UsageError
from ckptmigrate.framework.process import TIMEOUT, ask
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint
from ckptmigrate.wire.remote import fetch

INSTALL = "pip install 'ckptmigrate[tensorflow]'"

# format -> module that must be installed for its check
NEEDS = {
    **dict.fromkeys(("tf1", "tf1-v1", "tf2", "savedmodel"), "tensorflow"),
    "safetensors": "safetensors",
    "npz": "numpy",
}


def check(checkpoint: Checkpoint, *, timeout: float = TIMEOUT) -> tuple[tuple[Issue, ...], dict[str, Any]]:
    """Lets the original program restore every variable and slot of a checkpoint and compare bits.

    Args:
        checkpoint: The output, reopened; its files must still lie where it was opened.
        timeout: Seconds until the child is stopped.

    Returns:
        The findings (kind `framework`), and for the report {"checked_by", "restored", ...}.

    Raises:
        UsageError: The program that judges this format isn't installed.
    """
    needed = NEEDS.get(checkpoint.format)
    if needed is None:
        message = f"no framework check for format {checkpoint.format}"
        return (Issue("framework", "warning", "", message),), {"checked_by": "nothing"}
    _require(needed, checkpoint.format)
    fetch(checkpoint.files)
    request = {"path": str(checkpoint.path.absolute()), "format": checkpoint.format}
    with tempfile.TemporaryDirectory(prefix="ckptmigrate-") as folder:
        return _ask(request, Path(folder), timeout)


def _require(module: str, format_name: str) -> None:
    if not sys.executable or importlib.util.find_spec(module) is None:
        raise UsageError(f"the framework check of a {format_name} file needs {module}", hint=INSTALL)


def _ask(request: dict[str, str], folder: Path, timeout: float) -> tuple[tuple[Issue, ...], dict[str, Any]]:
    told = ask("ckptmigrate.framework.child", request, folder, timeout)
    if isinstance(told, str):
        return _failed(request, told), {"checked_by": "nothing"}
    return tuple(Issue(**issue) for issue in told["issues"]), told["details"]


def _failed(request: dict[str, str], message: str) -> tuple[Issue, ...]:
    hint = "the file kills the program that reads it" if message.startswith("crashed") else ""
    return (Issue("framework", "error", "", f"the framework check {message}", hint, request["path"]),)
