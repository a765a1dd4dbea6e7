"""average: the mean of several checkpoints of one model, tensor by tensor."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate import formats
from ckptmigrate.conversion import convert
from ckptmigrate.errors import SourceError, UsageError
from ckptmigrate.formats.paths import resolve
from ckptmigrate.issues import Issue
from ckptmigrate.progress import Progress, no_progress
from ckptmigrate.report import Report
from ckptmigrate.table import Checkpoint, Tensor, Variable
from ckptmigrate.urls import is_remote
from ckptmigrate.wire import store
from ckptmigrate.wire.names import INDEX_SUFFIX

_STEPS = ("global_step", "step", "iterations", "save_counter")
_SHOWN = 10  # names in a message


def average(
    sources: Sequence[str | Path],
    destination: str | Path,
    *,
    to: str = "",
    from_: str = "",
    verify: str = "bits",
    force: bool = False,
    progress: Progress = no_progress,
    **mapping: Any,
) -> Report:
    """Averages checkpoints: the mean of every float variable; counters and all else as the newest has them.

    Means are computed in float64 and rounded once. Optimizer state belongs to one point of training, and is left out.

    Args:
        sources: Two or more checkpoints of one model: paths as people have them, and patterns (`train/ckpt-*`).
        destination: As in `convert`.
        to: The target format's id; "" for that of the newest.
        from_: The sources' format; "" finds out.
        verify, force, progress, mapping: As in `convert`.

    Raises:
        CkptMigrateError: Fewer than two checkpoints, or not of one model.
    """
    paths = expand(sources)
    if len(paths) < 2:
        found = ", ".join(map(str, paths)) or "none"
        raise UsageError(f"an average takes two checkpoints or more, found {found}", hint="ckptmigrate average A B DST")
    with ExitStack() as stack:
        opened = [stack.enter_context(formats.open_checkpoint(path, from_)) for path in paths]
        newest = max(opened, key=_progress)
        mean = averaged(opened, newest)
        report = convert(
            mean, destination, to=to or newest.format, optimizer="drop", verify=verify, force=force, progress=progress,
            **{"averages": "drop", **mapping},
        )  # fmt: skip
    return replace(report, details={**report.details, "averaged": [str(c.path) for c in opened]})


def expand(patterns: Iterable[str | Path]) -> list[str | Path]:
    """The checkpoints that paths and patterns name, each once, in natural order (`ckpt-9` before `ckpt-10`).

    Raises:
        SourceError: A pattern fits nothing.
    """
    found: dict[str | Path, None] = {}
    for pattern in map(str, patterns):
        is_url = is_remote(pattern)
        is_pattern = glob.has_magic(pattern) and (is_url or not Path(pattern).exists())
        fitting = (store.glob if is_url else glob.glob)(pattern) if is_pattern else [pattern]
        named = sorted(filter(_may_be_checkpoint, fitting), key=_natural)
        if not named:
            raise SourceError(
                "no checkpoint fits this pattern", where=pattern, hint="quote it, so that the shell leaves it"
            )
        found.update((name.removesuffix(INDEX_SUFFIX) if is_url else resolve(name).path, None) for name in named)
    return list(found)


def _may_be_checkpoint(name: str) -> bool:
    """Of a bundle's files the index stands for all."""
    return not re.search(r"\.(data-\d+-of-\d+|meta)$", name) and Path(name).name != "checkpoint"


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _progress(checkpoint: Checkpoint) -> int:
    """How far training was: the first counter that the file has, else an optimizer's step."""
    for name in _STEPS:
        variable = checkpoint.variables.get(name)
        if variable is not None and variable.tensor.shape == () and not variable.tensor.dtype.is_float:
            return int(variable.tensor.read())
    return max((state.step for state in checkpoint.optimizers if state.step is not None), default=0)


def averaged(checkpoints: Sequence[Checkpoint], newest: Checkpoint) -> Checkpoint:
    """`newest` with the mean of every float variable, computed when it is read.

    Raises:
        SourceError: They differ in names, shapes or types of their variables.
    """
    for other in checkpoints:
        _check_alike(newest, other)
    variables = {name: _mean_of(variable, checkpoints) for name, variable in newest.variables.items()}
    is_alone = [checkpoint.path.name for checkpoint in checkpoints].count(newest.path.name) == 1
    told = newest.path.name if is_alone else newest.path
    text = f"mean of {len(checkpoints)} checkpoints; counters, tables and strings are those of {told}"
    issue = Issue("average", "note", "", text, "optimizer state belongs to one point of training, and is left out")
    files = dict.fromkeys(file for checkpoint in (newest, *checkpoints) for file in checkpoint.files)
    return replace(newest, variables=variables, issues=(*newest.issues, issue), files=tuple(files), closers=())


def _mean_of(variable: Variable, checkpoints: Sequence[Checkpoint]) -> Variable:
    tensor = variable.tensor
    if not tensor.dtype.is_float or variable.role in ("counter", "rng", "iterator"):
        return variable
    tensors = [checkpoint.variables[variable.name].tensor for checkpoint in checkpoints]
    return replace(variable, tensor=Tensor(tensor.shape, tensor.dtype, lambda: _mean(tensors)))


def _mean(tensors: Sequence[Tensor]) -> np.ndarray[Any, Any]:
    """One tensor at a time, summed in float64."""
    total = np.zeros(tensors[0].shape, np.float64)
    for tensor in tensors:
        total += tensor.read()
    total /= len(tensors)
    return total.astype(tensors[0].dtype.numpy)


def _check_alike(one: Checkpoint, other: Checkpoint) -> None:
    names = one.variables.keys() ^ other.variables.keys()
    differing = [
        name
        for name, variable in one.variables.items()
        if name in other.variables and _form(variable) != _form(other.variables[name])
    ]
    if names or differing:
        told = sorted(names) or [f"{n}: {_form(one.variables[n])} and {_form(other.variables[n])}" for n in differing]
        shown = ", ".join(told[:_SHOWN]) + (", ..." if len(told) > _SHOWN else "")
        what = "variables that only one of them has" if names else "variables of other shapes"
        hint = f"ckptmigrate diff {one.path} {other.path}"
        raise SourceError(f"not of the same model as {one.path}: {what}: {shown}", where=str(other.path), hint=hint)


def _form(variable: Variable) -> str:
    return f"{variable.tensor.dtype} {list(variable.tensor.shape)}"
