"""The child's side of a framework check: `python -m ckptmigrate.framework.child REQUEST.json`.

REQUEST is {"path", "format", "answer"}; {"issues", "details"} is written to the file `answer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ckptmigrate.formats import open_checkpoint
from ckptmigrate.framework import arrays, savedmodel, tf1, tf2
from ckptmigrate.framework.compare import Finding
from ckptmigrate.framework.process import answer, asked
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint

CHECKS: dict[str, Callable[[Checkpoint], Finding]] = {
    "tf1": tf1.check,
    "tf1-v1": tf1.check,
    "tf2": tf2.check,
    "savedmodel": savedmodel.check,
    "safetensors": arrays.check_safetensors,
    "npz": arrays.check_npz,
}


def main() -> None:
    """Answers one request."""
    request = asked()
    finding = judge(request["path"], request["format"])
    answer(request, {"issues": [asdict(issue) for issue in finding.issues], "details": finding.details})


def judge(path: str, format_name: str) -> Finding:
    """Opens the checkpoint and lets the original program judge it, in this process."""
    with open_checkpoint(Path(path), format_name) as checkpoint:
        try:
            return CHECKS[format_name](checkpoint)
        except Exception as error:  # noqa: BLE001 - whatever the other program raises is its verdict on the file
            message = f"{type(error).__name__}: {str(error).strip()[:2000]}"
            return Finding((Issue("framework", "error", "", message, "", path),), {"checked_by": "nothing"})


if __name__ == "__main__":
    main()
