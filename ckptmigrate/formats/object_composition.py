"""From a checkpoint to an object graph and the keys its tensors stand under.

The graph grows from a base: the template's, else the checkpoint's own, else an empty one. Variables are found in it
by name; what the base lacks is added along its path; what gets no value is taken out, so that the graph promises no key
that isn't there (an optimizer that was left out then counts as missing when a program restores, as it should).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ckptmigrate.dtypes import INT64, STRING
from ckptmigrate.formats.object_draft import Draft, slot_key
from ckptmigrate.objects import ATTRIBUTES, VALUE_SUFFIX, ObjectGraph
from ckptmigrate.optimizers import object_names, spelling, tf1_keys
from ckptmigrate.table import Checkpoint, OptimizerState, Stored, Tensor

SAVE_COUNTER = "save_counter"
AVERAGE = "average"

# Spelling of the optimizers that keep their slots in lists (tf_keras 2.11+, Keras 3)
_LIST_NAMES = {"iter": "_iterations", "learning_rate": "_learning_rate"}


@dataclass(frozen=True, slots=True)
class Composition:
    """What is to be written: the graph, and every tensor under its key."""

    graph: ObjectGraph
    stored: tuple[Stored, ...]


def compose(checkpoint: Checkpoint, template: Checkpoint | None, *, counts_saves: bool = True) -> Composition:
    """Lays out a checkpoint as an object-based file; no tensor is read.

    Args:
        checkpoint: What to write.
        template: Its graph is the base; None for the checkpoint's own, or none.
        counts_saves: Whether the file has a counter of saves, as checkpoints do that `restore` reads.
    """
    base = (template or checkpoint).structure.objects
    composer = _Composer(Draft(base))
    composer.add_variables(checkpoint, is_own=template is None and base is not None)
    if counts_saves and SAVE_COUNTER not in checkpoint.variables:
        composer.add_counter()
    for state in checkpoint.optimizers:
        if state.kind != "ema":
            composer.add_optimizer(state, _count(checkpoint))
    for state in checkpoint.optimizers:
        if state.kind == "ema":
            composer.add_averages(state)
    composer.leave_out_optimizers()
    composer.add_blobs((template or checkpoint).structure.blobs)
    return Composition(composer.draft.finish(), tuple(composer.stored))


def _count(checkpoint: Checkpoint) -> int:
    return sum(state.kind != "ema" for state in checkpoint.optimizers)


class _Composer:
    """Puts variables and optimizers into a draft, and lists what is to be stored."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.stored: list[Stored] = []
        self._keys: dict[str, str] = {}  # variable -> its key
        self._full_names: dict[str, str] = {}
        self._own = {name: number for number, name in draft.paths.optimizers.items()}  # optimizers of the base
        self._optimizers = {name: (number, name) for name, number in self._own.items()}
        self._used: set[str] = set()

    def add_variables(self, checkpoint: Checkpoint, *, is_own: bool) -> None:
        """Every variable. Keys that the file's own graph doesn't know stay unknown to it."""
        for variable in checkpoint.variables.values():
            known = self.draft.knows(variable.name) or self.draft.keyed(variable.name) is not None
            if is_own and variable.key and not known:
                self._keys[variable.name] = variable.key
                self._put(variable.key, variable.tensor)
                continue
            full_name = next(iter(variable.aliases.get("full_name", ())), "")
            self._full_names[variable.name] = full_name or variable.name
            if ATTRIBUTES in variable.name:
                self.draft.hold_key(variable.name)
                self._put(variable.name, variable.tensor)
            else:
                self._keys[variable.name] = self._variable(variable.name, full_name)
                self._put(self._keys[variable.name], variable.tensor)

    def add_counter(self) -> None:
        """A counter of saves that counts none."""
        key = self._variable(SAVE_COUNTER, SAVE_COUNTER)
        self._put(key, Tensor.of(np.zeros((), np.int64), INT64))

    def _variable(self, name: str, full_name: str) -> str:
        made_up = "" if self.draft.knows(name) else name
        return self.draft.hold(self.draft.variable(name), name + VALUE_SUFFIX, full_name or made_up)

    def add_optimizer(self, state: OptimizerState, count: int) -> None:
        """The state of one optimizer, and of those inside it."""
        number, path = self._place(state.name, count)
        self._add_scalars(state, number, path)
        self._add_slots(state, number, path)
        for loose in state.unbound:
            key = loose.key if ATTRIBUTES in loose.key else loose.key + VALUE_SUFFIX
            self.draft.hold_key(key)
            self._put(key, loose.tensor)
        if state.wraps is not None:
            self.add_optimizer(state.wraps, 0)

    def add_averages(self, state: OptimizerState) -> None:
        """Averages stand as slots of the optimizer that made them, else of a node of their own."""
        name = state.name if state.name in self._own else state.parent or state.name.removesuffix(f"/{AVERAGE}")
        number, path = self._place(name, 0)
        self._add_slots(state, number, path)

    def _place(self, name: str, count: int) -> tuple[int, str]:
        """The node of an optimizer and its path: the base's of that name, its only one, or a new one."""
        if name not in self._optimizers and count == 1 and len(self._own) == 1:
            self._optimizers[name] = next(iter(self._optimizers.values()))
        elif name not in self._optimizers:
            self._optimizers[name] = self.draft.along(0, name), name
        number, path = self._optimizers[name]
        self._used.add(path)
        return number, path

    def _add_scalars(self, state: OptimizerState, number: int, path: str) -> None:
        owned = {below: node for node, below in self.draft.paths.owned.get(number, {}).items()}
        spelled = {**object_names(state).scalars}
        if state.dialect in ("keras2", "keras3"):
            spelled |= {name: _LIST_NAMES[name] for name in state.scalars if name in _LIST_NAMES}
        title, keys = _title(state), tf1_keys(state).scalars if state.dialect == "tf1" else {}
        for name, stored in state.scalars.items():
            known = self.draft.keyed(stored.key)
            if known is None or known not in owned.values():
                below = spelled.get(name, name)
                known = owned[below] if below in owned else self.draft.along(number, below)
            else:
                below = name
            full_name = keys.get(name) or f"{title}/{below}"
            key = self.draft.hold(known, f"{path}/{below}{VALUE_SUFFIX}", self.draft.full_name(known) or full_name)
            self._put(key, stored.tensor)

    def _add_slots(self, state: OptimizerState, number: int, path: str) -> None:
        spelled = object_names(state).slots
        title, keys = _title(state), tf1_keys(state).slots if state.dialect == "tf1" else {}
        for slot, stored in state.slots.items():
            name = spelled.get(slot.slot, slot.slot)
            owner = self._full_names.get(slot.variable, slot.variable)
            full_name = keys.get(slot) or f"{title}/{owner}/{name}"
            key = slot_key(self._keys.get(slot.variable, slot.variable), path, name)
            variable = self.draft.variable(slot.variable)
            self._put(self.draft.slot(number, variable, name, key, full_name), stored.tensor)

    def leave_out_optimizers(self) -> None:
        """Cuts off the base's optimizers that nothing was put into."""
        for name, number in self._own.items():
            if name not in self._used and not any(used.startswith(f"{name}/") for used in self._used):
                self.draft.leave_out(number)

    def add_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Configurations, where the graph has the objects they belong to."""
        for key, blob in blobs.items():
            if self.draft.keyed(key) is not None:
                self.draft.hold_key(key)
                self._put(key, Tensor.of(_string(blob), STRING))

    def _put(self, key: str, tensor: Tensor) -> None:
        self.stored.append(Stored(key, tensor))


def _title(state: OptimizerState) -> str:
    """What Keras would call the optimizer in full names: `Adam`."""
    spelled = spelling(state.kind, state.dialect)
    return spelled.title if spelled else state.name.rpartition("/")[2]


def _string(blob: bytes) -> np.ndarray[tuple[()], np.dtype[np.object_]]:
    array = np.empty((), object)
    array[()] = blob
    return array
