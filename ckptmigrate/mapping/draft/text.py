"""Text: a draft as the YAML of a mapping, with what is proven as rules and what is not as comments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.mapping.draft.evidence import SAME_NAME, UNTURNED, Evidence
from ckptmigrate.mapping.draft.guesses import NEAREST
from ckptmigrate.mapping.draft.left import left
from ckptmigrate.mapping.draft.lines import Line
from ckptmigrate.mapping.draft.scalars import NAME, quoted
from ckptmigrate.mapping.names import systems
from ckptmigrate.runs import spread
from ckptmigrate.table import Checkpoint

NAMES = (SAME_NAME, NEAREST)  # evidence that names alone give
BY_NAME = (
    "# Names are believed: no values tell whether two of one shape changed places; `verify --level forward` would."
)
MAX_KEY = 900  # characters of a key; YAML allows 1024 bytes

Entries = tuple[tuple[str, str], ...]


class Written(NamedTuple):
    """The text, and which of its lines (from 1) is which line of the draft."""

    text: str
    places: Mapping[int, Line]


def write(
    source: Checkpoint,
    target: Checkpoint,
    evidence: Evidence,
    lines: Sequence[Line],
    *,
    unturned: Sequence[Line],
    named: tuple[str, str],
    separators: tuple[str, str],
) -> Written:
    """The file.

    Args:
        source, target: The checkpoints.
        evidence: What is known of their variables.
        lines: What says the proven pairs.
        unturned: What would say those that may have to be turned.
        named, separators: The systems of names that the lines speak of, and what separates segments in these.
    """
    writer = _Writer()
    writer.head(source, target, evidence, named, separators)
    writer.rules(lines)
    writer.unturned(unturned)
    writer.out += left(evidence, named, separators)
    return Written("\n".join(writer.out) + "\n", writer.places)


class _Writer:
    def __init__(self) -> None:
        self.out: list[str] = []
        self.places: dict[int, Line] = {}

    def head(
        self,
        source: Checkpoint,
        target: Checkpoint,
        evidence: Evidence,
        named: tuple[str, str],
        separators: tuple[str, str],
    ) -> None:
        proven, total = len(evidence.proven), len(evidence.proven) + len(evidence.doubts)
        by = "names, shapes and values" if evidence.has_values else "names and shapes"
        is_by_name = not evidence.has_values and any(p.evidence in NAMES for p in evidence.proven.values())
        self.out += [
            f"# Drafted by `ckptmigrate mapping draft` from {by}.",
            f"# Proven: {proven} of {total} variables of the source; {len(evidence.unfilled)} of the target are left.",
            "# Behind each rule: how many variables, their shapes, and what proves them. The end says what is left.",
            *[BY_NAME] * is_by_name,
            "ckptmigrate: 1",
            f"title: {quoted(f'Draft, {source.path.name or source.format} to {target.path.name or target.format}')}",
        ]
        for side, checkpoint, system, separator in zip(
            ("source", "target"), (source, target), named, separators, strict=True
        ):
            told = [f'separator: "{separator}"'] * (separator != "/")
            told += [f"names: {system}"] * (len(systems(checkpoint)) > 2)
            self.out += [f"{side}: {{{', '.join(told)}}}"] * bool(told)

    def rules(self, lines: Sequence[Line]) -> None:
        tables = _tables(lines)
        if tables:
            self.out += ["tables:", *(f"  {name}: {_table(entries)}" for entries, name in tables.items())]
        renames = [line for line in lines if not line.operations and len(line.source) < MAX_KEY]
        shown = [(line, *_named(line, tables)) for line in lines]
        if renames:
            self.out.append("rename:")
        width = min(72, max((len(source) for line, source, _ in shown if line in renames), default=0))
        for line, source, target in shown:
            if line in renames:
                self._add(line, f"  {source + ':':<{width + 1}} {target}  {_proof(line)}")
        rest = [one for one in shown if one[0] not in renames]
        if rest:
            self.out.append("rules:")
        for line, source, target in rest:
            first, *more = _rule(line, source, target)
            self._add(line, first)
            self.out += more

    def _add(self, line: Line, text: str) -> None:
        self.out.append(text)
        self.places[len(self.out)] = line

    def unturned(self, lines: Sequence[Line]) -> None:
        """Pairs of which only the way round is left to decide, as comments."""
        if lines:
            self.out += ["", f"# {UNTURNED[0].upper()}{UNTURNED[1:]}. Under `rules`, with or without `do`:"]
        for line in lines:
            self.out += [f"# {text}" for text in _rule(line, quoted(line.source), quoted(line.target))]


def _proof(line: Line) -> str:
    shapes = {row.shape for row, _ in line.pairs}
    ranks = {len(shape) for shape in shapes}
    told = f" {spread(shapes)}" if len(ranks) == 1 else ""
    counts = Counter(proof.evidence for _, proof in line.pairs)
    return f"# {len(line.pairs)}{told}: {', '.join(counts)}"


def _rule(line: Line, source: str, target: str) -> list[str]:
    do = [f"    do: [{', '.join(line.operations)}]"] * bool(line.operations)
    return [f"  - from: {source}  {_proof(line)}", f"    to: {target}", *do]


def _tables(lines: Sequence[Line]) -> dict[Entries, str]:
    """The tables that lines use, each once, with the name it gets."""
    entries = dict.fromkeys(tuple(sorted(line.leaves.items())) for line in lines if line.leaves)
    return {one: f"leaf_{number}" if number else "leaf" for number, one in enumerate(entries)}


def _table(entries: Entries) -> str:
    if all(one == other for one, other in entries):
        return f"[{', '.join(quoted(one, NAME) for one, _ in entries)}]"
    return "{" + ", ".join(f"{quoted(one, NAME)}: {quoted(other, NAME)}" for one, other in entries) + "}"


def _named(line: Line, tables: Mapping[Entries, str]) -> tuple[str, str]:
    """Its patterns as YAML, with the table of its leaves behind them."""
    hole = f"{{{tables[tuple(sorted(line.leaves.items()))]}}}" if line.leaves else ""
    return quoted(line.source + hole), quoted(line.target + hole)
