"""From a checkpoint to an object graph and the keys its tensors stand under.

The graph grows from a base: the template's, else the checkpoint's own, else an empty one. Variables are found in it
by name; what the base lacks is added along its path; what gets no value is taken out, so that the graph promises no key
that isn't there (an optimizer that was left out then counts as missing when a program restores, as it should).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ckptmigrate.dtypes import INT64, STRING
from ckptmigrate.formats.object_draft import Draft, slot_key
from ckptmigrate.formats.object_list_draft import has_rate, is_of, put_lists, put_trained
from ckptmigrate.formats.object_order import Order, trained_order
from ckptmigrate.issues import Issue, Severity
from ckptmigrate.objects import ATTRIBUTES, VALUE_SUFFIX, ObjectGraph
from ckptmigrate.optimizers import object_names, spelling, tf1_keys
from ckptmigrate.optimizers.catalog import AVERAGE
from ckptmigrate.optimizers.dialects import PLACEHOLDER, RATE
from ckptmigrate.optimizers.list_layout import LISTED, lay_out, scalar_name
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.lists import CURRENT_RATE
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Tensor

SAVE_COUNTER = "save_counter"

# Spelling of scalars that any optimizer of tf_keras 2.11+ and Keras 3 has
_LIST_NAMES = {"iter": "_iterations", RATE: f"_{RATE}", CURRENT_RATE: f"_{CURRENT_RATE}"}


@dataclass(frozen=True, slots=True)
class Composition:
    """What is to be written: the graph, every tensor under its key, and what was assumed."""

    graph: ObjectGraph
    stored: tuple[Stored, ...]
    issues: tuple[Issue, ...] = ()


def compose(checkpoint: Checkpoint, template: Checkpoint | None, *, counts_saves: bool = True) -> Composition:
    """Lays out a checkpoint as an object-based file; no tensor is read.

    Args:
        checkpoint: What to write.
        template: Its graph is the base; None for the checkpoint's own, or none.
        counts_saves: Whether the file has a counter of saves, as checkpoints do that `restore` reads.
    """
    base = (template or checkpoint).structure.objects
    composer = _Composer(Draft(base), checkpoint, template)
    composer.add_variables(checkpoint, is_own=template is None and base is not None)
    if counts_saves and SAVE_COUNTER not in checkpoint.variables:
        composer.add_counter()
    for state in checkpoint.optimizers:
        if state.kind != "ema":
            composer.add_optimizer(state, _count(checkpoint))
    for state in checkpoint.optimizers:
        if state.kind == "ema" and state.name not in composer.listed:
            composer.add_averages(state)
    composer.leave_out_optimizers()
    composer.add_blobs((template or checkpoint).structure.blobs)
    return Composition(composer.draft.finish(), tuple(composer.stored), tuple(composer.issues))


def _count(checkpoint: Checkpoint) -> int:
    return sum(state.kind != "ema" for state in checkpoint.optimizers)


class _Composer:
    """Puts variables and optimizers into a draft, and lists what is to be stored."""

    def __init__(self, draft: Draft, checkpoint: Checkpoint, template: Checkpoint | None) -> None:
        self.draft = draft
        self.stored: list[Stored] = []
        self.issues: list[Issue] = []
        self.listed: set[str] = set()  # averages that stand in the lists of an optimizer
        self._checkpoint, self._template = checkpoint, template
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
        base = self.draft.children(number)
        if base and not is_of(base, state.dialect):
            self.draft.restart(number)
            base = {}
        scalars = self._add_scalars(state, number, path, is_new=not base)
        if state.dialect not in LISTED:
            self._add_slots(state, number, path)
        elif state.slots or not state.unbound:
            self._add_lists(state, number, path, base, scalars)
        for loose in state.unbound:
            if ATTRIBUTES not in loose.key and state.dialect in LISTED:
                self.issues.append(_untold(state, loose.key))
            key = loose.key if ATTRIBUTES in loose.key else loose.key + VALUE_SUFFIX
            self.draft.hold_key(key)
            self._put(key, loose.tensor)
        if state.wraps is not None:
            self.add_optimizer(state.wraps, 0)

    def add_averages(self, state: OptimizerState) -> None:
        """Averages stand as slots of the optimizer that made them, else of a node of their own."""
        name = state.parent or state.name.removesuffix(f"/{AVERAGE}")
        lists = {o.name for o in self._checkpoint.optimizers if o.kind != "ema" and o.dialect in LISTED}
        name = state.name if state.name in self._own or name in lists else name
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

    def _add_scalars(self, state: OptimizerState, number: int, path: str, *, is_new: bool) -> dict[str, int]:
        """The scalars, and their nodes by name."""
        owned = {} if is_new else {below: n for n, below in self.draft.paths.owned.get(number, {}).items()}
        spelled = {**object_names(state).scalars}
        if state.dialect in LISTED:
            spelled |= {name: _LIST_NAMES[name] for name in state.scalars if name in _LIST_NAMES}
        if spelled.get(RATE) not in owned and _LIST_NAMES[CURRENT_RATE] in owned:
            spelled[RATE] = _LIST_NAMES[CURRENT_RATE]  # the template's optimizer has a schedule
        title, keys = _title(state), tf1_keys(state).scalars if state.dialect == "tf1" else {}
        found = {}
        for name, stored in state.scalars.items():
            if name.startswith(PLACEHOLDER) and state.dialect in LISTED:
                continue
            known = self.draft.keyed(stored.key)
            if known is None or known not in owned.values():
                below = spelled.get(name, name)
                known = owned[below] if below in owned else self.draft.along(number, below)
            else:
                below = name
            full_name = keys.get(name) or scalar_name(title, below, state.dialect)
            key = self.draft.hold(known, f"{path}/{below}{VALUE_SUFFIX}", self.draft.full_name(known) or full_name)
            self._put(key, stored.tensor)
            found[name] = known
        return found

    def _add_lists(
        self, state: OptimizerState, number: int, path: str, base: Mapping[str, int], scalars: Mapping[str, int]
    ) -> None:
        """Slots of an optimizer that keeps them in lists, and the averages that it keeps with them."""
        averages = self._averages_in(state)
        held = dict.fromkeys(key.variable for key in (*state.slots, *averages))
        order = trained_order(state, held, self._checkpoint, self._template)
        owners = [self._owner(name) for name in order.names]
        title = self.draft.full_name(scalars["iter"]).rpartition("/")[0] if "iter" in scalars else ""
        layout = lay_out(state, averages, owners, has_rate=has_rate(base, state.scalars), title=title)
        told = [o for o in (self._template or self._checkpoint).optimizers if state.name in (o.name, o.parent)]
        kept = {key: stored.key for one in told for key, stored in one.slots.items()}
        self.stored += put_lists(self.draft, (number, path), layout, scalars, kept)
        if held:
            if state.dialect == "keras3" or not base or self._template is not None:
                put_trained(self.draft, number, order.names)
            self.issues += _assumed(state, order)
        seated = {place.key for place in layout.places}
        self.issues += [_homeless(state, key) for key in (*state.slots, *averages) if key not in seated]

    def _averages_in(self, state: OptimizerState) -> Mapping[SlotKey, Stored]:
        """The averages of an optimizer's own lists: of its dialect, and of variables that it has slots of."""
        trained = {key.variable for key in state.slots}
        for one in self._checkpoint.optimizers:
            is_own = one.kind == "ema" and one.parent == state.name and one.dialect == state.dialect
            if is_own and (not trained or {key.variable for key in one.slots} <= trained):
                self.listed.add(one.name)
                return one.slots
        return {}

    def _owner(self, name: str) -> Owner:
        """A trained variable; one that only the template has is not written, but counts."""
        variable = self._checkpoint.variables.get(name) or (self._template or self._checkpoint).variables[name]
        return Owner(name, variable.tensor.shape, self.draft.full_name(self.draft.variable(name)) or name)

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


