"""The parent's side of checks that run the user's own code: one child process for each side of `--model PKG.MOD:FN`.

A model may crash, hang, or set the framework up in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptmigrate.errors import UsageError
from ckptmigrate.framework.process import ask
from ckptmigrate.issues import Issue, exit_code
from ckptmigrate.report import Report, Row
from ckptmigrate.table import Checkpoint
from ckptmigrate.wire.remote import fetch

_MODEL = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*"


class FailedError(Exception):
    """A side gave nothing: its code raised, crashed or hung."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What `--model` names, to be asked side by side.

    Attributes:
        module: The child's module, which calls `given.serve`.
        model: `PKG.MOD:FN`.
        document: Where its protocol is described.
        folder: An empty folder, where the children leave arrays.
        timeout: Seconds for each side.
    """

    module: str
    model: str
    document: str
    folder: Path
    timeout: float

    @property
    def hint(self) -> str:
        """What to tell somebody whose --model isn't what it should be."""
        return f"{self.document} says what --model names"

    def check(self) -> None:
        """Raises UsageError where `model` isn't `PKG.MOD:FN`."""
        if not re.fullmatch(_MODEL, self.model):
            message = f"--model {self.model!r}: expected PKG.MOD:FN, a module and a function in it"
            raise UsageError(message, hint=self.hint)

    def ask(self, side: str, checkpoint: Checkpoint, **request: Any) -> dict[str, Any]:
        """What the child of one side answers.

        Raises:
            FailedError: It crashed, hung or raised.
            UsageError: `model` can't be imported, or isn't what it should be.
        """
        fetch(checkpoint.files)
        about = {"model": self.model, "side": side, "path": str(checkpoint.path.absolute())}
        place = {"cwd": str(Path.cwd()), "folder": str(self.folder)}
        told = ask(self.module, {**about, **place, **request}, self.folder, self.timeout)
        if isinstance(told, str):
            raise FailedError(f"the {side} model {told}")
        if "usage" in told:
            raise UsageError(told["usage"], hint=self.hint)
        if "failed" in told:
            raise FailedError(f"the {side} model failed: {told['failed']}")
        return told


def report(
    source: Checkpoint, target: Checkpoint, rows: Sequence[Row], issues: Sequence[Issue], details: Mapping[str, Any]
) -> Report:
    """The report of a check that compared what two sides did."""
    told = (*source.issues, *target.issues, *issues)
    return Report(
        source={"path": str(source.path), "format": source.format, "files": [str(f) for f in source.files]},
        target={"path": str(target.path), "format": target.format, "files": [str(f) for f in target.files]},
        verdict="differs" if exit_code(told, allow_loss=True) else "verified",
        rows=tuple(rows),
        issues=told,
        allow_loss=True,
        details=details,
    )
