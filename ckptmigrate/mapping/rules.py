"""Rules: what a mapping says, loaded and compiled; values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ckptmigrate.mapping.operations import Operation
from ckptmigrate.mapping.pattern import Pattern
from ckptmigrate.mapping.tables import Table
from ckptmigrate.table import Checkpoint, Variable

if TYPE_CHECKING:
    from ckptmigrate.mapping.assign import Assignment

FillValue = float | str  # a number, `template`, or a text of initialisers.is_stated


@dataclass(frozen=True, eq=False)
class Rule:
    """One rule.

    Attributes:
        kind: `move` (from, to), `drop` or `fill`.
        sources, targets: Patterns of the two sides; a drop has no targets, a fill no sources.
        where: file:line.
        file: Number of the file it stands in; 0 is the mapping itself.
        line: In that file.
        operations: What `do` lists.
        rank: The rank it is limited to, or None.
        first, optional: As written.
        why: Of a drop.
        value, like, shape: Of a fill.
        one_way: Why it has no way back by names; "" when it has.
    """

    kind: Literal["move", "drop", "fill"]
    sources: tuple[Pattern, ...]
    targets: tuple[Pattern, ...]
    where: str
    file: int = 0
    operations: tuple[Operation, ...] = ()
    rank: int | None = None
    first: bool = False
    optional: bool = False
    why: str = ""
    value: FillValue = "zeros"
    like: Pattern | None = None
    shape: tuple[int, ...] | None = None
    one_way: str = ""

    def __str__(self) -> str:
        if self.kind == "move":
            return f"{_join(self.sources)} -> {_join(self.targets)}"
        return f"{self.kind} {_join(self.sources or self.targets)}"


def _join(patterns: Sequence[Pattern]) -> str:
    texts = [pattern.text for pattern in patterns]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


@dataclass(frozen=True, eq=False)
class Side:
    """What a mapping says of its source or its target.

    Attributes:
        formats: Format ids it is meant for; () for any.
        requires: Patterns of names that exist in every checkpoint it is meant for.
        vocabulary: The last segments its names may have; () for any. Read by `check`, ignored by runs.
        names: The one system of names its patterns speak of, or "".
        separator: Between segments.
        slots: Endings of home-made optimizers' slots -> canonical slot.
        template: The template shipped with the mapping (target only).
        safetensors: What a safetensors file says of itself beside the document (target only).
    """

    formats: tuple[str, ...] = ()
    requires: tuple[Pattern, ...] = ()
    vocabulary: tuple[str, ...] = ()
    names: str = ""
    separator: str = "/"
    slots: MappingType[str, str] = field(default_factory=dict)
    template: Path | None = None
    safetensors: MappingType[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class OptimizerBlock:
    """One block of `optimizers`: which state it speaks of, and where it goes.

    Attributes:
        source: The state's name in the source; "" for any.
        variables: The variables whose slots belong to it; None for all.
        target: Where it goes; "" for the default.
        step: The source variable that counts its steps, or "".
        hyper: Hyperparameters by name.
        kind: What it is, where the file doesn't tell: whose order its list then has; "" for as told.
    """

    source: str = ""
    variables: Pattern | None = None
    target: str = ""
    step: str = ""
    hyper: MappingType[str, float] = field(default_factory=dict)
    where: str = ""
    kind: str = ""

    def holds(self, variable: Variable) -> bool:
        """Whether a variable's slots belong to it."""
        if self.variables is None:
            return True
        return any(self.variables.bindings(name) for _, name in variable.names())


@dataclass(frozen=True, eq=False)
class Example:
    """One line of `examples`: a source name and what becomes of it."""

    source: str
    targets: tuple[str, ...]
    where: str


@dataclass(frozen=True, eq=False)
class Mapping:
    """A mapping file with everything it includes.

    Attributes:
        name: Its name in the library, or the file's.
        path: The file.
        title, note: As written.
        source, target: What it says of the two sides.
        rules: Its own, then those of its includes.
        above: Per file number, the files that include it, directly or not.
        averages: keep | use | drop | "".
        unmatched: error | keep | drop.
        optimizers, examples: As written.
        tables: Those the mapping itself defines.
        files: Every file read, the mapping first.
        digest: SHA-256 over their bytes, hexadecimal.
    """

    name: str
    path: Path
    title: str
    note: str
    source: Side
    target: Side
    rules: tuple[Rule, ...]
    above: tuple[frozenset[int], ...]
    averages: Literal["", "keep", "use", "drop"]
    unmatched: Literal["error", "keep", "drop"]
    unmatched_where: str
    optimizers: tuple[OptimizerBlock, ...]
    examples: tuple[Example, ...]
    tables: tuple[Table, ...]
    files: tuple[Path, ...]
    digest: str

    @staticmethod
    def load(mapping: str | Path) -> Mapping:
        """Loads a mapping file, or a mapping of the library by its name.

        Raises:
            MappingError: There is none, or it is wrong; `issues` holds every complaint.
        """
        from ckptmigrate.mapping.load import load

        return load(mapping)

    def assign(
        self,
        source: Checkpoint,
        template: Checkpoint | None = None,
        *,
        reverse: bool = False,
        names: str = "",
        drop: Sequence[str] = (),
        reinit: Sequence[str] = (),
    ) -> Assignment:
        """Decides what becomes of every variable, from names alone.

        Args:
            source: The checkpoint to move.
            template: A checkpoint of the target model, or None.
            reverse: Use the rules backwards.
            names: The system of names that patterns speak of; "" for the mapping's.
            drop: Patterns of source variables to leave out.
            reinit: Patterns of target variables to start anew.
        """
        from ckptmigrate.mapping.assign import assign

        return assign(self, source, template, reverse=reverse, names=names, drop=drop, reinit=reinit)
