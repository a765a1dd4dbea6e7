"""Protobuf text format, edited without a schema: comments, order, spacing and unknown fields stay as they are.

The grammar is that of https://protobuf.dev/reference/protobuf/textformat-spec/; a text is parsed into fields that know
where they stand, and an edit is a splice of the text, parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import SourceError

MAX_TEXT = 4 << 20  # characters; the API's own files have some 5,000
MAX_DEPTH = 64  # messages in messages; TensorFlow's have less than 10

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f\v]+|\#[^\n]*)+)
      | (?P<name>\[[\w.\-/ ]+\](?=\s*[:{<]) | [A-Za-z_]\w*)
      | (?P<number>-?\s*(?:0[xX][0-9a-fA-F]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?))
      | (?P<minus>-(?=\s*(?:inf|infinity|nan)\b))
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<mark>[:{}<>\[\],;])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_REST = re.compile(r"[ \t]*[,;]?[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_SEPARATOR = re.compile(r"[ \t]*[,;]")
_BLANK = re.compile(r"[ \t]*(?:\n|\Z)")
_CLOSES = {"{": "}", "<": ">"}

Names = tuple[str, ...]


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; a list (`dims: [1, 2]`) is one field with several values.

    Attributes:
        name: As written; extensions in their brackets.
        start, end: The characters from its name to the end of its value.
        values: Literals as written (`"a" "b"` is one); none for messages.
        messages: What stands between its braces; several for a list of messages.
    """

    name: str
    start: int
    end: int
    values: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()

    @property
    def message(self) -> Message | None:
        """The one message that it holds."""
        return self.messages[0] if self.messages else None


@dataclass(frozen=True, slots=True)
class Message:
    """The fields between two braces, and the characters between them."""

    fields: tuple[Field, ...]
    start: int
    end: int


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
        return _position(self.text, field.start, self.source)

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


def plain(literal: str) -> str:
    """A literal without quotes and escapes; numbers and identifiers as they are.

    >>> plain('"a\\\\tb" \\'c\\'')
    'a\\tbc'
    """
    if literal[:1] not in ("'", '"'):
        return literal
    parts = (t for t in _tokens(literal, "") if t.kind == "string")
    return "".join(_unescaped(token.text[1:-1]) for token in parts)


def quoted(text: str) -> str:
    """Text as a literal.

    >>> quoted('a"b')
    '"a\\\\"b"'
    """
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


def _unescaped(text: str) -> str:
    """Octal and hexadecimal escapes are bytes of UTF-8."""
    if "\\" not in text:
        return text
    raw, at = bytearray(), 0
    for found in _ESCAPE.finditer(text):
        raw += text[at : found.start()].encode()
        octal, hexadecimal, short, long, letter = found.groups()
        if octal or hexadecimal:
            raw.append(int(octal or hexadecimal, 8 if octal else 16) & 0xFF)
        elif short or long:
            number = int(short or long, 16)
            raw += (chr(number) if number < 0x110000 else "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
        else:
            raw += _PLAIN.get(letter, letter).encode()
        at = found.end()
    return (bytes(raw) + text[at:].encode()).decode("utf-8", "replace")


def read(path: Path, expected: str, hint: str = "") -> Document:
    """Reads a file.

    Args:
        path: The file.
        expected: What it should be, for errors.
        hint: What to do where there is no such file.

    Raises:
        SourceError: It can't be read, or is no text format; with line and column.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_TEXT + 1).decode("utf-8")
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=str(path), hint=hint) from None
    except UnicodeDecodeError:
        raise SourceError(f"not a text file; expected {expected}", where=str(path)) from None
    return parse(text, str(path))


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
    return _Parser(text, source).document()


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._tokens = [t for t in _tokens(text, source) if t.kind != "space"]
        self._at = 0

    def document(self) -> Document:
        fields = tuple(self._fields("", 0))
        return Document(self._text, Message(fields, 0, len(self._text)), self._source)

    def _fields(self, closing: str, depth: int) -> Iterator[Field]:
        if depth > MAX_DEPTH:
            raise self._error(f"messages nest deeper than {MAX_DEPTH}")
        while (token := self._peek()).text != closing:
            if token.kind != "name":
                expected = f"a field's name or {closing!r}" if closing else "a field's name"
                raise self._error(f"expected {expected}, found {_shown(token)}")
            yield self._field(depth)
            if self._peek().text in (",", ";"):
                self._at += 1

    def _field(self, depth: int) -> Field:
        name = self._take()
        has_colon = self._peek().text == ":"
        self._at += has_colon
        opening = self._peek()
        if opening.text in _CLOSES:
            message, end = self._message(depth)
            return Field(name.text, name.start, end, messages=(message,))
        if opening.text == "[":
            return self._list(name, depth)
        if not has_colon:
            raise self._error(f"expected ':' or '{{' after {name.text}, found {_shown(opening)}")
        literal, end = self._literal()
        return Field(name.text, name.start, end, (literal,))

    def _message(self, depth: int) -> tuple[Message, int]:
        opening = self._take()
        fields = tuple(self._fields(_CLOSES[opening.text], depth + 1))
        closing = self._take()
        return Message(fields, opening.end, closing.start), closing.end

    def _list(self, name: _Token, depth: int) -> Field:
        self._take()
        values: list[str] = []
        messages: list[Message] = []
        while self._peek().text != "]":
            if self._peek().text in _CLOSES:
                messages.append(self._message(depth)[0])
            else:
                values.append(self._literal()[0])
            if self._peek().text == ",":
                self._at += 1
            elif self._peek().text != "]":
                raise self._error(f"expected ',' or ']' in {name.text}, found {_shown(self._peek())}")
        return Field(name.text, name.start, self._take().end, tuple(values), tuple(messages))

    def _literal(self) -> tuple[str, int]:
        first = last = self._take()
        if first.kind == "minus":
            last = self._take()
        elif first.kind not in ("name", "number", "string"):
            self._at -= 1
            raise self._error(f"expected a value, found {_shown(first)}")
        while first.kind == "string" and self._peek().kind == "string":
            last = self._take()
        return self._text[first.start : last.end], last.end

    def _peek(self) -> _Token:
        if self._at < len(self._tokens):
            return self._tokens[self._at]
        return _Token("end", "", len(self._text), len(self._text))

    def _take(self) -> _Token:
        token = self._peek()
        if token.kind == "end":
            raise self._error("the text ends here, inside a message or before a value")
        self._at += 1
        return token

    def _error(self, message: str) -> SourceError:
        token = self._peek()
        if token.kind == "end":
            message = message.replace("found ''", "found the end of the text")
        return SourceError(message, where=_position(self._text, token.start, self._source), hint=_HINT)


_HINT = "the file is read as protobuf text format; protoc or the Object Detection API would refuse it, too"


def _tokens(text: str, source: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            what = "a string that doesn't end on its line" if text[at] in "\"'" else f"unexpected {text[at]!r}"
            raise SourceError(what, where=_position(text, at, source), hint=_HINT)
        yield _Token(found.lastgroup or "", found[0], at, found.end())
        at = found.end()


def _shown(token: _Token) -> str:
    return repr(token.text if len(token.text) < 40 else token.text[:40] + "...")


def _position(text: str, at: int, source: str) -> str:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"{source}:{line}:{column}" if source else f"{line}:{column}"


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
