"""Chosen: the mapping and template of a run, found by what the user asked, and the assignment they give."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ckptmigrate import formats
from ckptmigrate.document import load_template
from ckptmigrate.formats.named import NAMED, with_slots
from ckptmigrate.issues import Issue
from ckptmigrate.mapping import library
from ckptmigrate.mapping.assign import assign_identity
from ckptmigrate.mapping.assignment import Assignment
from ckptmigrate.mapping.rules import Mapping, OptimizerBlock
from ckptmigrate.table import Checkpoint

Enter = Callable[[AbstractContextManager[Checkpoint]], Checkpoint]


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """The mapping options that convert, verify and diff share.

    Attributes:
        mapping: Library name, file, "auto", or "".
        reverse: Use the mapping backwards.
        template: A checkpoint of the target model, or "".
        names: The system of names the source's variables are taken by (`full_name`...), or "".
        averages: keep | use | drop | "".
        drop, reinit: Patterns of source variables to leave out, and of target variables to start anew; a value and a
            shape may follow (mapping/flags.py).
        seed: Of the numbers that new variables are drawn with.
    """

    mapping: str = ""
    reverse: bool = False
    template: str = ""
    names: str = ""
    averages: str = ""
    drop: tuple[str, ...] = ()
    reinit: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a run goes by.

    Attributes:
        mapping: The mapping's name; "" for none.
        assignment: Which variable goes where.
        template: The target model's checkpoint, given by the user or shipped with the mapping.
        averages: What the mapping says of averages, or "".
        blocks: The mapping's `optimizers` blocks.
        provenance: {"name", "digest"} of the mapping.
        issues: What choosing found.
        metadata: What the mapping has a target file say of itself, by format.
    """

    mapping: str
    assignment: Assignment
    template: Checkpoint | None = None
    averages: str = ""
    blocks: tuple[OptimizerBlock, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)


def with_own_slots(source: Checkpoint, asked: MappingOptions, target: str) -> Checkpoint:
    """The source, with the slots recognised whose endings the mapping names.

    A name-based target keeps the endings, which its program looks for: there they stay as the source has them.

    Raises:
        MappingError: The mapping can't be read.
    """
    if asked.mapping in ("", "auto") or asked.reverse or target in NAMED:  # no mapping of the library names any
        return source
    return with_slots(source, Mapping.load(asked.mapping).source.slots)


def choose(
    source: Checkpoint,
    asked: MappingOptions,
    enter: Enter,
    template: Checkpoint | None = None,
    *,
    seen: Callable[[Checkpoint], Checkpoint] = lambda template: template,
) -> Chosen:
    """Loads what was asked for and assigns names.

    Args:
        source: The checkpoint to move.
        asked: The options.
        enter: Takes the template that is opened here, to close it at the end (`ExitStack.enter_context`).
        template: Used where the options name none and the mapping ships none.
        seen: How a template that the options name is looked at.

    Raises:
        MappingError: The mapping can't be read, or `auto` finds two.
    """
    issues: list[Issue] = []
    given = seen(enter(formats.open_checkpoint(asked.template))) if asked.template else None
    name = asked.mapping
    if name == "auto":
        name = library.auto(source)
        issues.append(Issue("mapping", "note", name, f"the mapping is {name}, recognised by the source's variables"))
    if not name:
        template = given or template
        assignment = assign_identity(source, template, names=asked.names, drop=asked.drop, reinit=asked.reinit)
        return Chosen("", assignment, template, issues=tuple(issues))
    mapping = Mapping.load(name)
    if mapping.note:
        issues.append(Issue("mapping", "note", mapping.name, mapping.note.strip()))
    shipped = mapping.target.template
    if given is None and template is None and shipped is not None and not asked.reverse:
        template = load_template(shipped)
        message = f"objects and names are those of the template that comes with {mapping.name}"
        issues.append(Issue("template", "note", "", message, "--template CKPT takes those of your own model"))
    template = given or template
    assignment = mapping.assign(
        source, template, reverse=asked.reverse, names=asked.names, drop=asked.drop, reinit=asked.reinit
    )
    return Chosen(
        mapping.name,
        assignment,
        template,
        mapping.averages,
        mapping.optimizers,
        {"name": mapping.name, "digest": mapping.digest},
        tuple(issues),
        {"safetensors": dict(told)} if (told := mapping.target.safetensors) and not asked.reverse else {},
    )
