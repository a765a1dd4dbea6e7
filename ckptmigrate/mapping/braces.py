"""Braces: how the text of patterns is taken apart, and how the patterns of one rule are compiled together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ckptmigrate.mapping import expression
from ckptmigrate.mapping.pattern import LEADING, Pattern
from ckptmigrate.mapping.reading import Formula, Hole, Leading, Token
from ckptmigrate.mapping.tables import SOURCE, TARGET, Table

MAX_LENGTH = 2000  # characters of a pattern

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_RANGE = re.compile(r"(0|[1-9][0-9]{0,8})\.\.(0|[1-9][0-9]{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Brace:
    """What stands between a pair of braces: an expression, most often a single name, and what follows a colon."""

    body: str
    kind: str

    @property
    def is_name(self) -> bool:
        """True for a single name."""
        return _NAME.fullmatch(self.body) is not None


def split(text: str) -> list[str | Brace]:
    """A pattern's text as literals and braces; `{{` and `}}` become literal braces.

    Raises:
        ValueError: What is wrong with it.

    >>> split("a{{b}}/{x:int}")
    ['a{b}/', Brace(body='x', kind='int')]
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters")
    parts: list[str | Brace] = []
    literal, at = "", 0
    while at < len(text):
        if text[at : at + 2] in ("{{", "}}"):
            literal, at = literal + text[at], at + 2
        elif text[at] == "{":
            end = text.find("}", at)
            if end < 0:
                raise ValueError("a hole isn't closed; a literal brace is written {{")
            body, _, kind = text[at + 1 : end].partition(":")
            if not body.strip():
                raise ValueError("a hole has no name")
            parts += [literal] * bool(literal) + [Brace(body.strip(), kind.strip())]
            literal, at = "", end + 1
        elif text[at] == "}":
            raise ValueError("a hole is closed that wasn't opened; a literal brace is written }}")
        else:
            literal, at = literal + text[at], at + 1
    return parts + [literal] * bool(literal)


@dataclass(frozen=True, slots=True)
class Scope:
    """What the patterns of one file are read with.

    Attributes:
        table: Finds a table by name; None when there is none. May raise ValueError.
        separators: Of the source's and the target's names.
        prefixes: Put in front of the source's and the target's patterns.
    """

    table: Callable[[str], Table | None] = lambda name: None
    separators: tuple[str, str] = ("/", "/")
    prefixes: tuple[str, str] = ("", "")


def read_kind(word: str, scope: Scope) -> Hole:
    """A nameless hole of the kind a word means: `int`, `2..5`, `path`, `nth`, `rank` or the name of a table.

    Raises:
        ValueError: It means nothing.
    """
    if word in ("int", "path", "nth", "rank"):
        return Hole("", word)  # type: ignore[arg-type]
    if found := _RANGE.fullmatch(word):
        if int(found[1]) > int(found[2]):
            raise ValueError(f"the range {word} is empty")
        return Hole("", "int", int(found[1]), int(found[2]))
    table = scope.table(word) if _NAME.fullmatch(word) else None
    if table is None:
        raise ValueError(f"{word!r} is no kind of hole (int, A..B, path, nth, rank) and no table of this file")
    return Hole("", "table", table=table)


def compile_patterns(
    sources: Sequence[str], targets: Sequence[str], scope: Scope
) -> tuple[tuple[Pattern, ...], tuple[Pattern, ...]]:
    """The patterns of one rule, compiled together: a hole's kind is stated once, on either side.

    Raises:
        ValueError: What is wrong with one of them.
    """
    left, right = [split(text) for text in sources], [split(text) for text in targets]
    kinds = _kinds(left, right, scope)
    return (
        tuple(_compile(text, parts, kinds, scope, SOURCE) for text, parts in zip(sources, left, strict=True)),
        tuple(_compile(text, parts, kinds, scope, TARGET) for text, parts in zip(targets, right, strict=True)),
    )


def compile_pattern(text: str, scope: Scope | None = None) -> Pattern:
    """One pattern by itself, as options and `drop` write it. Raises ValueError."""
    return compile_patterns([text], [], scope or Scope())[0][0]


