"""Text: a draft as the YAML of a mapping, with what is proven as rules and what is not as comments."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.mapping.draft.evidence import Evidence
from ckptmigrate.mapping.draft.lines import Line
from ckptmigrate.mapping.draft.rows import Row
from ckptmigrate.mapping.names import systems
from ckptmigrate.runs import collapse, spread
from ckptmigrate.table import Checkpoint

SHOWN = 5  # candidates that are named
LISTED = 40  # lines of names of one kind
MAX_KEY = 900  # characters of a key; YAML allows 1024 bytes

_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./{}+-]|:(?=[A-Za-z0-9]))*", re.ASCII)


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
    named: tuple[str, str],
    separators: tuple[str, str],
) -> Written:
    """The file."""
    writer = _Writer()
    writer.head(source, target, evidence, named, separators)
    writer.rules(lines)
    writer.left(evidence)
    return Written("\n".join(writer.out) + "\n", writer.places)


def quoted(text: str) -> str:
    """Text as a YAML scalar that reads as nothing else."""
    if _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(_escape(c) if c in '"\\' or not c.isprintable() else c for c in text) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


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
        self.out += [
            f"# Drafted by `ckptmigrate mapping draft` from {by}.",
            f"# Proven: {proven} of {total} variables of the source; {len(evidence.unfilled)} of the target are left.",
            "# Behind each rule: how many variables, their shapes, and what proves them. The end says what is left.",
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
            self.out += ["tables:", *(f"  {name}: {_table(dict(entries))}" for entries, name in tables.items())]
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
            self._add(line, f"  - from: {source}  {_proof(line)}")
            self.out.append(f"    to: {target}")
            self.out += [f"    do: [{', '.join(line.operations)}]"] * bool(line.operations)

    def _add(self, line: Line, text: str) -> None:
        self.out.append(text)
        self.places[len(self.out)] = line

    def left(self, evidence: Evidence) -> None:
        """What is left to decide, as comments."""
        groups: dict[tuple[str, tuple[Row, ...]], list[Row]] = defaultdict(list)
        for row, doubt in evidence.doubts.items():
            groups[doubt.why, doubt.candidates].append(row)
        unsure = {key: rows for key, rows in groups.items() if key[1]}
        if unsure:
            self.out += ["", "# To decide: under `rules`, one line for each (`- {from: ..., to: ...}`), or a `drop`."]
        for (why, candidates), rows in unsure.items():
            self.out.append(f"# {why}:")
            self.out += _listed((f"- from: {name}" for name in _collapsed(rows)), LISTED, "")
            self.out += _listed((f"    to: {name}" for name in _collapsed(candidates)), SHOWN, "    ")
        unused = [row for (_, candidates), rows in groups.items() if not candidates for row in rows]
        if unused:
            self.out += ["", "# Nothing in the target is like these. Under `rules`, to leave them out:"]
            self.out += _listed((f"- drop: {name}" for name in _collapsed(unused)), LISTED, "")
        if evidence.unfilled:
            self.out += ["", "# Nothing is proven to fill these. Under `rules`, to give them a value:"]
            names = _collapsed(evidence.unfilled)
            self.out += _listed((f"- fill: {name}" for name in names), LISTED, "")


def _collapsed(rows: Sequence[Row]) -> list[str]:
    """Names, many on a line, each line with its number and shapes."""
    by_name = {row.name: row for row in rows}
    found = []
    for run in collapse([row.name for row in rows], [len(row.shape) for row in rows]):
        times = f"{len(run.names)} of " if len(run.names) > 1 else ""
        found.append(f"{_visible(run.text)}  # {times}{spread(by_name[name].shape for name in run.names)}")
    return found


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _listed(names: Iterator[str], most: int, indent: str) -> list[str]:
    told = list(names)
    rest = len(told) - most
    return [f"#   {text}" for text in told[:most]] + [f"#   {indent}... and {rest} more"] * (rest > 0)


def _proof(line: Line) -> str:
    shapes = {row.shape for row, _ in line.pairs}
    ranks = {len(shape) for shape in shapes}
    told = f" {spread(shapes)}" if len(ranks) == 1 else ""
    counts = Counter(proof.evidence for _, proof in line.pairs)
    return f"# {len(line.pairs)}{told}: {', '.join(counts)}"


Entries = tuple[tuple[str, str], ...]


def _tables(lines: Sequence[Line]) -> dict[Entries, str]:
    """The tables that lines use, each once, with the name it gets."""
    found: dict[Entries, str] = {}
    for line in lines:
        for hole, entries in line.tables.items():
            key = tuple(sorted(entries.items()))
            found.setdefault(key, f"{hole}_{len(found) + 1}" if found else hole)
    return found


def _table(entries: Mapping[str, str]) -> str:
    if all(one == other for one, other in entries.items()):
        return f"[{', '.join(map(_item, entries))}]"
    return "{" + ", ".join(f"{_item(one)}: {_item(other)}" for one, other in entries.items()) + "}"


def _item(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text, re.ASCII) else quoted(text + " ")[:-2] + '"'


def _named(line: Line, tables: Mapping[Entries, str]) -> tuple[str, str]:
    """Its patterns as YAML, the holes of its tables under the tables' names."""
    source, target = line.source, line.target
    for hole, entries in line.tables.items():
        name = tables[tuple(sorted(entries.items()))]
        source, target = (text.replace(f"{{{hole}}}", f"{{{name}}}") for text in (source, target))
    return quoted(source), quoted(target)
