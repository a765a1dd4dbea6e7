"""What framework checks share: the findings, and the comparison of one tensor bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmigrate.dtypes import STRING
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        issues: Of kind `framework`.
        details: {"checked_by": program and version, "restored": number of tensors, ...}; JSON-able.
    """

    issues: tuple[Issue, ...]
    details: dict[str, Any] = field(default_factory=dict)


def stored_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by the key it is stored under, copies included."""
    tensors = {entry.key: entry.tensor for entry in checkpoint.rows() if entry.key}
    slots = [stored for state in checkpoint.optimizers for stored in state.slots.values()]
    copied = [(v.copies, v.tensor) for v in checkpoint.variables.values()] + [(s.copies, s.tensor) for s in slots]
    for keys, tensor in copied:
        tensors.update(dict.fromkeys(keys, tensor))
    return tensors


def differing_keys(ours: Iterable[str], theirs: Iterable[str], program: str) -> Iterator[Issue]:
    """One issue per key that only one of the two sees."""
    mine, other = set(ours), set(theirs)
    for key in sorted(mine - other):
        yield Issue("framework", "error", key, f"{program} doesn't see this key")
    for key in sorted(other - mine):
        yield Issue("framework", "error", key, f"{program} sees a key that we don't list")


def differing_values(tensors: Mapping[str, Tensor], read: Callable[[str], Array]) -> Iterator[Issue]:
    """One issue per tensor whose elements, as the other program reads them, are not ours bit for bit."""
    for key, tensor in tensors.items():
        difference = first_difference(tensor.read(), read(key), tensor.dtype is STRING)
        if difference:
            yield Issue("framework", "error", key, difference)


def first_difference(ours: Array, theirs: Array, is_string: bool = False) -> str:
    """Says in words where two arrays differ; "" when shape and bits agree."""
    theirs = np.asarray(theirs)
    if ours.shape != theirs.shape:
        return f"shape {list(theirs.shape)} where we read {list(ours.shape)}"
    if is_string:
        differs = np.array([a != b for a, b in zip(ours.ravel(), theirs.ravel(), strict=True)], dtype=bool)
    elif ours.dtype.itemsize != theirs.dtype.itemsize:
        return f"dtype {theirs.dtype} where we read {ours.dtype}"
    else:
        differs = (_bytes(ours) != _bytes(theirs)).any(axis=1)
    if not differs.any():
        return ""
    at = int(differs.argmax())
    return f"{int(differs.sum())} of {differs.size} elements differ, the first at {at}: " + (
        f"{theirs.ravel()[at]!r} where we read {ours.ravel()[at]!r}"
    )


def _bytes(array: Array) -> Array:
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).reshape(flat.size, flat.dtype.itemsize)
