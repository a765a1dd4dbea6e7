"""Draft: a mapping for two checkpoints, written as far as something proves it, for a person to finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckptmigrate.mapping.draft.evidence import Doubt, Evidence, Proof, gather
from ckptmigrate.mapping.draft.lines import Line, lines
from ckptmigrate.mapping.draft.rows import Row, rows_of
from ckptmigrate.mapping.draft.text import Written, write
from ckptmigrate.mapping.load import loads
from ckptmigrate.mapping.rules import Mapping as Rules
from ckptmigrate.table import Checkpoint

NAME = "draft.yaml"
UNSAYABLE = "the mapping language can't say its name"


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
    evidence, written, mapping = _said(source, destination, (rows, targets), evidence)
    return Draft(
        {row.name: Pair(p.target.name, p.operations, p.evidence) for row, p in evidence.proven.items()},
        {row.name: tuple(one.name for one in doubt.candidates) for row, doubt in evidence.doubts.items()},
        tuple(row.name for row in evidence.unfilled),
        written.text,
        mapping,
    )


def _said(
    source: Checkpoint, destination: Checkpoint, sides: tuple[Sequence[Row], Sequence[Row]], evidence: Evidence
) -> tuple[Evidence, Written, Rules]:
    """The text that makes these pairs and no others: with fewer holes where more would say too much."""
    separators = _separator(sides[0]), _separator(sides[1])
    as_they_are: set[Row] = set()
    while True:
        systems, found = lines(*sides, evidence.proven, as_they_are, separators)
        written = write(source, destination, evidence, found, named=systems, separators=separators)
        wrong, mapping = _wrong(source, destination, evidence.proven, written, found)
        if mapping is not None and not wrong:
            return evidence, written, mapping
        literal = {row for line in wrong for row, _ in line.pairs}
        unsayable = literal & as_they_are
        evidence = _without(evidence, unsayable)
        as_they_are |= literal


def _wrong(
    source: Checkpoint, destination: Checkpoint, proven: Mapping[Row, Proof], written: Written, found: Sequence[Line]
) -> tuple[list[Line], Rules | None]:
    """The lines that don't make their pairs, or make others, by the mapping itself."""
    by_name = {row.name: (row, proof) for row, proof in proven.items()}
    of_row = {row: line for line in found for row, _ in line.pairs}
    mapping = loads(written.text, NAME)
    made = {move.sources[0]: move for move in mapping.assign(source, destination).moves}
    wrong = []
    for name, (row, proof) in by_name.items():
        move = made.get(name)
        if move is None or move.targets != (proof.target.name,) or len(move.operations) != len(proof.operations):
            wrong.append(of_row[row])
    for name, move in made.items():
        if name not in by_name and source.variables[name].role == "weight":
            wrong.append(written.places[int(move.where.rpartition(":")[2])])
    return list(dict.fromkeys(wrong)), mapping


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
