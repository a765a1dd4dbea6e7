"""Readings: all ways in which a pattern's tokens can be laid over a name, found without backtracking into dead ends.

First, from the last token to the first, the positions from which the rest of the pattern can reach the name's end; then
a walk forward that only steps on those. A name of n characters costs O(n) per token, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.expression import Expression
from ckptmigrate.mapping.tables import Table

Form = Literal["text", "int", "path", "nth", "rank", "table"]
Capture = str | int | tuple[str, ...] | None

MAX_DIGITS = 18  # longer ones are no counters, and Python refuses to read very long ones
MAX_STEPS = 20_000  # of a walk; only holes used twice can come near it


class Leading(NamedTuple):
    """`.../`: any leading segments, also none."""


@dataclass(frozen=True, slots=True)
class Hole:
    """`{x}` of some kind.

    Attributes:
        name: Its name.
        form: Its kind.
        low, high: The range of an integer; high is None where there is no end.
        table, texts: The table it takes an entry of, and what these are called on the pattern's side.
    """

    name: str
    form: Form = "text"
    low: int = 0
    high: int | None = None
    table: Table | None = None
    texts: tuple[str, ...] = ()

    def allows(self, number: int) -> bool:
        """Whether an integer lies in its range."""
        return self.low <= number and (self.high is None or number <= self.high)


class Formula(NamedTuple):
    """`{EXPR}`, `{EXPR:nth}`, `{EXPR:rank}`: a number made from holes."""

    expression: Expression
    form: Form = "int"


Token = str | Leading | Hole | Formula


def readings(tokens: Sequence[Token], separator: str, name: str) -> Iterator[tuple[Capture, ...]]:
    """Every way to lay the tokens over a name: one captured value per token (None for literals).

    Text holes capture str, paths tuples of segments, numbers int as written, tables the entry's position.
    """
    reach: list[set[int]] = [{len(name)}]
    for token in reversed(tokens):
        ends = reach[-1]
        if not ends:
            return
        reach.append(_starts(token, separator, name, ends))
    reach.reverse()
    if 0 in reach[0]:
        yield from _walk(tokens, separator, name, reach)


def _walk(
    tokens: Sequence[Token], separator: str, name: str, reach: Sequence[set[int]]
) -> Iterator[tuple[Capture, ...]]:
    """Depth first over the positions that lead to the end, an iterator per token on a stack."""
    first_of: dict[str, int] = {}
    repeats = [first_of.setdefault(t.name, i) if isinstance(t, Hole) else i for i, t in enumerate(tokens)]
    captured: list[Capture] = [None] * len(tokens)
    stack = [_ends(tokens[0], separator, name, 0)] if tokens else []
    steps = 0
    while stack:
        index = len(stack) - 1
        for end, value in stack[-1]:
            steps += 1
            if steps > MAX_STEPS:
                raise MappingError(f"{name[:80]!r} can be read in too many ways by a pattern that uses a hole twice")
            if end not in reach[index + 1] or (repeats[index] != index and captured[repeats[index]] != value):
                continue
            captured[index] = value
            if index + 1 == len(tokens):
                yield tuple(captured)
                continue
            stack.append(_ends(tokens[index + 1], separator, name, end))
            break
        else:
            stack.pop()


def _ends(token: Token, separator: str, name: str, start: int) -> Iterator[tuple[int, Capture]]:
    """Where a token that starts here can end, the furthest first, and what it captures."""
    if isinstance(token, str):
        return iter([(start + len(token), None)] if name.startswith(token, start) else [])
    if isinstance(token, Leading):
        return iter([(position, None) for position in sorted(_segment_starts(separator, name))])
    if token.form == "text":
        return _text_ends(separator, name, start)
    if token.form == "path":
        return _path_ends(separator, name, start)
    return _number_ends(token, name, start)


def _number_ends(token: Hole | Formula, name: str, start: int) -> Iterator[tuple[int, Capture]]:
    if token.form in ("nth", "rank"):
        return _counter_ends(name, start)
    if isinstance(token, Hole) and token.form == "table":
        entries = enumerate(token.texts)
        return iter([(start + len(text), entry) for entry, text in entries if name.startswith(text, start)])
    spans = ((end, name[start:end]) for end in range(_digits_end(name, start), start, -1))
    return ((end, int(digits)) for end, digits in spans if _is_number(token, digits))


def _text_ends(separator: str, name: str, start: int) -> Iterator[tuple[int, Capture]]:
    end = name.find(separator, start)
    for position in range(len(name) if end < 0 else end, start, -1):
        yield position, name[start:position]


def _path_ends(separator: str, name: str, start: int) -> Iterator[tuple[int, Capture]]:
    if start == 0 or name[start - 1] == separator:
        for position in range(len(name), start, -1):
            if position == len(name) or name[position] == separator:
                yield position, tuple(name[start:position].split(separator))


def _counter_ends(name: str, start: int) -> Iterator[tuple[int, Capture]]:
    """nth and rank: `_3` is 3, nothing is 0."""
    if name.startswith("_", start) and not name.startswith("_0", start):
        for position in range(_digits_end(name, start + 1), start + 1, -1):
            yield position, int(name[start + 1 : position])
    yield start, 0


def _starts(token: Token, separator: str, name: str, ends: set[int]) -> set[int]:
    """Where a token that ends at one of these positions can start."""
    if isinstance(token, str):
        found = (end - len(token) for end in ends)
        return {start for start in found if start >= 0 and name.startswith(token, start)}
    if isinstance(token, Leading):
        return {0} if not ends.isdisjoint(_segment_starts(separator, name)) else set()
    if token.form == "text":
        return _text_starts(separator, name, ends)
    if token.form == "path":
        last = max((end for end in ends if end == len(name) or name[end] == separator), default=0)
        return {start for start in _segment_starts(separator, name) if start < last}
    if isinstance(token, Hole) and token.form == "table":
        texts = set(token.texts)
        return {e - len(t) for e in ends for t in texts if e >= len(t) and name.startswith(t, e - len(t))}
    return {start for end in ends for start in _number_starts(token, name, end)}


def _number_starts(token: Hole | Formula, name: str, end: int) -> Iterator[int]:
    if token.form != "int":
        yield end
    for start in range(_digits_start(name, end), end):
        if token.form == "int":
            if _is_number(token, name[start:end]):
                yield start
        elif start and name[start - 1] == "_" and name[start] != "0":
            yield start - 1


def _text_starts(separator: str, name: str, ends: set[int]) -> set[int]:
    starts: set[int] = set()
    reached = len(name) + 1  # segments from here on are done
    for end in sorted(ends, reverse=True):
        if end < reached:
            reached = name.rfind(separator, 0, end) + 1
            starts.update(range(reached, end))
    return starts


def _segment_starts(separator: str, name: str) -> set[int]:
    return {0} | {i + 1 for i, c in enumerate(name) if c == separator}


def _digits_end(name: str, start: int) -> int:
    end = start
    while end < len(name) and end - start < MAX_DIGITS and "0" <= name[end] <= "9":
        end += 1
    return end


def _digits_start(name: str, end: int) -> int:
    start = end
    while start and end - start < MAX_DIGITS and "0" <= name[start - 1] <= "9":
        start -= 1
    return start


def _is_number(token: Hole | Formula, digits: str) -> bool:
    """Whether digits are an integer without leading zeros, in the hole's range."""
    if digits[0] == "0" and len(digits) > 1:
        return False
    return isinstance(token, Formula) or token.allows(int(digits))


__all__ = ["Capture", "Form", "Formula", "Hole", "Leading", "Token", "readings"]
