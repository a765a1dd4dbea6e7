"""A Checkpoint as named arrays, for containers that know nothing else: which name, and which bytes, each tensor gets.

A tensor stands under the key it was stored under (object-based keys without their suffix), else under its variable's
name; slots without a key under `<optimizer>/<slot>/<variable>`, scalars under `<optimizer>/<scalar>`. An element type
that the container lacks is held by its storage type (qint8 by int8) or by its bytes, in one more dimension where it has
several. Strings are two members: all their bytes, and under the same name with `.offsets` where each begins and the
last one ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ckptmigrate.dtypes import BY_NAME, INT64, STRING, DType, from_numpy
from ckptmigrate.issues import Issue
from ckptmigrate.objects import VALUE_SUFFIX
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, Entry, OptimizerState, Stored, Tensor
from ckptmigrate.tiles import contiguous

UINT8 = BY_NAME["uint8"]
OFFSETS = ".offsets"
MAX_BLOB_BYTES = 50_000_000  # of configuration and assets together: the document stays in bounds

_MAX_NAME_BYTES = 60_000  # zip archives end at 65,535; longer names are cut and told apart by their digest
_KEPT_NAME_BYTES = 200

Holds = Callable[[DType], bool]


@dataclass(frozen=True, slots=True)
class Packed:
    """What a container is to hold.

    Attributes:
        checkpoint: The checkpoint, without what can't be held.
        names: The member of each of its rows, in their order.
        members: All members, strings' offsets among them, with tensors of types that the container has.
    """

    checkpoint: Checkpoint
    names: tuple[str, ...]
    members: dict[str, Tensor]


def unholdable(checkpoint: Checkpoint, holder: str) -> tuple[Issue, ...]:
    """What no container of named arrays can hold. Reads no tensor data."""
    issues = []
    for entry in checkpoint.rows():
        if not _is_holdable(entry.tensor):
            message = f"{holder} can't hold the element type {entry.tensor.dtype}"
            severity = "loss" if _is_lossy(checkpoint, entry) else "note"
            issues.append(Issue("unholdable", severity, entry.label, message, "--drop PATTERN leaves it out"))  # type: ignore[arg-type]
    size = sum(map(len, checkpoint.structure.blobs.values()))
    if size > MAX_BLOB_BYTES:
        message = f"{size} bytes of configuration and assets are not written: more than {MAX_BLOB_BYTES}"
        issues.append(Issue("unholdable", "note", "", message))
    return tuple(issues)


def pack(checkpoint: Checkpoint, holds: Holds, *, reserved: Iterable[str] = ()) -> Packed:
    """The members of a checkpoint.

    Args:
        checkpoint: What to pack.
        holds: Whether the container has an element type.
        reserved: Names that the container keeps for itself.
    """
    checkpoint = _without_unholdable(checkpoint)
    rows = list(checkpoint.rows())
    names = _names(rows, set(reserved))
    members: dict[str, Tensor] = {}
    for name, row in zip(names, rows, strict=True):
        members.update(_packed(name, row.tensor, holds))
    return Packed(checkpoint, names, members)


def held_type(dtype: DType, holds: Holds) -> DType:
    """The type that a container holds a raw element type by.

    >>> held_type(BY_NAME["qint8"], lambda dtype: dtype.name == "int8").name
    'int8'
    """
    storage = from_numpy(dtype.numpy)
    return next((d for d in (dtype, storage) if d is not None and holds(d)), UINT8)


def held_shape(dtype: DType, held: DType, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that goes with `held_type`: one dimension more where an element takes several."""
    return shape if held.nbytes == dtype.nbytes else (*shape, dtype.nbytes)


def as_type(values: np.ndarray[Any, Any], dtype: DType, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The same bytes as another type and shape."""
    return contiguous(values).reshape(-1).view(dtype.numpy).reshape(shape)


def _packed(name: str, tensor: Tensor, holds: Holds) -> dict[str, Tensor]:
    if tensor.dtype is STRING:
        return _packed_strings(name, tensor)
    held = held_type(tensor.dtype, holds)
    if held is tensor.dtype:
        return {name: tensor}
    shape = held_shape(tensor.dtype, held, tensor.shape)
    return {name: Tensor(shape, held, lambda: as_type(tensor.read(), held, shape), tensor.extents)}


def _packed_strings(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Their lengths have to be known before anything is written, so they are read twice instead of kept."""
    lengths = [len(value) for value in tensor.read().ravel()]
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)

    def load() -> np.ndarray[Any, Any]:
        return np.frombuffer(b"".join(tensor.read().ravel()), np.uint8)

    return {name: Tensor((int(offsets[-1]),), UINT8, load), name + OFFSETS: Tensor.of(offsets, INT64)}


def _names(rows: list[Entry], taken: set[str]) -> tuple[str, ...]:
    """A name for each row. Stored keys come first; who comes second to a name gets `#2` behind it."""
    names = [""] * len(rows)
    for keyed in (True, False):
        for i, row in enumerate(rows):
            if bool(row.key) is keyed:
                names[i] = _free(_wanted(row), taken, row.tensor.dtype is STRING)
    return tuple(names)


def _wanted(row: Entry) -> str:
    own = "/".join(part for part in (row.optimizer, row.slot, row.name) if part)
    name = row.key.removesuffix(VALUE_SUFFIX) or own or "_"
    # containers want UTF-8, and zip archives end a name at NUL; keys may be any bytes
    encoded = name.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    if len(encoded) > _MAX_NAME_BYTES:
        encoded = encoded[:_KEPT_NAME_BYTES] + b"~" + hashlib.sha256(encoded).hexdigest().encode()
    return encoded.decode("utf-8", "ignore")


def _free(wanted: str, taken: set[str], has_offsets: bool) -> str:
    name, count = wanted, 1
    while not taken.isdisjoint(claims := {name, name + OFFSETS} if has_offsets else {name}):
        count += 1
        name = f"{wanted}#{count}"
    taken |= claims
    return name


def _is_holdable(tensor: Tensor) -> bool:
    return tensor.dtype.is_raw or tensor.dtype is STRING


def _is_lossy(checkpoint: Checkpoint, entry: Entry) -> bool:
    if not entry.optimizer:
        return checkpoint.variables[entry.name].role in LOSSY_ROLES
    return bool(entry.slot)


def _without_unholdable(checkpoint: Checkpoint) -> Checkpoint:
    if sum(map(len, checkpoint.structure.blobs.values())) > MAX_BLOB_BYTES:
        checkpoint = replace(checkpoint, structure=replace(checkpoint.structure, blobs={}))
    if all(_is_holdable(row.tensor) for row in checkpoint.rows()):
        return checkpoint
    variables = {name: v for name, v in checkpoint.variables.items() if _is_holdable(v.tensor)}
    return replace(checkpoint, variables=variables, optimizers=tuple(map(_holdable_state, checkpoint.optimizers)))


def _holdable_state(state: OptimizerState) -> OptimizerState:
    def kept(stored: Stored) -> bool:
        return _is_holdable(stored.tensor)

    slots = {key: s for key, s in state.slots.items() if kept(s)}
    return replace(
        state,
        scalars={name: s for name, s in state.scalars.items() if kept(s)},
        slots=slots,
        order=tuple(key for key in state.order if key in slots or key not in state.slots),
        unbound=tuple(filter(kept, state.unbound)),
        wraps=_holdable_state(state.wraps) if state.wraps else None,
    )
