"""Draft: a mapping for two checkpoints, written as far as something proves it, for a person to finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.draft.doubts import Doubt
from ckptmigrate.mapping.draft.evidence import Evidence, Proof, gather
from ckptmigrate.mapping.draft.lines import Line, lines, with_tables
from ckptmigrate.mapping.draft.rows import Row, rows_of
from ckptmigrate.mapping.draft.text import write
from ckptmigrate.mapping.load import loads
from ckptmigrate.mapping.rules import Mapping as Rules
from ckptmigrate.table import LOSSY_ROLES, Checkpoint

NAME = "draft.yaml"
UNSAYABLE = "the mapping language can't say its name"

Sides = tuple[Sequence[Row], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A proven pair.

    Attributes:
        target: The variable of the destination.
        operations: What makes one of the other, as a mapping writes it: `transpose: [1, 0]`.
        evidence: What proves it.
    """

    target: str
    operations: tuple[str, ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A mapping as far as it is proven.

    Attributes:
        pairs: Source variable -> what it is in the destination.
        unsure: Every other source variable -> who it could be; () where nothing is like it.
        unfilled: Variables of the destination that nothing is proven to fill.
        text: The mapping file.
        mapping: The same, loaded.
    """

    pairs: Mapping[str, Pair]
    unsure: Mapping[str, tuple[str, ...]]
    unfilled: tuple[str, ...]
    text: str
    mapping: Rules


def draft(source: Checkpoint, destination: Checkpoint, *, values: bool = True) -> Draft:
    """Drafts a mapping. It makes exactly the pairs that are proven; nothing is guessed.

    Args:
        source: The checkpoint to move.
        destination: A checkpoint of the target model.
        values: Compare values where both sides have them; without it no tensor is read.
    """
    rows, targets = rows_of(source), rows_of(destination)
    evidence = gather(rows, targets, values=values)
    evidence, text, mapping = _said(source, destination, (rows, targets), evidence)
    names: dict[tuple[Row, ...], tuple[str, ...]] = {}
    for doubt in evidence.doubts.values():
        if doubt.candidates not in names:  # thousands of rows may share thousands of candidates
            names[doubt.candidates] = tuple(one.name for one in doubt.candidates)
    return Draft(
        {row.name: Pair(p.target.name, p.operations, p.evidence) for row, p in evidence.proven.items()},
        {row.name: names[doubt.candidates] for row, doubt in evidence.doubts.items()},
        tuple(row.name for row in evidence.unfilled),
        text,
        mapping,
    )


def _said(source: Checkpoint, destination: Checkpoint, sides: Sides, evidence: Evidence) -> tuple[Evidence, str, Rules]:
    """The text that makes these pairs and no others: with fewer holes where more would say too much."""
    separators = _separator(sides[0]), _separator(sides[1])
    as_they_are: set[Row] = set()
    while True:
        named, found = lines(*sides, evidence.proven, separators, as_they_are=as_they_are)
        found = with_tables(found, separators)
        _, unturned = lines(*sides, evidence.unturned, separators, named=named)
        written = write(source, destination, evidence, found, unturned=unturned, named=named, separators=separators)
        try:
            mapping = loads(written.text, NAME)
            wrong = _wrong(mapping.assign(source, destination).moves, source, evidence.proven, written.places)
        except MappingError as error:
            wrong = [line for issue in error.issues if (line := _line(issue.where, written.places))] or found
        if not wrong:
            return evidence, written.text, mapping
        literal = {row for line in wrong for row, _ in line.pairs}
        evidence = _without(evidence, literal & as_they_are)
        as_they_are |= literal


def _wrong(
    moves: Sequence[Move], source: Checkpoint, proven: Mapping[Row, Proof], places: Mapping[int, Line]
) -> list[Line]:
    """The lines that don't make their pairs, or make others, by the mapping itself."""
    made = {move.sources[0]: move for move in moves}
    lines_of = {row.name: line for line in places.values() for row, _ in line.pairs}
    wrong = []
    for row, proof in proven.items():
        move = made.pop(row.name, None)
        if move is None or move.targets != (proof.target.name,) or len(move.operations) != len(proof.operations):
            wrong.append(lines_of[row.name])
    others = [move for name, move in made.items() if source.variables[name].role in LOSSY_ROLES]
    wrong += [line for move in others if (line := _line(move.where, places))]
    return list(dict.fromkeys(wrong))


def _line(where: str, places: Mapping[int, Line]) -> Line | None:
    """The line that stands at file:line."""
    number = where.rpartition(":")[2]
    return places.get(int(number)) if number.isdigit() else None


def _without(evidence: Evidence, rows: set[Row]) -> Evidence:
    if not rows:
        return evidence
    doubts = {row: Doubt((evidence.proven[row].target,), UNSAYABLE) for row in rows}
    left = {row: proof for row, proof in evidence.proven.items() if row not in rows}
    unfilled = (*evidence.unfilled, *(evidence.proven[row].target for row in rows))
    return evidence._replace(proven=left, doubts={**evidence.doubts, **doubts}, unfilled=unfilled)


def _separator(rows: Sequence[Row]) -> str:
    """What names are separated by: `.` where no name has a `/`."""
    return "." if rows and not any("/" in row.name for row in rows) and any("." in row.name for row in rows) else "/"
