"""Optimizer state of a v3 file: numbered lists, bound to variables where kind, order and shapes tell the owners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckptmigrate.formats.keras_v3.naming import OPTIMIZER, counted, natural
from ckptmigrate.formats.keras_v3.nodes import Node
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.binding import StateList, bind_in_an_order
from ckptmigrate.optimizers.catalog import AVERAGE
from ckptmigrate.optimizers.dialects import RATE
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.scalars import whole_value
from ckptmigrate.optimizers.wrapping import INNER, WRAPPER, WRAPPER_SCALARS
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor

_MAX_TRIES = 20_000  # steps of a search for the order in which streams are merged

# The trained variables of one layer, in its order.
Block = tuple[Owner, ...]
Shapes = list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Training:
    """What is known of training, beside the lists.

    Attributes:
        trained: The trained variables by layer, in streams: the order within a stream is known, that in which streams
            are merged isn't. None where not all variables are known.
        compiled: The optimizer's class and settings, where a configuration tells them.
        is_keras2: Whether tf_keras wrote the file.
    """

    trained: tuple[tuple[Block, ...], ...] | None
    compiled: tuple[str, Mapping[str, Any]] | None
    is_keras2: bool

    @property
    def dialect(self) -> str:
        """Whose conventions the lists follow."""
        return "keras2" if self.is_keras2 else "keras3"


def optimizers_of(root: Node, tensors: Mapping[str, Tensor]) -> dict[str, Node]:
    """The root's children that are optimizers: called so, and counting steps first."""
    found = {}
    for name, node in root.children.items():
        first = next(iter(node.own.values()), "")
        if name.lower().endswith(("optimizer", "_opt")) and first in tensors and _is_counter(tensors[first]):
            found[name] = node
    return found


def _is_counter(tensor: Tensor) -> bool:
    return tensor.shape == () and tensor.dtype.name.startswith("int")


def states_of(
    name: str, node: Node, tensors: Mapping[str, Tensor], training: Training
) -> tuple[tuple[OptimizerState, ...], tuple[Issue, ...]]:
    """The state of one optimizer, then of what it wraps, and averages; what can't be told stays unbound."""
    stored = tuple(Stored(path, tensors[path]) for path in node.own.values() if path in tensors)
    inner = node.children.get(INNER)
    if inner is not None and inner.own:
        states, issues = states_of(f"{name}/{INNER}", inner, tensors, training)
        return _around(name, stored, states, training), issues
    if node.kind and len(node.names) == len(stored) == len(node.own):
        return tuple(_as_told(name, node, stored, training.dialect)), ()
    is_told = training.compiled is not None and name.partition("/")[0] == OPTIMIZER
    title, settings = training.compiled if is_told and training.compiled else (counted(node.label)[0], {})
    told = StateList(name, stored, training.dialect, title, settings)
    shapes = [s.tensor.shape for s in stored]
    return bind_in_an_order(told, _orders(training.trained or (), shapes))


def _as_told(name: str, node: Node, stored: Sequence[Stored], dialect: str) -> Iterator[OptimizerState]:
    """A list whose positions the file names."""
    scalars: dict[str, Stored] = {}
    slots: dict[str, dict[SlotKey, Stored]] = {AVERAGE: {}, "": {}}
    unbound: list[Stored] = []
    for label, one in zip(node.names, stored, strict=True):
        variable, _, slot = label.rpartition(":")
        held = slots[slot if slot == AVERAGE else ""]
        if variable and SlotKey(variable, slot) not in held:
            held[SlotKey(variable, slot)] = one
        elif slot and slot not in scalars and not variable:
            scalars[slot] = one
        else:
            unbound.append(one)
    step = whole_value(scalars.get("iter"))
    own, averages = slots[""], slots[AVERAGE]
    state = OptimizerState(name, node.kind, dialect, step, {}, scalars, own, tuple(own), tuple(unbound))
    yield _with_rate(state)
    if averages:
        yield OptimizerState(f"{name}/{AVERAGE}", "ema", dialect, slots=averages, parent=name)


def _with_rate(state: OptimizerState) -> OptimizerState:
    if RATE not in state.scalars or state.scalars[RATE].tensor.shape != ():
        return state
    return replace(state, hyper={**state.hyper, RATE: float(state.scalars[RATE].tensor.read())})


def _around(
    name: str, stored: Sequence[Stored], states: tuple[OptimizerState, ...], training: Training
) -> tuple[OptimizerState, ...]:
    """A wrapper for loss scaling: scalars of its own; then its inner optimizer's list again, which stands twice."""
    count = 0 if training.is_keras2 else len(WRAPPER_SCALARS)  # tf_keras leaves them out
    twins = stored[count:]
    scalars = dict(zip(WRAPPER_SCALARS, stored[:count], strict=False))
    inner = [s for state in states for s in (*state.scalars.values(), *state.slots.values(), *state.unbound)]
    inner.sort(key=lambda s: natural(s.key.rpartition("/")[2]))
    same = len(twins) == len(inner) and all(
        (a.tensor.shape, a.tensor.dtype) == (b.tensor.shape, b.tensor.dtype) for a, b in zip(inner, twins, strict=True)
    )
    copies = {a.key: b.key for a, b in zip(inner, twins, strict=True)} if same else {}
    around = OptimizerState(
        name,
        WRAPPER,
        training.dialect,
        whole_value(scalars.get("iter")),
        scalars=scalars,
        unbound=() if same else tuple(twins),
    )
    return around, *(_with_copies(state, copies) for state in states)


def _with_copies(state: OptimizerState, copies: Mapping[str, str]) -> OptimizerState:
    def told(stored: Stored) -> Stored:
        return replace(stored, copies=(copies[stored.key],)) if stored.key in copies else stored

    return replace(
        state,
        scalars={name: told(stored) for name, stored in state.scalars.items()},
        slots={key: told(stored) for key, stored in state.slots.items()},
        unbound=tuple(map(told, state.unbound)),
    )


def _orders(trained: tuple[tuple[Block, ...], ...], shapes: Shapes) -> list[Block]:
    """The orders of all variables under which a slot of each may have its shape.

    Of several streams those merges are tried that a first slot of every variable agrees with: slots stand one after the
    other, or two or three of a variable together (of Adafactor's three the last has the variable's shape).
    """
    if len(trained) < 2:
        return [tuple(owner for stream in trained for block in stream for owner in block)]
    count = sum(len(block) for stream in trained for block in stream)
    scalars = next((i for i, shape in enumerate(shapes) if shape != ()), len(shapes))
    found: dict[Block, None] = {}
    for first, step in ((0, 1), (0, 2), (2, 3)):
        heads = shapes[scalars + first :: step][:count]
        if len(heads) == count:
            found |= dict.fromkeys(_merges(trained, heads))
    return list(found)


def _merges(trained: tuple[tuple[Block, ...], ...], heads: Shapes) -> list[Block]:
    """Two merges at most, as two leave the order open; none where many steps don't settle it."""
    found: list[Block] = []
    pending: list[tuple[tuple[int, ...], Block]] = [((0,) * len(trained), ())]
    for _ in range(_MAX_TRIES):
        if not pending or len(found) > 1:
            return found
        taken, order = pending.pop()
        if len(order) == len(heads):
            found.append(order)
        for number, stream in enumerate(trained):
            block = stream[taken[number]] if taken[number] < len(stream) else ()
            shapes = [owner.shape for owner in block]
            if block and shapes == heads[len(order) : len(order) + len(block)]:
                pending.append(((*taken[:number], taken[number] + 1, *taken[number + 1 :]), (*order, *block)))
    return []
