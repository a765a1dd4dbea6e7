"""The parent's side of a framework check: asks a child process, and turns its end into issues.

A bad file can crash TensorFlow (on opening, or on reading); it must not crash us.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ckptmigrate.errors import UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint

INSTALL = "pip install 'ckptmigrate[tensorflow]'"
TIMEOUT = 1800.0  # seconds; a restore of tens of gigabytes ends well before

# format -> module that must be installed for its check
NEEDS = {"tf1": "tensorflow", "tf1-v1": "tensorflow", "tf2": "tensorflow", "safetensors": "safetensors", "npz": "numpy"}


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
    request = {"path": str(checkpoint.path.absolute()), "format": checkpoint.format}
    with tempfile.TemporaryDirectory(prefix="ckptmigrate-") as folder:
        return _ask(request, Path(folder), timeout)


def _require(module: str, format_name: str) -> None:
    if not sys.executable or importlib.util.find_spec(module) is None:
        raise UsageError(f"the framework check of a {format_name} file needs {module}", hint=INSTALL)


def _ask(request: dict[str, str], folder: Path, timeout: float) -> tuple[tuple[Issue, ...], dict[str, Any]]:
    question, answer = folder / "request.json", folder / "answer.json"
    question.write_text(json.dumps({**request, "answer": str(answer)}))
    command = [sys.executable, "-m", "ckptmigrate.framework.child", str(question)]
    try:
        # `-m` lets Python import from the current folder: that must be ours, not one where someone's download lies.
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return _failed(request, f"gave no answer within {timeout:g} s"), {"checked_by": "nothing"}
    if done.returncode == 0 and answer.exists():
        told = json.loads(answer.read_text())
        return tuple(Issue(**issue) for issue in told["issues"]), told["details"]
    return _failed(request, _last_words(done)), {"checked_by": "nothing"}


def _failed(request: dict[str, str], message: str) -> tuple[Issue, ...]:
    return (Issue("framework", "error", "", f"the framework check {message}", "", request["path"]),)


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}: the file kills the program that reads it"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"ended with exit code {done.returncode}: {lines[-1] if lines else 'no message'}"
