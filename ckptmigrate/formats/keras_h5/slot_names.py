"""What the members of an optimizer's list are called in a legacy HDF5 file; readers go by their order alone.

Keras 2: `training/Adam/m_0:0`; tf_keras' legacy optimizers: `Adam/d/kernel/m:0`; its newer ones: `Adam/m/d/kernel:0`;
Keras 3: `adam/d_kernel_momentum`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ckptmigrate.optimizers.catalog import SHADOWS, by_title, spelling
from ckptmigrate.optimizers.wrapping import WRAPPER

_STEP = {"keras1": "iterations", "keras-legacy": "iter", "keras2": "iteration", "keras3": "iteration"}
_SHARED = {slot: slot for block in SHADOWS for slot in block.slots}


def slot_of(name: str, title: str, dialect: str) -> str:
    """The slot that a name tells, in the list of an optimizer of that class; "" where it tells none.

    >>> slot_of("RMSprop/d/k/rms:0", "RMSprop", "keras-legacy"), slot_of("adam/d_k_momentum", "adam", "keras3")
    ('rms', 'm')
    """
    optimizer = by_title(title, dialect)
    if optimizer is None or dialect == "keras1":
        return ""
    bare = name.removesuffix(":0")
    spelled = {slot.name: slot.spelling for slot in optimizer.dialects[dialect].slots}
    if dialect == "keras-legacy":
        last = bare.rpartition("/")[2]
        return next((slot for slot, called in spelled.items() if called == last), "")
    spelled |= _SHARED
    heads = bare.split("/")[:2]
    fits = [
        s for s, called in spelled.items() if (bare.endswith(f"_{called}") if dialect == "keras3" else called in heads)
    ]
    return max(fits, key=lambda slot: len(spelled[slot]), default="")


@dataclass(frozen=True, slots=True)
class Spelled:
    """The names for one optimizer's state.

    Attributes:
        kind, dialect: The optimizer's.
        number: Position in the list.
    """

    kind: str
    dialect: str
    number: int

    @property
    def title(self) -> str:
        """`Adam`; in Keras 3 `adam`, `rm_sprop`.

        >>> Spelled("rmsprop", "keras3", 0).title
        'rm_sprop'
        """
        spelled = spelling(self.kind, self.dialect)
        title = spelled.title if spelled else "LossScaleOptimizer" if self.kind == WRAPPER else "Optimizer"
        return snake_case(title) if self.dialect == "keras3" else title

    def slot(self, slot: str, weight: str) -> str:
        """The name of a slot of the variable with that weight.

        >>> Spelled("adam", "keras2", 1).slot("m", "d/kernel:0"), Spelled("adam", "keras3", 2).slot("v", "d/kernel")
        ('Adam/m/d/kernel:0', 'adam/d_kernel_velocity')
        """
        spelled = spelling(self.kind, self.dialect)
        found = spelled.slot(slot) if spelled else None
        called = found.spelling if found else slot
        bare = weight.removesuffix(":0")
        if self.dialect == "keras3":
            return f"{self.title}/{bare.replace('/', '_')}_{called}"
        if self.dialect == "keras2":
            return f"{self.title}/{called}/{bare}:0"
        if self.dialect == "keras-legacy":
            return f"{self.title}/{bare}/{called}:0"
        return f"training/{self.title}/{called}_{self.number}:0"

    def scalar(self, name: str) -> str:
        """The name of a scalar, or of what has no owner ("")."""
        if name == "iter":
            step = _STEP[self.dialect]
            name = step if self.dialect == "keras2" else f"{self.title}/{step}"
        elif self.dialect == "keras3":
            name = f"{self.title}/{'variable' if name == 'momentum_cache' else name or f'variable_{self.number}'}"
        elif not name or "/" in name:
            name = f"training/{self.title}/Variable_{self.number}"
        else:
            name = f"{self.title}/{name}"
        return name if self.dialect == "keras3" else f"{name}:0"


def snake_case(title: str) -> str:
    """A class's name as Keras 3 calls its objects.

    >>> snake_case("RMSprop"), snake_case("AdamW"), snake_case("SGD")
    ('rm_sprop', 'adam_w', 'sgd')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", title).lower()
