"""Protobuf text format, edited without a schema: comments, order, spacing and unknown fields stay as they are.

A text is parsed into fields that know where they stand, and an edit is a splice of the text, parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptmigrate.detection.textformat import Field, Message, parse_message, plain, position
from ckptmigrate.errors import SourceError
from ckptmigrate.urls import spoken
from ckptmigrate.wire.reading import head
from ckptmigrate.wire.remote import held

MAX_TEXT = 4 << 20  # characters; the API's own files have some 5,000

_REST = re.compile(r"[ \t]*[,;]?[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_SEPARATOR = re.compile(r"[ \t]*[,;]")
_BLANK = re.compile(r"[ \t]*(?:\n|\Z)")

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its fields. Edits give a new document.

    >>> document = parse('model { ssd { num_classes: 90  # COCO\\n } }')
    >>> document.text_of("model", "ssd", "num_classes")
    '90'
    >>> document.replaced(("model", "ssd", "num_classes"), "3").text
    'model { ssd { num_classes: 3  # COCO\\n } }'
    """

    text: str
    root: Message
    source: str = ""

    def find(self, *path: str) -> Field | None:
        """The last field at that path: the one that counts where a field that isn't repeated is written twice."""
        found = self.all(*path)
        return found[-1] if found else None

    def all(self, *path: str) -> tuple[Field, ...]:
        """Every field at that path, in order."""
        messages: Sequence[Message] = (self.root,)
        fields: tuple[Field, ...] = ()
        for name in path:
            fields = tuple(f for m in messages for f in m.fields if f.name == name)
            messages = [m for f in fields for m in f.messages]
        return fields

    def has(self, *path: str) -> bool:
        """Whether the field is written there."""
        return bool(self.all(*path))

    def text_of(self, *path: str) -> str | None:
        """The value of a scalar field: a string without its quotes, else the literal; None where it isn't written."""
        field = self.find(*path)
        return plain(field.values[-1]) if field is not None and field.values else None

    def position(self, field: Field) -> str:
        """`file:line:column` of a field, from 1."""
        return position(self.text, field.start, self.source)

    def replaced(self, path: Names, literal: str) -> Document:
        """The scalar field at `path` with another literal; added, with the messages around it, where it is missing."""
        field = self.find(*path)
        if field is None:
            return self._added(path, f"{path[-1]}: {literal}")
        colon = self.text.index(":", field.start) + 1
        return self._spliced(colon, field.end, f" {literal}")

    def renamed(self, path: Names, name: str) -> Document:
        """The field at `path` under another name."""
        field = self._known(path)
        return self._spliced(field.start, field.start + len(field.name), name)

    def without(self, path: Names) -> Document:
        """The text less every field at `path`, and the lines that were theirs alone; comments behind them stay."""
        document = self
        for _ in self.all(*path):
            field = document._known(path)
            document = document._spliced(*_whole_lines(document.text, field), "")
        return document

    def _known(self, path: Names) -> Field:
        field = self.find(*path)
        if field is None:
            raise KeyError("/".join(path))
        return field

    def _added(self, path: Names, written: str) -> Document:
        """Behind the last field of the innermost message there is; on its own line where that message has lines."""
        depth = next(n for n in range(len(path) - 1, -1, -1) if self._message(path[:n]) is not None)
        message = self._message(path[:depth])
        assert message is not None
        names, last = path[depth:-1], message.fields[-1] if message.fields else None
        behind = last.end if last else message.start
        if depth and "\n" not in self.text[message.start : message.end]:
            line = "".join(f"{name} {{ " for name in names) + written + " }" * len(names)
            return self._spliced(behind, behind, f" {line}" if last else f" {line} ")
        at = _line_end(self.text, behind)
        indent = _indent(self.text, last.start) if last else _indent(self.text, message.start) + "  " * (depth > 0)
        lines = _nested(names, written, indent)
        before = "\n" if self.text[:at] and self.text[at - 1] != "\n" else ""
        behind_it = "" if self.text[at : at + 1] == "\n" else "\n"
        return self._spliced(at, at, before + lines + behind_it)

    def _message(self, path: Names) -> Message | None:
        if not path:
            return self.root
        field = self.find(*path)
        return field.messages[-1] if field is not None and field.messages else None

    def _spliced(self, start: int, end: int, written: str) -> Document:
        return parse(self.text[:start] + written + self.text[end:], self.source)


def read(path: str | Path, expected: str, hint: str = "") -> Document:
    """Reads a file.

    Args:
        path: The file, or its URL.
        expected: What it should be, for errors.
        hint: What to do where there is no such file.

    Raises:
        SourceError: It can't be read, or is no text format; with line and column.
    """
    try:
        with held(path) as file:
            text = head(file, MAX_TEXT + 1).decode("utf-8")
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=str(path), hint=hint) from None
    except UnicodeDecodeError:
        raise SourceError(f"not a text file; expected {expected}", where=str(path)) from None
    return parse(text, spoken(str(path)))


def parse(text: str, source: str = "") -> Document:
    """Parses a text.

    Args:
        text: The whole file.
        source: What errors call it: its path.

    Raises:
        SourceError: It is no text format, with line and column.
    """
    if len(text) > MAX_TEXT:
        raise SourceError(f"{len(text)} characters; at most {MAX_TEXT} are read", where=source)
    return Document(text, parse_message(text, source), source)


def _indent(text: str, at: int) -> str:
    """The space that the line of a character begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _line_end(text: str, at: int) -> int:
    """The end of the line, where only a separator and a comment follow; else where it was."""
    found = _REST.match(text, at)
    return found.end() if found else at


def _nested(names: Sequence[str], written: str, indent: str) -> str:
    opening = [f"{indent}{'  ' * depth}{name} {{" for depth, name in enumerate(names)]
    closing = [f"{indent}{'  ' * depth}}}" for depth in reversed(range(len(names)))]
    return "\n".join([*opening, f"{indent}{'  ' * len(names)}{written}", *closing])


def _whole_lines(text: str, field: Field) -> tuple[int, int]:
    """The characters of a field, with its separator, and with its line where nothing else stands on it."""
    separator = _SEPARATOR.match(text, field.end)
    end = separator.end() if separator else field.end
    line = text.rfind("\n", 0, field.start) + 1
    before = text[line : field.start]
    if before.strip():
        return line + len(before.rstrip()), end
    rest = _BLANK.match(text, end)
    if rest:
        return line, rest.end()
    return field.start, end + len(text[end:]) - len(text[end:].lstrip(" \t"))