def _assumed(state: OptimizerState, order: Order) -> Iterator[Issue]:
    """What the order of lists is taken from, where no list tells it."""
    if order.told_by == "list" or len(order.names) < 2:
        return
    source = "layers in the object graph" if order.told_by == "graph" else "the variables in the source"
    text = (
        f"{state.dialect} tells slots apart by their number: they follow the order of {source}, which is assumed to be "
        "that of the model's trained variables"
    )
    severity: Severity = "note" if order.told_by == "graph" else "warning"
    yield Issue("order", severity, state.name, text, "--template CKPT, a checkpoint of the target model and optimizer")


def _untold(state: OptimizerState, key: str) -> Issue:
    hint = "--template CKPT, a checkpoint of the target model, or --optimizer drop"
    return Issue("unholdable", "loss", key, f"{state.name}: the source doesn't tell whose slot this is", hint)


def _homeless(state: OptimizerState, key: SlotKey) -> Issue:
    message = f"{state.name}: {state.kind} of {state.dialect} has no list for its slot {key.slot}"
    return Issue("slot", "loss", key.variable, message, "--optimizer drop leaves all state out")


def _title(state: OptimizerState) -> str:
    """What Keras would call the optimizer in full names: `Adam`."""
    spelled = spelling(state.kind, state.dialect)
    return spelled.title if spelled else state.name.rpartition("/")[2]


def _string(blob: bytes) -> np.ndarray[tuple[()], np.dtype[np.object_]]:
    array = np.empty((), object)
    array[()] = blob
    return array
