"""Nodes: the subset of YAML that mapping files are written in, with line numbers kept.

Texts, lists and mappings. No anchors, aliases, merge keys, tags or second documents; no guessing of types: a text is
what is written, and only who reads it decides whether it may be a number or a flag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptmigrate.errors import MappingError
from ckptmigrate.issues import Issue

MAX_BYTES = 4 << 20  # a rename for each of 20,000 variables; larger is no mapping
MAX_DEPTH = 12  # `do` inside a rule needs six
MAX_NODES = 400_000
MAX_DIGITS = 18

QUOTE = 'quote a pattern with holes: "{x}/kernel"'
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar: what is written, and whether it was written without quotes."""

    text: str
    line: int
    is_plain: bool = True

    @property
    def number(self) -> int | float | None:
        """The number a plain text in decimal notation without leading zeros is; else None."""
        found = _NUMBER.fullmatch(self.text) if self.is_plain and len(self.text) <= MAX_DIGITS else None
        return None if found is None else float(self.text) if found[1] else int(self.text)


@dataclass(frozen=True, slots=True)
class List:
    """A sequence."""

    items: list[Node]
    line: int


@dataclass(frozen=True, slots=True)
class Map:
    """A mapping, in the order written; keys are unique."""

    entries: dict[str, tuple[Text, Node]]
    line: int

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        found = self.entries.get(key)
        return found[1] if found else None


Node = Text | List | Map


@dataclass
class Complaints:
    """Everything that is wrong with one file, collected so that all of it is told at once."""

    file: str
    issues: list[Issue] = field(default_factory=list)

    def where(self, line: int) -> str:
        """file:line."""
        return f"{self.file}:{line}"

    def add(self, line: int, message: str, hint: str = "") -> None:
        """Notes one."""
        self.issues.append(Issue("mapping", "error", "", message, hint, self.where(line)))

    def settle(self) -> None:
        """Raises MappingError if there are any."""
        if self.issues:
            first = self.issues[0]
            raise MappingError(first.message, where=first.where, hint=first.hint, issues=self.issues)


def read_yaml(path: Path, file: str) -> tuple[Map, bytes]:
    """A mapping file's top node, and its bytes.

    Args:
        path: The file.
        file: What complaints call it.

    Raises:
        MappingError: It can't be read, or uses what mapping files don't.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise MappingError(f"can't be read: {error.strerror}", where=file) from error
    if len(content) > MAX_BYTES:
        raise MappingError(f"is larger than {MAX_BYTES >> 20} MiB, which no mapping is", where=file)
    try:
        return parse_yaml(content.decode("utf-8-sig"), file), content
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MappingError("is not UTF-8 text", where=f"{file}:{line}") from error


def parse_yaml(text: str, file: str) -> Map:
    """The top node of a document. Raises MappingError."""
    import yaml

    complaints = Complaints(file)
    builder = _Builder(complaints)
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        top = builder.build(events)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be parsed"
        lines = text.splitlines()[max(0, line - 2) : line]
        raise MappingError(
            f"is not YAML: {problem}", where=complaints.where(line), hint=QUOTE if any("{" in t for t in lines) else ""
        ) from error
    complaints.settle()
    if not isinstance(top, Map):
        hint = "a mapping file begins with `ckptmigrate: 1`"
        raise MappingError("holds no keys", where=complaints.where(1), hint=hint)
    return top


class _Builder:
    """Builds nodes from PyYAML's events, which carry no types yet."""

    def __init__(self, complaints: Complaints) -> None:
        self.complaints = complaints
        self.count = 0

    def build(self, events: Iterator[Any]) -> Node | None:
        top: Node | None = None
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent" and top is not None:
                self.complaints.add(event.start_mark.line + 1, "a second document begins here; a file holds one")
                return top
            if kind in ("ScalarEvent", "SequenceStartEvent", "MappingStartEvent", "AliasEvent"):
                top = self._node(event, events, 0)
        return top

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line = event.start_mark.line + 1
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_NODES:
            what = f"more than {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            raise MappingError(f"is {what}", where=self.complaints.where(line))
        if event.anchor is not None:
            message = "anchors and aliases (& and *) are not used here"
            raise MappingError(message, where=self.complaints.where(line), hint="quote a text that begins with one")
        if getattr(event, "tag", None) not in (None, "!"):
            self.complaints.add(line, f"tags ({event.tag}) are not used in mapping files")
        kind = type(event).__name__
        if kind == "SequenceStartEvent":
            return List([self._node(e, events, depth + 1) for e in _until(events, "SequenceEndEvent")], line)
        if kind == "MappingStartEvent":
            return self._map(events, depth, line)
        return Text(event.value, line, not event.style)  # libyaml says '', PyYAML None

    def _map(self, events: Iterator[Any], depth: int, line: int) -> Map:
        entries: dict[str, tuple[Text, Node]] = {}
        for event in _until(events, "MappingEndEvent"):
            key = self._node(event, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            if not isinstance(key, Text):
                self.complaints.add(key.line, "a key is a text", QUOTE)
            elif key.text == "<<" and key.is_plain:
                self.complaints.add(key.line, "merge keys (<<) are not used in mapping files")
            elif key.text in entries:
                self.complaints.add(
                    key.line, f"{key.text!r} stands here twice, first in line {entries[key.text][0].line}"
                )
            else:
                entries[key.text] = (key, value)
        return Map(entries, line)


def _until(events: Iterator[Any], end: str) -> Iterator[Any]:
    for event in events:
        if type(event).__name__ == end:
            return
        yield event
