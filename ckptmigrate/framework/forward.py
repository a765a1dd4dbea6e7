"""The parent's side of a forward check: the user's two models get the same inputs; their outputs are compared.

docs/forward.md describes what `--model PKG.MOD:FN` names. Each model runs in a child process of its own: it may crash,
hang, or set the framework up in its own way.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.errors import UsageError
from ckptmigrate.framework.models import PROTOCOL
from ckptmigrate.framework.process import TIMEOUT, ask
from ckptmigrate.issues import Issue, exit_code
from ckptmigrate.report import Report, Row
from ckptmigrate.table import Checkpoint

# Of float32 models that are the same: rounding differs by some 1e-6 of an output's largest value, more in deep ones;
# another epsilon in batch normalisation (1e-3 for 1e-5) makes some 1e-3.
RTOL = 1e-4
ATOL = 1e-6

BLOCK = 1 << 20  # elements that are compared at a time

Array = np.ndarray[Any, Any]
Entries = Sequence[Mapping[str, Any]]  # {"name", "file", "shape"}


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two arrays of one shape are from each other.

    Attributes:
        largest: The largest absolute difference; infinite where one side alone isn't finite.
        scale: The largest finite absolute value of the source.
        at: Where the largest difference is; () for scalars.
        source, target: The two numbers there.
        is_constant: All numbers of the source have one absolute value, or none is finite.
    """

    largest: float
    scale: float
    at: tuple[int, ...]
    source: Any
    target: Any
    is_constant: bool

    @property
    def relative(self) -> float:
        """The largest difference, of the source's largest value."""
        return self.largest / self.scale if self.scale else (0.0 if self.largest == 0 else float("inf"))

    def __str__(self) -> str:
        if self.largest == 0:
            return "no difference"
        where = f" at [{','.join(map(str, self.at))}]" if self.at else ""
        numbers = f"{self.source:.7g} and {self.target:.7g}"
        return f"largest difference {self.largest:.2g}{where} ({numbers}), {self.relative:.2g} of the largest value"


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
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", model):
        raise UsageError(f"--model {model!r}: expected PKG.MOD:FN, a module and a function in it", hint=PROTOCOL)
    details: dict[str, Any] = {"model": model, "rtol": rtol, "atol": atol}
    rows: Sequence[Row] = ()
    issues: Sequence[Issue] = ()
    with tempfile.TemporaryDirectory(prefix="ckptmigrate-") as name:
        folder = Path(name)
        request = {"model": model, "cwd": str(Path.cwd()), "folder": name}
        try:
            ours = _run(
                {**request, "side": "source", "path": str(source.path.absolute()), "given": []}, folder, timeout
            )
            details["inputs"] = [{"name": entry["name"], "shape": entry["shape"]} for entry in ours["inputs"]]
            given = {"path": str(target.path.absolute()), "given": ours["inputs"]}
            theirs = _run({**request, "side": "target", **given}, folder, timeout)
            rows, issues = _compared(ours["outputs"], theirs["outputs"], folder, details)
        except _FailedError as error:
            issues = (Issue("forward", "error", "", str(error)),)
    issues = (*source.issues, *target.issues, *issues)
    return Report(
        source={"path": str(source.path), "format": source.format, "files": [str(f) for f in source.files]},
        target={"path": str(target.path), "format": target.format, "files": [str(f) for f in target.files]},
        verdict="differs" if exit_code(issues, allow_loss=True) else "verified",
        rows=tuple(rows),
        issues=issues,
        allow_loss=True,
        details={"forward": details},
    )


class _FailedError(Exception):
    """A model gave no outputs."""


def _run(request: dict[str, Any], folder: Path, timeout: float) -> dict[str, Any]:
    """What one model's child answered: its inputs and outputs."""
    told = ask("ckptmigrate.framework.models", request, folder, timeout)
    if isinstance(told, str):
        raise _FailedError(f"the {request['side']} model {told}")
    if "usage" in told:
        raise UsageError(told["usage"], hint=told["hint"])
    if "failed" in told:
        raise _FailedError(f"the {request['side']} model failed: {told['failed']}")
    return told


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


def difference(ours: Array, theirs: Array) -> Difference:
    """Compares two arrays of one shape, block by block; NaN equals NaN, an infinity itself."""
    if ours.size == 0:
        return Difference(0.0, 0.0, (), 0.0, 0.0, True)
    left, right = ours.reshape(-1), theirs.reshape(-1)
    largest, scale, at = -1.0, 0.0, 0
    low, high = np.inf, -np.inf
    for start in range(0, left.size, BLOCK):
        a, b = (_wide(x[start : start + BLOCK]) for x in (left, right))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        apart[np.isnan(apart)] = np.inf
        worst = int(apart.argmax())
        if apart[worst] > largest:
            largest, at = float(apart[worst]), start + worst
        sizes = np.abs(a[np.isfinite(a)])
        scale = max(scale, float(sizes.max(initial=0.0)))
        low, high = min(low, float(sizes.min(initial=np.inf))), max(high, float(sizes.max(initial=-np.inf)))
    place = tuple(int(i) for i in np.unravel_index(at, ours.shape))
    return Difference(largest, scale, place, _number(left[at]), _number(right[at]), ours.size > 1 and low >= high)


def _wide(block: Array) -> Array:
    """Numbers in which a difference doesn't overflow: complex128 or float64."""
    return block.astype(np.complex128 if block.dtype.kind == "c" else np.float64)


def _number(value: Any) -> Any:
    return complex(value) if np.iscomplexobj(value) else float(value)
