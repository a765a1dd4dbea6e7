"""Planning: what a conversion would do, by the options it is asked with; reads shapes, types and scalars alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from ckptmigrate import formats
from ckptmigrate.chosen import Chosen, Enter, MappingOptions, choose, with_own_slots
from ckptmigrate.configured import configured
from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.errors import UsageError
from ckptmigrate.flavors import named_for, seen_from
from ckptmigrate.formats.format import Format, Writer
from ckptmigrate.mapping.options import NATURAL, PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan
from ckptmigrate.renewal import renewed
from ckptmigrate.resized import resized
from ckptmigrate.table import DIALECTS, Checkpoint

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("keep", "drop", "fresh"),
    "averages": ("", "keep", "use", "drop"),
    "verify": ("none", "bits", "framework"),
    "flavor": ("", "tf_keras", "keras3", "paths"),
    "dialect": ("", *DIALECTS),
}


Revise = Callable[[Checkpoint, Chosen], Chosen]


def as_chosen(_source: Checkpoint, chosen: Chosen) -> Chosen:
    """The revision that changes nothing."""
    return chosen


@dataclass(frozen=True, slots=True)
class StateOptions:
    """What is asked of names, optimizer state and element types; as in `convert`."""

    flavor: str
    optimizer: str
    dialect: str
    hyper: Mapping[str, float]
    dtype: str


def plan(
    source: Checkpoint,
    *,
    to: str,
    flavor: str = "",
    optimizer: str = "keep",
    dialect: str = "",
    hyper: Mapping[str, float] | None = None,
    dtype: str = "",
    **mapping: Any,
) -> Plan:
    """What a conversion would do: a plan whose `result()` is a Checkpoint again.

    Args:
        source: An open checkpoint, which stays the caller's to close.
        to, flavor, optimizer, dialect, hyper, dtype, mapping: As in `convert`. A template is closed here: one that
            keeps files open (safetensors, HDF5) can't fill in values.

    Raises:
        CkptMigrateError: The mapping or the template can't be read.
    """
    asked = MappingOptions(**mapping)
    check_choices({"optimizer": optimizer, "dialect": dialect, "averages": asked.averages, "flavor": flavor})
    target, _ = writer_of(to)
    wanted = StateOptions(flavor, optimizer, dialect, hyper or {}, dtype)
    with ExitStack() as stack:
        return planned(source, target, asked, wanted, stack.enter_context)[1]


def planned(
    source: Checkpoint, target: Format, asked: MappingOptions, wanted: StateOptions, enter: Enter,
    *, name: str = "", model: Checkpoint | None = None, revise: Revise = as_chosen,
) -> tuple[Chosen, Plan]:  # fmt: skip
    """The mapping that was asked for, and the plan it gives."""
    renewal = renewed(source, asked, target.name)
    asked = renewal.asked
    source = with_own_slots(renewal.source, asked, target.name)
    if not asked.template and model is None:
        source, flavor, told = configured(source, target.name, name, wanted.flavor)
        renewal = replace(renewal, issues=(*renewal.issues, *told))
        wanted = replace(wanted, flavor=flavor)
    chosen = choose(source, asked, enter, model, seen=seen_from(target.name, wanted.flavor))
    chosen = named_for(source, chosen, target.name, wanted.flavor)
    chosen = revise(source, chosen)
    if chosen.template is None:
        source, told = resized(source, chosen.assignment.fills)
        chosen = replace(chosen, issues=(*chosen.issues, *told))
    source = replace(source, metadata={**source.metadata, **chosen.metadata})
    writer = target.writer
    assert writer is not None
    _check_held(wanted, target, writer)
    options = PlanOptions(
        target_format=target.name,
        dialects=writer.dialects,
        holds_averages=writer.holds_averages,
        averages=asked.averages or chosen.averages,
        optimizer=wanted.optimizer,
        dialect=wanted.dialect,
        natural=NATURAL.get(wanted.flavor, ""),
        hyper=wanted.hyper,
        dtype=wanted.dtype,
        blocks=chosen.blocks,
        seed=asked.seed,
    )
    return renewal.completed(chosen, make_plan(source, chosen.assignment, chosen.template, options))


def _check_held(wanted: StateOptions, target: Format, writer: Writer) -> None:
    """Dialects that the target has no place for, and element types that weights can't be cast to."""
    if wanted.dialect and writer.dialects and wanted.dialect not in writer.dialects:
        raise UsageError(f"--dialect {wanted.dialect}: {target.name} holds {' | '.join(writer.dialects)}")
    dtype = BY_NAME.get(wanted.dtype)
    if wanted.dtype and (dtype is None or not dtype.is_float):
        floats = " | ".join(d.name for d in BY_NAME.values() if d.is_float)
        raise UsageError(f"--dtype {wanted.dtype}: floats are cast to another floating-point type: {floats}")


def check_choices(given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if value not in CHOICES[name]:
            accepted = " | ".join(c for c in CHOICES[name] if c)
            raise UsageError(f"--{name} {value}: expected {accepted}")


def writer_of(to: str) -> tuple[Format, Writer]:
    target = formats.by_name(to)
    if target.writer is None:
        writable = ", ".join(f.name for f in formats.FORMATS if f.is_writable)
        raise UsageError(f"--to {to}: this format is only read", hint=f"formats that can be written: {writable}")
    return target, target.writer
