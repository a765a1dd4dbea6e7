"""The grammar of protobuf text format: fields that know where in the text they stand.

After https://protobuf.dev/reference/protobuf/textformat-spec/. `google.protobuf.text_format` needs the classes of the
messages (the API's own, generated), and keeps neither comments nor places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ckptmigrate.errors import SourceError

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
_CLOSES = {"{": "}", "<": ">"}
_HINT = "the file is read as protobuf text format; protoc or the Object Detection API would refuse it, too"


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


def parse_message(text: str, source: str) -> Message:
    """The fields of a whole text.

    Raises:
        SourceError: It is no text format, with line and column.
    """
    return _Parser(text, source).message()


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


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._tokens = [t for t in _tokens(text, source) if t.kind != "space"]
        self._at = 0

    def message(self) -> Message:
        return Message(tuple(self._fields("", 0)), 0, len(self._text))

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
        return SourceError(message, where=position(self._text, token.start, self._source), hint=_HINT)


def _tokens(text: str, source: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            what = "a string that doesn't end on its line" if text[at] in "\"'" else f"unexpected {text[at]!r}"
            raise SourceError(what, where=position(text, at, source), hint=_HINT)
        yield _Token(found.lastgroup or "", found[0], at, found.end())
        at = found.end()


def _shown(token: _Token) -> str:
    return repr(token.text if len(token.text) < 40 else token.text[:40] + "...")


def position(text: str, at: int, source: str) -> str:
    """`source:line:column` of a character, from 1."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"{source}:{line}:{column}" if source else f"{line}:{column}"