def _kinds(left: Iterable[list[str | Brace]], right: Iterable[list[str | Brace]], scope: Scope) -> dict[str, Hole]:
    """Every hole of a rule by name."""
    kinds: dict[str, Hole] = {}
    mentioned: dict[str, None] = {}

    def declare(name: str, word: str) -> None:
        hole = replace(read_kind(word, scope), name=name)
        if kinds.setdefault(name, hole) != hole:
            raise ValueError(f"{{{name}}} is of two kinds; a hole's kind is stated once")

    for brace in (part for parts in left for part in parts if isinstance(part, Brace)):
        if not brace.is_name:
            raise ValueError(f"{{{brace.body}}}: expressions stand in `to`; `from` has holes")
        mentioned[brace.body] = None
        if brace.kind:
            declare(brace.body, brace.kind)
    for brace in (part for parts in right for part in parts if isinstance(part, Brace)):
        if not brace.is_name:
            if brace.kind not in ("", "nth", "rank"):
                raise ValueError(
                    f"{{{brace.body}:{brace.kind}}}: an expression is written as a number, `:nth` or `:rank`"
                )
            continue
        known = brace.body in kinds or (brace.body in mentioned and scope.table(brace.body))
        mentioned[brace.body] = None
        if brace.kind and not (known and brace.kind in ("nth", "rank")):
            declare(brace.body, brace.kind)
    for name in mentioned:
        if name not in kinds:
            table = scope.table(name)
            kinds[name] = Hole(name, "table", table=table) if table else Hole(name)
    return kinds


def _compile(text: str, parts: list[str | Brace], kinds: dict[str, Hole], scope: Scope, side: int) -> Pattern:
    separator = scope.separators[side]
    prefix: str = scope.prefixes[side]
    if text.startswith(LEADING):
        rest = str(parts[0])[len(LEADING) :]
        parts = [rest, *parts[1:]] if rest else parts[1:]
        prefix = ""
    if prefix:
        parts = [prefix + parts[0], *parts[1:]] if parts and isinstance(parts[0], str) else [prefix, *parts]
    tokens: list[Token] = [Leading()] if text.startswith(LEADING) else []
    for part in parts:
        tokens.append(part if isinstance(part, str) else _token(part, kinds, scope, side))
    if not tokens or tokens == [Leading()]:
        raise ValueError("a pattern is empty")
    _check_paths(tokens, separator)
    return Pattern(prefix + text, tuple(tokens), separator, side, kinds)


def _token(brace: Brace, kinds: dict[str, Hole], scope: Scope, side: int) -> Token:
    if brace.is_name:
        hole = kinds[brace.body]
        if not (brace.kind in ("nth", "rank") and hole.form != brace.kind):
            return replace(hole, texts=hole.table.texts(side, scope.separators)) if hole.table else hole
    formula = Formula(expression.parse(brace.body), brace.kind or "int")  # type: ignore[arg-type]
    for name in formula.expression.names:
        found = kinds.get(name)
        if found is None:
            raise ValueError(f"{{{name}}} isn't a hole of `from`")
        if found.form in ("text", "path") or (found.table is not None and found.table.numbers is None):
            what = (
                f"table {found.table.name} has no integers on its right"
                if found.table
                else f"it is a {found.form} hole"
            )
            raise ValueError(f"{{{brace.body}}} calculates with {name}, but {what}")
    tables = [table for name in formula.expression.names if (table := kinds[name].table)]
    if math.prod(len(table.columns[0]) for table in tables) > expression.MAX_TRIALS:
        raise ValueError(f"{{{brace.body}}} combines more than {expression.MAX_TRIALS} entries of tables")
    return formula


def _check_paths(tokens: Sequence[Token], separator: str) -> None:
    for before, token, after in zip([separator, *tokens], tokens, [*tokens[1:], separator], strict=False):
        if isinstance(token, Hole) and token.form == "path":
            left = isinstance(before, Leading) or (isinstance(before, str) and before.endswith(separator))
            if not left or not (isinstance(after, str) and after.startswith(separator)):
                raise ValueError(
                    f"{{{token.name}:path}} stands for whole segments: it needs {separator!r} on both sides"
                )
