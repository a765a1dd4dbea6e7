"""What the members of an optimizer's list are called in a legacy HDF5 file; readers go by their order alone.

Keras 2: `training/Adam/m_0:0`; tf_keras' legacy optimizers: `Adam/d/kernel/m:0`; its newer ones: `Adam/m/d/kernel:0`;
Keras 3: `adam/d_kernel_momentum`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TITLES = {
    "sgd": "SGD",
    "momentum": "SGD",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "unknown": "Optimizer",
}
_NEW = {  # canonical slot -> as tf_keras 2.11+ calls it, by optimizer where that differs
    "rms": "velocity",
    "mg": "average_gradient",
    "accum_grad": "accumulated_grad",
    "accum_var": "accumulated_delta_var",
}
_KERAS3 = {
    **_NEW,
    "m": "momentum",
    "v": "velocity",
    "vhat": "velocity_hat",
}
_OWN = {("keras2", "momentum", "momentum"): "m", ("keras2", "adamax", "v"): "u", ("keras3", "adamax", "v"): "norm"}
_SHARED = ("average", "gradient_accumulator")
_SLOTS = (*_SHARED, "m", "v", "vhat", "accumulator", "linear", "accum_grad", "accum_var")
_SLOTS_OF = {"rmsprop": (*_SHARED, "rms", "momentum", "mg"), "sgd": (*_SHARED, "momentum")}
_STEP = {"keras1": "iterations", "keras-legacy": "iter", "keras2": "iteration", "keras3": "iteration"}

# Scalars that stand in the list; learning rates and betas stand in the configuration instead.
_LISTED = {
    "keras1": ("iter", "momentum_cache"),
    "keras-legacy": ("iter", "momentum_cache"),
    "keras2": ("iter",),
    "keras3": ("iter", "learning_rate", "momentum_cache"),
}


def is_listed(scalar: str, dialect: str) -> bool:
    """Whether a scalar stands in the list of that dialect."""
    return scalar in _LISTED.get(dialect, ()) or scalar.startswith("placeholder/")


def slot_of(name: str, kind: str, dialect: str) -> str:
    """The slot that a name tells; "" where it tells none.

    >>> slot_of("RMSprop/d/k/rms:0", "rmsprop", "keras-legacy"), slot_of("adam/d_k_momentum", "adam", "keras3")
    ('rms', 'm')
    """
    bare = name.removesuffix(":0")
    if dialect == "keras-legacy":
        return bare.rpartition("/")[2]
    heads = bare.split("/")[:2]
    own = {slot: spelling for (d, k, slot), spelling in _OWN.items() if (d, k) == (dialect, kind)}
    table = {"keras2": _NEW, "keras3": _KERAS3}.get(dialect)
    if table is None:
        return ""
    spelled = {slot: own.get(slot) or table.get(slot, slot) for slot in _SLOTS_OF.get(kind, _SLOTS)}
    fits = [s for s, name in spelled.items() if (bare.endswith(f"_{name}") if dialect == "keras3" else name in heads)]
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
        title = _TITLES.get(self.kind, self.kind.title())
        if self.dialect != "keras3":
            return title
        return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", title).lower()

    def slot(self, slot: str, weight: str) -> str:
        """The name of a slot of the variable with that weight.

        >>> Spelled("adam", "keras2", 1).slot("m", "d/kernel:0"), Spelled("adam", "keras3", 2).slot("v", "d/kernel")
        ('Adam/m/d/kernel:0', 'adam/d_kernel_velocity')
        """
        bare = weight.removesuffix(":0")
        own = _OWN.get((self.dialect, self.kind, slot))
        if self.dialect == "keras3":
            return f"{self.title}/{bare.replace('/', '_')}_{own or _KERAS3.get(slot, slot)}"
        if self.dialect == "keras2":
            return f"{self.title}/{own or _NEW.get(slot, slot)}/{bare}:0"
        if self.dialect == "keras-legacy":
            return f"{self.title}/{bare}/{slot}:0"
        return f"training/{self.title}/{slot}_{self.number}:0"

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
