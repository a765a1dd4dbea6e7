"""What a checkpoint holds, as plain data: the JSON document of `inspect`, and statistics of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ckptmigrate.batchnorm import batch_norms
from ckptmigrate.dtypes import STRING, VARIANT
from ckptmigrate.errors import CkptMigrateError, UsageError
from ckptmigrate.norm_settings import norm_settings
from ckptmigrate.table import Checkpoint, OptimizerState, Stored, Tensor, Variable
from ckptmigrate.urls import spoken

SCALAR_BYTES = 64  # what may be read without being asked for: counters and hyperparameters, no weights
CHUNK = 1 << 20  # elements looked at in one go


def fitting(checkpoint: Checkpoint, text: str) -> Checkpoint:
    """The part of a checkpoint whose variables a pattern of the mapping language fits, by any of their names.

    Raises:
        UsageError: It is no pattern.
    """
    from ckptmigrate.mapping.braces import compile_pattern
    from ckptmigrate.mapping.names import Names

    names = Names(checkpoint)
    try:
        pattern = compile_pattern(text)
    except ValueError as error:
        raise UsageError(
            f"{text} is no pattern: {error}", hint="'block_{n:int}/{leaf}', '{scope:path}/kernel'"
        ) from error
    kept = frozenset(variable.name for variable in names.fitting(pattern))
    return selected(checkpoint, lambda variable: variable.name in kept)


def selected(checkpoint: Checkpoint, keep: Callable[[Variable], bool]) -> Checkpoint:
    """The checkpoint with only the variables that `keep` takes, and their slots."""
    kept = {v.name: v for v in checkpoint.variables.values() if keep(v)}
    if len(kept) == len(checkpoint.variables):
        return checkpoint  # with the slots whose variable isn't there
    states = tuple(_of_variables(state, kept) for state in checkpoint.optimizers)
    return replace(checkpoint, variables=kept, optimizers=states)


def _of_variables(state: OptimizerState, kept: Container[str]) -> OptimizerState:
    slots = {key: stored for key, stored in state.slots.items() if key.variable in kept}
    return replace(state, slots=slots, wraps=_of_variables(state.wraps, kept) if state.wraps else None)


def value(tensor: Tensor) -> Any:
    """The value of a scalar of at most 64 bytes as JSON can hold it; None when it is larger or can't be read."""
    if tensor.is_open or tensor.shape != () or tensor.dtype is VARIANT or tensor.nbytes > SCALAR_BYTES:
        return None
    try:
        element = tensor.read()[()]
    except CkptMigrateError:
        return None
    if isinstance(element, bytes):
        return element.decode("utf-8", "backslashreplace")
    if tensor.dtype.is_float:
        return _number(float(element), tensor)
    return element.item() if np.dtype(type(element)).kind in "biu" else str(element)


def _number(number: float, tensor: Tensor) -> float | str:
    """The shortest decimal that is this float32, not its 17 digits; JSON has no word for NaN and infinities."""
    if not math.isfinite(number):
        return str(number)
    return number if tensor.dtype.name == "float64" else float(str(np.float32(number)))


def statistics(tensor: Tensor) -> dict[str, Any]:
    """Looks at every element, a million at a time: min, max, mean, std of the finite ones; zeros, NaN and Inf counts.

    Strings and variants have a count only; of complex numbers the absolute values are taken.
    """
    if tensor.is_open or tensor.dtype in (STRING, VARIANT):
        return {"elements": tensor.size}
    flat = tensor.read().reshape(-1)
    count, mean, m2, zeros, nans, infs = 0, 0.0, 0.0, 0, 0, 0
    low, high = math.inf, -math.inf
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        part = np.abs(part).astype(np.float64) if part.dtype.kind == "c" else part.astype(np.float64)
        zeros, nans, infs = (
            zeros + int((part == 0).sum()),
            nans + int(np.isnan(part).sum()),
            infs + int(np.isinf(part).sum()),
        )
        part = part[np.isfinite(part)]
        if not part.size:
            continue
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        # Chan's update: the squares of a large mean would swallow a small deviation
        delta, total = float(part.mean()) - mean, count + part.size
        m2 += float(part.var()) * part.size + delta * delta * count * part.size / total
        mean, count = mean + delta * part.size / total, total
    numbers = {"min": low, "max": high, "mean": mean, "std": math.sqrt(m2 / count)} if count else {}
    return {"elements": int(flat.size), **numbers, "zeros": zeros, "nan": nans, "inf": infs}


def inspect_json(checkpoint: Checkpoint, *, stats: bool = False) -> dict[str, Any]:
    """The JSON document of `inspect` (design section 5). Reads small scalars, no more without `stats`.

    Args:
        checkpoint: Any checkpoint.
        stats: Read every tensor and add its statistics.
    """
    return {
        "path": spoken(str(checkpoint.path)),
        "format": checkpoint.format,
        "files": [spoken(str(f)) for f in checkpoint.files],
        "metadata": dict(checkpoint.metadata),
        "variables": [_variable(v, stats) for v in checkpoint.variables.values()],
        "optimizers": [_optimizer(state, stats) for state in checkpoint.optimizers],
        "batch_norms": list(_batch_norms(checkpoint)),
        "issues": [issue.to_json() for issue in checkpoint.issues],
    }


def _batch_norms(checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
    told = norm_settings(checkpoint)
    for group in batch_norms(checkpoint).values():
        settings = told[group.layer]._asdict() if group.layer in told else {"epsilon": None, "momentum": None}
        yield {"layer": group.layer, "variables": dict(group.parts), **settings}


def _variable(variable: Variable, stats: bool) -> dict[str, Any]:
    tensor = variable.tensor
    document = {
        "name": variable.name,
        "key": variable.key,
        "dtype": tensor.dtype.name,
        "shape": None if tensor.is_open else list(tensor.shape),
        "nbytes": tensor.nbytes,
        "role": variable.role,
        "trainable": variable.trainable,
        "aliases": {system: list(names) for system, names in variable.aliases.items()},
        "copies": list(variable.copies),
    }
    if variable.role == "counter":
        document["value"] = value(tensor)
    return document | ({"stats": statistics(tensor)} if stats else {})


def _optimizer(state: OptimizerState, stats: bool) -> dict[str, Any]:
    def stored(item: Stored) -> dict[str, Any]:
        tensor = item.tensor
        more: dict[str, Any] = {"copies": list(item.copies)} if item.copies else {}
        more |= {"stats": statistics(tensor)} if stats else {}
        return {"key": item.key, "dtype": tensor.dtype.name, "shape": list(tensor.shape), **more}

    document: dict[str, Any] = {
        "name": state.name,
        "kind": state.kind,
        "dialect": state.dialect,
        "step": state.step,
        "hyper": dict(state.hyper),
        "scalars": [{"name": n, **stored(s), "value": value(s.tensor)} for n, s in state.scalars.items()],
        "slots": [{"variable": k.variable, "slot": k.slot, **stored(s)} for k, s in state.slots.items()],
    }
    if state.unbound:
        document["unbound"] = [stored(s) for s in state.unbound]
    if state.wraps is not None:
        document["wraps"] = _optimizer(state.wraps, stats)
    if state.parent:
        document["parent"] = state.parent
    return document
