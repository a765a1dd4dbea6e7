"""tf.keras' optimizers of TF <= 2.10 in name-based files: `training/Adam/iter`, `training/Adam/d1/kernel/m`.

The optimizer's scope is that of its int64 scalar `iter`; everything in it is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import FOREIGN, OPTIMIZERS, spelling
from ckptmigrate.optimizers.keys import split_number
from ckptmigrate.optimizers.nodes import recognise_object
from ckptmigrate.optimizers.owners import MAX_SCOPES, owners
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor

DIALECT = "keras-legacy"
_SPELLED = [o.dialects[DIALECT] for o in OPTIMIZERS if DIALECT in o.dialects]
_TITLES = FOREIGN | {s.title for s in _SPELLED}
_SCALARS = frozenset(n for s in _SPELLED for n in (*s.scalars.values(), *s.hyper.values()))
_SLOTS = frozenset(slot.spelling for s in _SPELLED for slot in s.slots if slot.name != "average")


def keras_states(tensors: Mapping[str, Tensor]) -> tuple[OptimizerState, ...]:
    """The states of such optimizers, each by the name of its scope."""
    scopes = {k.removesuffix("/iter") for k, t in tensors.items() if k.endswith("/iter") and _is_counter(t)}
    if not scopes:
        return ()
    scalars: dict[str, dict[str, Stored]] = {scope: {} for scope in sorted(scopes)}
    slots: dict[str, dict[SlotKey, Stored]] = {scope: {} for scope in scalars}
    for key, tensor in tensors.items():
        head, _, ending = key.rpartition("/")
        if head in scopes and ending in _SCALARS and tensor.shape == ():
            scalars[head][ending] = Stored(key, tensor)
        elif ending in _SLOTS:
            for scope in _scopes(head, scopes):
                owner = head[len(scope) + 1 :]
                if owner in owners(owner, tensor, tensors):
                    slots[scope][SlotKey(owner, ending)] = Stored(key, tensor)
    return tuple(
        _state(scope, scalars[scope], slots[scope]) for scope in scalars if slots[scope] or len(scalars[scope]) > 1
    )


def keras_guesses(states: Iterable[OptimizerState]) -> Iterator[Issue]:
    """Which of two optimizers with the same slots and scalars one is that has a name of its own."""
    for state in states:
        if state.kind == "adam" and _title(state.name) not in _TITLES:
            text = "its slots and scalars are those of Adam and of Adamax alike: taken for Adam"
            yield Issue("guess", "note", state.name, text)


def _title(scope: str) -> str:
    return split_number(scope.rpartition("/")[2])[0]


def _state(scope: str, scalars: Mapping[str, Stored], slots: Mapping[SlotKey, Stored]) -> OptimizerState:
    title = _title(scope)
    state = recognise_object(scope, scalars, slots, title=title if title in _TITLES else "")
    return state if spelling(state.kind, DIALECT) else replace(state, dialect=DIALECT)


def _scopes(head: str, scopes: set[str]) -> Iterator[str]:
    """The optimizer scope that `head` stands in; the innermost first, at most one."""
    end = len(head)
    for _ in range(MAX_SCOPES):
        end = head.rfind("/", 0, end)
        if end < 0:
            return
        if head[:end] in scopes:
            yield head[:end]
            return


def _is_counter(tensor: Tensor) -> bool:
    return tensor.shape == () and tensor.dtype.name == "int64"
