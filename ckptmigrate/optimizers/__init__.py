"""Optimizer state: recognised by names, spelled and calculated in every dialect."""

from __future__ import annotations

from ckptmigrate.optimizers.catalog import BY_KIND, OPTIMIZERS, UNKNOWN, initial_value, slot_shape, spelling
from ckptmigrate.optimizers.dialects import Conversion, anew, to_dialect
from ckptmigrate.optimizers.keys import Keys, ObjectNames, object_names, tf1_keys
from ckptmigrate.optimizers.names import NamedState, recognise_names
from ckptmigrate.optimizers.nodes import recognise_object
from ckptmigrate.optimizers.record import Optimizer, Slot, Spelling

__all__ = [
    "BY_KIND",
    "OPTIMIZERS",
    "UNKNOWN",
    "Conversion",
    "Keys",
    "NamedState",
    "ObjectNames",
    "Optimizer",
    "Slot",
    "Spelling",
    "anew",
    "initial_value",
    "object_names",
    "recognise_names",
    "recognise_object",
    "slot_shape",
    "spelling",
    "tf1_keys",
    "to_dialect",
]
