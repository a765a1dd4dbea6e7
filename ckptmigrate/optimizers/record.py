"""Optimizer: one optimizer as data, with its spelling in every dialect and the arithmetic between dialects.

Facts: names as the frameworks write them (tensorflow/python/training/*.py and keras/optimizers/optimizer_v2/*.py),
update equations of the same files; each conversion is judged by tests/oracle against the real frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ckptmigrate.dtypes import DType
from ckptmigrate.issues import Issue
from ckptmigrate.steps import Shape, Step
from ckptmigrate.table import OptimizerState, Tensor

NOTHING: Mapping[str, Any] = MappingProxyType({})  # what a record that holds nothing of a kind has

StepFactory = Callable[[Shape, DType], tuple[Step, ...]]

# What every optimizer of the newer Keras stores in object-based files: its step, and its rate where that is a number.
KERAS_STEP: Mapping[str, str] = MappingProxyType({"iter": "_iterations"})
KERAS_RATE: Mapping[str, str] = MappingProxyType({"learning_rate": "_learning_rate"})


class Slot(NamedTuple):
    """A slot in one dialect.

    Attributes:
        name: Canonical name.
        spelled: The dialect's own name (`accum_grad`); empty where it is the canonical one.
        initial: What the dialect fills a fresh slot with.
        is_optional: True when only some settings create it (vhat, mg).
        shape: The slot's shape, given its variable's name and shape, where that differs (Adafactor's rows and columns);
            None for a variable that hasn't this slot.
    """

    name: str
    spelled: str = ""
    initial: float = 0.0
    is_optional: bool = False
    shape: Callable[[str, Shape], Shape | None] | None = None

    @property
    def spelling(self) -> str:
        """The name as the dialect writes it."""
        return self.spelled or self.name

    def shape_of(self, variable: str, shape: Shape) -> Shape | None:
        """The slot's shape for that variable; None where the variable hasn't this slot."""
        return self.shape(variable, shape) if self.shape else shape


class Block(NamedTuple):
    """Slots that stand together in a list: these of the first variable, in this order, then of the next.

    Attributes:
        slots: Canonical names.
        when: The setting (momentum, centered, amsgrad) that makes the optimizer create them; "" for always.
    """

    slots: tuple[str, ...]
    when: str = ""


class Listed(NamedTuple):
    """The order in which a list-based dialect keeps an optimizer's state (`get_weights`, `variables`).

    Attributes:
        blocks: One after the other; within each, variable by variable.
        first: Scalars before the slots, by canonical name.
        last: Scalars behind them.
        is_padded: True when a variable that lacks a slot has a scalar in its place (Keras 3's Adafactor).
    """

    blocks: tuple[Block, ...]
    first: tuple[str, ...] = ("iter",)
    last: tuple[str, ...] = ()
    is_padded: bool = False


class Spelling(NamedTuple):
    """How one dialect stores an optimizer.

    Attributes:
        title: The optimizer's default name: `Adam`, `RMSProp`.
        slots: In the dialect's order.
        numbered: Name-based files number slots (`w/RMSProp`, `w/RMSProp_1`): which slot each number is, one tuple per
            variant of the optimizer. Empty where slots are written by name.
        scalars: State owned by no variable, canonical name -> as spelled.
        hyper: Hyperparameters stored as float32 scalars, canonical name -> as spelled.
        listed: The order of its list; None for dialects without lists.
        lists: Slot -> the list that holds it in object-based files (m -> `_momentums`), in keras2 and keras3.
    """

    title: str
    slots: tuple[Slot, ...] = ()
    numbered: tuple[tuple[str, ...], ...] = ()
    scalars: Mapping[str, str] = NOTHING
    hyper: Mapping[str, str] = NOTHING
    listed: Listed | None = None
    lists: Mapping[str, str] = NOTHING

    def slot(self, name: str) -> Slot | None:
        """The slot of that canonical name."""
        return next((s for s in self.slots if s.name == name), None)


class Case(NamedTuple):
    """A change of dialect that is asked for.

    Attributes:
        state: As stored.
        dialect: The dialect wanted.
        hyper: Hyperparameters known from the file or from flags.
        step: Completed steps from elsewhere (`global_step`), or None.
        given: The names in `hyper` that flags gave.
        place: The state in whose place it goes, in the dialect wanted; None where nobody tells.
    """

    state: OptimizerState
    dialect: str
    hyper: Mapping[str, float]
    step: int | None
    given: frozenset[str] = frozenset()
    place: OptimizerState | None = None

    def has_place(self, slot: str) -> bool | None:
        """Whether the target's optimizer has the slot of that setting; None where nobody tells.

        Legacy Keras makes slots at the first step: then the setting tells.
        """
        place = self.place
        if place is None:
            return None
        if slot in place.hyper or any(key.slot == slot for key in place.slots):
            return bool(place.hyper.get(slot)) or any(key.slot == slot for key in place.slots)
        return False if place.slots or place.dialect == "keras3" else None

    @property
    def slots(self) -> frozenset[str]:
        """Canonical names of the slots that the state holds."""
        return frozenset(key.slot for key in self.state.slots)


class Change(NamedTuple):
    """What a change of dialect does to slots and scalars; whatever it doesn't name stays as it is.

    Attributes:
        slot_steps: Slot -> factory of its steps.
        new_slots: Slots that the target has and the source lacks -> initial value.
        dropped: Slots that the target hasn't -> why.
        step: Completed steps, where known.
        hyper: Hyperparameters that were found out on the way.
        scalars: State of the target, canonical name -> value; its `iter` and hyperparameters are added for every kind.
        texts: How each scalar came about.
        issues: Everything guessed, lost or needed.
        kind: What it is in the target, where that is something else (SGD with and without momentum).
    """

    slot_steps: Mapping[str, StepFactory] = NOTHING
    new_slots: Mapping[str, float] = NOTHING
    dropped: Mapping[str, str] = NOTHING
    step: int | None = None
    hyper: Mapping[str, float] = NOTHING
    scalars: Mapping[str, Tensor] = NOTHING
    texts: Mapping[str, str] = NOTHING
    issues: tuple[Issue, ...] = ()
    kind: str = ""


def unchanged(case: Case) -> Change:
    """The change of an optimizer whose slots mean the same in every dialect."""
    step = case.state.step if case.state.step is not None else case.step
    return Change(step=step)


class Optimizer(NamedTuple):
    """One optimizer.

    Attributes:
        kind: Its canonical name.
        dialects: Dialect -> spelling. A dialect that isn't listed can't hold it.
        change: The arithmetic between two of its dialects.
        start: Scalars -> what they hold before the first step, beside counters and beta powers.
        regain: Scalars that object-based files hold and others of the same dialect lose: computed again.
    """

    kind: str
    dialects: Mapping[str, Spelling]
    change: Callable[[Case], Change] = unchanged
    start: Mapping[str, float] = NOTHING
    regain: Callable[[Case], Change] | None = None
