"""A child process that is asked one question: what it answered, or how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT = 1800.0  # seconds; a restore of tens of gigabytes ends well before

# Before TensorFlow is imported: no log lines, no accelerator.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}


def ask(module: str, request: Mapping[str, Any], folder: Path, timeout: float) -> dict[str, Any] | str:
    """Runs `python -m MODULE REQUEST.json` and gives the JSON document it wrote, or in words how it ended.

    Args:
        module: A module of this package that calls `answer`.
        request: JSON-able.
        folder: Empty or ours; the child starts there.
        timeout: Seconds until the child is stopped.
    """
    question, answered = folder / "request.json", folder / "answer.json"
    answered.unlink(missing_ok=True)
    question.write_text(json.dumps({**request, "answer": str(answered)}))
    try:
        # `-m` lets Python import from the current folder: that must be ours, not one where someone's download lies.
        done = subprocess.run(
            [sys.executable, "-m", module, str(question)],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"gave no answer within {timeout:g} s"
    if done.returncode == 0 and answered.exists():
        told: dict[str, Any] = json.loads(answered.read_text())
        return told
    return _last_words(done)


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"ended with exit code {done.returncode}: {lines[-1] if lines else 'no message'}"


def asked() -> dict[str, Any]:
    """In the child: the request."""
    os.environ.update(QUIET)
    request: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return request


def answer(request: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    """In the child: the answer to a request."""
    Path(request["answer"]).write_text(json.dumps(document))
