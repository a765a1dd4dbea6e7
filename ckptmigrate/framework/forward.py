"""The parent's side of a forward check: the user's two models get the same inputs; their outputs are compared.

docs/forward.md describes what `--model PKG.MOD:FN` names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.framework.difference import difference
from ckptmigrate.framework.given import Entries
from ckptmigrate.framework.process import TIMEOUT
from ckptmigrate.framework.sides import FailedError, Sides, report
from ckptmigrate.issues import Issue
from ckptmigrate.report import Report, Row
from ckptmigrate.table import Checkpoint

# Of float32 models that are the same: rounding differs by some 1e-6 of an output's largest value, more in deep ones;
# another epsilon in batch normalisation (1e-3 for 1e-5) makes some 1e-3.
RTOL = 1e-4
ATOL = 1e-6


def forward(
    source: Checkpoint, target: Checkpoint, model: str, *, rtol: float = RTOL, atol: float = ATOL,
    timeout: float = TIMEOUT,
) -> Report:  # fmt: skip
    """Runs both models on the same inputs and compares what they put out, in the order in which the source gives it.

    Args:
        source, target: The checkpoints that the models restore; only their paths are used.
        model: `PKG.MOD:FN`, see docs/forward.md. Its code is run.
        rtol, atol: Two outputs are equal when no difference exceeds `atol + rtol * (largest value of the source's)`.
        timeout: Seconds for each model.

    Returns:
        A report with one row per output.

    Raises:
        UsageError: `model` can't be imported, or isn't what it should be.
    """
    details: dict[str, Any] = {"model": model, "rtol": rtol, "atol": atol}
    rows: Sequence[Row] = ()
    issues: Sequence[Issue] = ()
    with tempfile.TemporaryDirectory(prefix="ckptmigrate-") as name:
        sides = Sides("ckptmigrate.framework.models", model, "docs/forward.md", Path(name), timeout)
        sides.check()
        try:
            ours = sides.ask("source", source, given=[])
            details["inputs"] = [{"name": entry["name"], "shape": entry["shape"]} for entry in ours["inputs"]]
            theirs = sides.ask("target", target, given=ours["inputs"])
            rows, issues = _compared(ours["outputs"], theirs["outputs"], Path(name), details)
        except FailedError as error:
            issues = (Issue("forward", "error", "", str(error)),)
    return report(source, target, rows, issues, {"forward": details})


def _compared(
    ours: Entries, theirs: Entries, folder: Path, details: Mapping[str, Any]
) -> tuple[list[Row], tuple[Issue, ...]]:
    """One row per output, and an issue about the first that differs."""
    found = {entry["name"]: entry for entry in theirs}
    rows: list[Row] = []
    issues: list[Issue] = []
    for entry in ours:
        other = found.pop(entry["name"], None)
        if other is None:
            rows.append(Row(entry["name"], "", entry["name"], "missing", detail="only the source model gives it"))
            continue
        row, constant = _row(entry, other, folder, details)
        rows.append(row)
        issues += [constant] if constant else []
    rows += [Row(name, "", "", "extra", detail="only the target model gives it") for name in found]
    failed = [row for row in rows if row.outcome != "equal"]
    if failed:
        before = rows.index(failed[0])
        message = f"the first output that differs ({before} before it are equal): {failed[0].detail}"
        issues.insert(0, Issue("forward", "error", failed[0].name, message))
    return rows, tuple(issues)


def _row(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], folder: Path, details: Mapping[str, Any]
) -> tuple[Row, Issue | None]:
    name = str(ours["name"])
    if ours["shape"] != theirs["shape"]:
        return Row(
            name, "", name, "differs", detail=f"shape {theirs['shape']} where the source has {ours['shape']}"
        ), None
    left, right = (np.load(folder / entry["file"], mmap_mode="r") for entry in (ours, theirs))
    found = difference(left, right)
    allowed = details["atol"] + details["rtol"] * found.scale
    row = Row(name, "", name, "equal" if found.largest <= allowed else "differs", detail=str(found))
    if row.outcome != "equal" or not found.is_constant:
        return row, None
    return row, Issue("forward", "warning", name, "is the same number everywhere, or none: this proves little")
