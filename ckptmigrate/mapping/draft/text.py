"""Text: a draft as the YAML of a mapping, with what is proven as rules and what is not as comments."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.mapping.draft.evidence import SAME_NAME, UNTURNED, Evidence
from ckptmigrate.mapping.draft.guesses import NEAREST
from ckptmigrate.mapping.draft.lines import Line, escaped
from ckptmigrate.mapping.draft.rows import Row
from ckptmigrate.mapping.names import systems
from ckptmigrate.runs import collapse, spread
from ckptmigrate.table import Checkpoint

SHOWN = 5  # candidates that are named
LISTED = 40  # lines of names of one kind
NAMES = (SAME_NAME, NEAREST)  # evidence that names alone give
BY_NAME = (
    "# Names are believed: no values tell whether two of one shape changed places; `verify --level forward` would."
)
MAX_KEY = 900  # characters of a key; YAML allows 1024 bytes

_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./{}+-]|:(?=[A-Za-z0-9]))*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

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
    writer.left(evidence, unturned)
    return Written("\n".join(writer.out) + "\n", writer.places)


def quoted(text: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """Text as a YAML scalar that reads as nothing else."""
    if plain.fullmatch(text):
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

    def left(self, evidence: Evidence, unturned: Sequence[Line]) -> None:
        """What is left to decide, as comments."""
        if unturned:
            self.out += ["", f"# {UNTURNED[0].upper()}{UNTURNED[1:]}. Under `rules`, with or without `do`:"]
        for line in unturned:
            self.out += [f"# {text}" for text in _rule(line, quoted(line.source), quoted(line.target))]
        groups: dict[tuple[str, tuple[Row, ...]], list[Row]] = defaultdict(list)
        for row, doubt in evidence.doubts.items():
            if row not in evidence.unturned:
                groups[doubt.why, doubt.candidates].append(row)
        unsure = {key: rows for key, rows in groups.items() if key[1]}
        if unsure:
            self.out += ["", "# To decide: under `rules`, one line for each (`- {from: ..., to: ...}`), or a `drop`."]
        said = ""
        for (why, candidates), rows in sorted(unsure.items(), key=lambda group: group[0][0]):
            self.out += [f"# {why}:"] * (why != said)
            said = why
            self.out += _listed((f"- from: {name}" for name in _collapsed(rows)), LISTED, "")
            self.out += _listed((f"  to: {name}" for name in _collapsed(candidates)), SHOWN, "  ")
        unused = [row for (_, candidates), rows in groups.items() if not candidates for row in rows]
        if unused:
            self.out += ["", "# Nothing in the target is like these. Under `rules`, to leave them out:"]
            self.out += _listed((f"- drop: {name}" for name in _collapsed(unused)), LISTED, "")
        turned = {proof.target for proof in evidence.unturned.values()}
        unfilled = [row for row in evidence.unfilled if row not in turned]
        if unfilled:
            hint = "Under `rules`, with `with: zeros`, `ones`, a number or `template`"
            self.out += ["", f"# Nothing is proven to fill these. {hint}:"]
            self.out += _listed((f"- fill: {name}" for name in _collapsed(unfilled)), LISTED, "")


def _collapsed(rows: Sequence[Row]) -> list[str]:
    """Names, many on a line, each line with its number and shapes."""
    by_name = {row.name: row for row in rows}
    found = []
    for run in collapse([row.name for row in rows], [len(row.shape) for row in rows]):
        is_one = len(run.names) == 1
        text = quoted(escaped(run.text)) if is_one else _visible(run.text)
        times = "" if is_one else f"{len(run.names)} of "
        found.append(f"{text}  # {times}{spread(by_name[name].shape for name in run.names)}")
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


def _rule(line: Line, source: str, target: str) -> list[str]:
    do = [f"    do: [{', '.join(line.operations)}]"] * bool(line.operations)
    return [f"  - from: {source}  {_proof(line)}", f"    to: {target}", *do]


def _tables(lines: Sequence[Line]) -> dict[Entries, str]:
    """The tables that lines use, each once, with the name it gets."""
    entries = dict.fromkeys(tuple(sorted(line.leaves.items())) for line in lines if line.leaves)
    return {one: f"leaf_{number}" if number else "leaf" for number, one in enumerate(entries)}


def _table(entries: Entries) -> str:
    if all(one == other for one, other in entries):
        return f"[{', '.join(quoted(one, _NAME) for one, _ in entries)}]"
    return "{" + ", ".join(f"{quoted(one, _NAME)}: {quoted(other, _NAME)}" for one, other in entries) + "}"


def _named(line: Line, tables: Mapping[Entries, str]) -> tuple[str, str]:
    """Its patterns as YAML, with the table of its leaves behind them."""
    hole = f"{{{tables[tuple(sorted(line.leaves.items()))]}}}" if line.leaves else ""
    return quoted(line.source + hole), quoted(line.target + hole)
