"""Pattern: a whole name with holes, as mapping files and options write it; matched and rendered.

Patterns never become regular expressions: `reading.py` reads a name with them in time linear in its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ckptmigrate.mapping.expression import Expression
from ckptmigrate.mapping.reading import Capture, Form, Formula, Hole, Leading, Token, readings
from ckptmigrate.mapping.tables import SOURCE

Value = str | int | tuple[str, ...]  # text | integer, number, position, table entry | path
Binding = Mapping[str, Value]
Positions = Callable[["Pattern", int], Sequence[int]]  # the sorted numbers that stand at a rank token

LEADING = ".../"
MAX_READINGS = 2000  # readings of one name that are followed before it is called ambiguous


@dataclass(frozen=True, eq=False)
class Pattern:
    """A compiled pattern. Two are the same only if they are the same object: ranks are kept per pattern.

    Attributes:
        text: As written, prefixes of includes in front.
        tokens: Literals, holes and formulas in order.
        separator: What its segments are separated by.
        side: SOURCE or TARGET, the column of tables it is written in.
    """

    text: str
    tokens: tuple[Token, ...]
    separator: str = "/"
    side: int = SOURCE
    holes: Mapping[str, Hole] = field(default_factory=dict)

    @property
    def is_literal(self) -> bool:
        """True for a pattern without holes."""
        return all(isinstance(token, (str, Leading)) for token in self.tokens)

    @property
    def has_leading(self) -> bool:
        """True when it begins with `.../`."""
        return bool(self.tokens) and isinstance(self.tokens[0], Leading)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all holes, those in expressions included."""
        found: set[str] = set()
        for token in self.tokens:
            if isinstance(token, Hole):
                found.add(token.name)
            elif isinstance(token, Formula):
                found.update(token.expression.names)
        return frozenset(found)

    @cached_property
    def prefix(self) -> str:
        """The literal text every name it fits begins with."""
        return self.tokens[0] if self.tokens and isinstance(self.tokens[0], str) else ""

    @property
    def ending_prefix(self) -> str:
        """The literal text behind a leading `.../`."""
        return self.tokens[1] if len(self.tokens) > 1 and isinstance(self.tokens[1], str) else ""

    @cached_property
    def suffix(self) -> str:
        """The literal text every name it fits ends with."""
        return self.tokens[-1] if self.tokens and isinstance(self.tokens[-1], str) else ""

    @cached_property
    def _literals(self) -> tuple[str, ...]:
        return tuple(sorted((t for t in self.tokens if isinstance(t, str)), key=len, reverse=True))

    def may_fit(self, name: str) -> bool:
        """A quick answer: False only when the name can't fit."""
        return name.endswith(self.suffix) and name.startswith(self.prefix) and all(t in name for t in self._literals)

    def readings(self, name: str) -> Iterator[tuple[Capture, ...]]:
        """Every way to read a name, numbers as written and equations unsolved: one value per token."""
        if self.may_fit(name):
            yield from readings(self.tokens, self.separator, name)

    def bindings(self, name: str, positions: Positions | None = None) -> list[Binding]:
        """The different ways to fill the holes so that the pattern is the name; at most two are sought.

        Args:
            name: A whole name.
            positions: Gives the numbers a rank is counted in; without it a rank is the number itself.
        """
        found: list[Binding] = []
        for count, reading in enumerate(self.readings(name)):
            for binding in self._solve(reading, positions):
                if binding not in found:
                    found.append(binding)
                if len(found) > 1:
                    return found
            if count >= MAX_READINGS:
                return found + found  # hopelessly ambiguous is ambiguous
        return found

    def _solve(self, reading: tuple[Capture, ...], positions: Positions | None) -> Iterator[Binding]:
        """The bindings one reading stands for: ranks counted, equations solved."""
        binding: dict[str, Value] = {}
        equations: list[tuple[Expression, int]] = []
        for index, (token, captured) in enumerate(zip(self.tokens, reading, strict=True)):
            value = captured
            if isinstance(token, (Hole, Formula)) and token.form == "rank" and positions is not None:
                numbers = positions(self, index)
                if captured not in numbers:
                    return  # a name that isn't one of the checkpoint's
                value = numbers.index(captured)
            if isinstance(token, Formula):
                equations.append((token.expression, int(value)))  # type: ignore[arg-type]
            elif isinstance(token, Hole) and value is not None and binding.setdefault(token.name, value) != value:
                return
        yield from self._solve_equations(binding, equations)

    def _solve_equations(self, binding: dict[str, Value], left: list[tuple[Expression, int]]) -> Iterator[Binding]:
        if not left:
            yield binding
            return
        left = sorted(left, key=lambda equation: len(self._unknown(equation[0], binding)))
        (expression, value), rest = left[0], left[1:]
        unknown = self._unknown(expression, binding)
        if len(unknown) > 1:
            return  # the rule is one-way; loading says so
        tables = {n: h.table.numbers for n in expression.names if (h := self.holes[n]).table and h.table.numbers}
        known = {n: self._number(n, binding[n]) for n in expression.names if n in binding}
        for solution in expression.solve(value, known, tables, unknown[0] if unknown else ""):
            if all(self.holes[n].allows(v) for n, v in solution.items() if n not in tables):
                yield from self._solve_equations(binding | solution, rest)

    def _unknown(self, expression: Expression, binding: Mapping[str, Value]) -> list[str]:
        return [n for n in expression.names if n not in binding and self.holes[n].table is None]

    def _number(self, name: str, value: Value) -> int:
        table = self.holes[name].table
        return table.numbers[int(value)] if table and table.numbers else int(value)  # type: ignore[arg-type]

    @cached_property
    def unsolvable(self) -> str:
        """The first expression with more than one unknown integer, which can't be solved backwards; or ""."""
        known = {t.name for t in self.tokens if isinstance(t, Hole)}
        left = [t.expression for t in self.tokens if isinstance(t, Formula)]
        while left:
            left.sort(key=lambda e: len(self._unknown(e, dict.fromkeys(known, 0))))
            if len(self._unknown(left[0], dict.fromkeys(known, 0))) > 1:
                return left[0].text
            known.update(left.pop(0).names)
        return ""

    def render(self, binding: Binding, positions: Positions | None = None) -> str:
        """The name that these values give, a leading `.../` included.

        Args:
            binding: A value for each hole.
            positions: Gives the numbers that ranks are written with; without it a rank is its own number.

        Raises:
            ValueError: A number is negative, or a rank is beyond the numbers there are.
        """
        return "".join(self._text(index, token, binding, positions) for index, token in enumerate(self.tokens))

    def _text(self, index: int, token: Token, binding: Binding, positions: Positions | None) -> str:
        if isinstance(token, str):
            return token
        if isinstance(token, Leading):
            return LEADING
        if isinstance(token, Formula):
            number = token.expression.value({n: self._number(n, binding[n]) for n in token.expression.names})
            return self._numeral(index, token.form, number, positions, f"{{{token.expression.text}}}")
        value = binding[token.name]
        if token.table is not None:
            return token.texts[int(value)]  # type: ignore[arg-type]
        if isinstance(value, tuple):
            return self.separator.join(value)
        return self._numeral(index, token.form, value, positions, token.name) if isinstance(value, int) else value

    def show(self, name: str, value: Value) -> str:
        """A hole's value as people read it: the text of a table's entry, a path's segments joined."""
        table = self.holes[name].table
        if table is not None:
            return table.columns[self.side][int(value)]  # type: ignore[arg-type]
        return self.separator.join(value) if isinstance(value, tuple) else str(value)

    def _numeral(self, index: int, form: Form, number: int, positions: Positions | None, what: str) -> str:
        if number < 0:
            raise ValueError(f"{what} gives {number}")
        if form == "rank" and positions is not None:
            numbers = positions(self, index)
            if number >= len(numbers):
                raise ValueError(
                    f"{what} asks for number {number} (from 0) of the {len(numbers)} the template has here"
                )
            number = numbers[number]
        return str(number) if form == "int" else f"_{number}" if number else ""
