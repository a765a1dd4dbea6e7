"""Expression: the arithmetic of a mapping's `{b+1}` and `{mixed6 + b6:rank}`, forwards and solved backwards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

MAX_LENGTH = 120  # characters; keeps nesting, and so recursion, shallow
MAX_TRIALS = 10_000  # combinations of table entries that may have to be tried per number; loading refuses more

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_][A-Za-z0-9_]*)|([-+*()]))", re.ASCII)

Tree = int | str | tuple[str, "Tree", "Tree"]


class Expression(NamedTuple):
    """Integers, names, `+ - *` and parentheses.

    Attributes:
        text: As written.
        names: The names in it, each once, in order.
    """

    text: str
    tree: Tree
    names: tuple[str, ...]

    def value(self, values: Mapping[str, int]) -> int:
        """Its value, given one for each name."""
        return _value(self.tree, values)

    def solve(
        self, value: int, known: Mapping[str, int], entries: Mapping[str, Sequence[int]], unknown: str
    ) -> Iterator[dict[str, int]]:
        """Every way to give `entries` and `unknown` values so that the expression equals `value`.

        Args:
            known: Names whose value is known.
            entries: Names that stand for one of several integers; the result holds the position of the one taken.
            unknown: The one integer to solve for, 0 or more; "" when there is none.
        """
        free = [name for name in self.names if name in entries and name not in known]
        choices = itertools.product(*(enumerate(entries[name]) for name in free))
        for choice in choices:
            values = dict(known) | {name: number for name, (_, number) in zip(free, choice, strict=True)}
            taken = {name: index for name, (index, _) in zip(free, choice, strict=True)}
            if not unknown:
                if self.value(values) == value:
                    yield taken
                continue
            for number in self._linear(value, values, unknown):
                yield taken | {unknown: number}

    def _linear(self, value: int, values: Mapping[str, int], unknown: str) -> Sequence[int]:
        start = self.value({**values, unknown: 0})
        slope = self.value({**values, unknown: 1}) - start
        if slope == 0:
            return (0, 1) if start == value else ()  # any number would do: two of them say "ambiguous"
        number, rest = divmod(value - start, slope)
        return (number,) if rest == 0 and number >= 0 else ()


def parse(text: str) -> Expression:
    """Reads an expression.

    Raises:
        ValueError: What is wrong with it.

    >>> parse("12 + 6*(k-1) + b").value({"k": 2, "b": 3})
    21
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression has at most {MAX_LENGTH} characters")
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{text[at:].strip()[0]!r} has no place in an expression (+ - * ( ) integers, names)")
        tokens.append(found[0].strip())
        at = found.end()
    parser = _Parser(list(tokens))
    tree = parser.sum()
    if parser.tokens:
        raise ValueError(f"{parser.tokens[0]!r} stands where the expression should end")
    names = tuple(dict.fromkeys(t for t in tokens if t[0].isalpha() or t[0] == "_"))
    for name in names:
        if _degree(tree, name) > 1:
            raise ValueError(f"{name} is multiplied by itself, which can't be solved backwards")
    return Expression(text.strip(), tree, names)


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def sum(self) -> Tree:
        tree = self.product()
        while self.tokens and self.tokens[0] in "+-":
            tree = (self.tokens.pop(0), tree, self.product())
        return tree

    def product(self) -> Tree:
        tree = self.atom()
        while self.tokens and self.tokens[0] == "*":
            self.tokens.pop(0)
            tree = ("*", tree, self.atom())
        return tree

    def atom(self) -> Tree:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "-":
            return ("-", 0, self.atom())
        if token == "(":
            tree = self.sum()
            if not self.tokens or self.tokens.pop(0) != ")":
                raise ValueError("a parenthesis isn't closed")
            return tree
        if token and token not in "+*)":
            return int(token) if token.isdigit() else token
        raise ValueError(f"an integer or a name is missing{f' before {token!r}' if token else ' at the end'}")


def _value(tree: Tree, values: Mapping[str, int]) -> int:
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return values[tree]
    left, right = _value(tree[1], values), _value(tree[2], values)
    return left + right if tree[0] == "+" else left - right if tree[0] == "-" else left * right


def _degree(tree: Tree, name: str) -> int:
    if not isinstance(tree, tuple):
        return int(tree == name)
    left, right = _degree(tree[1], name), _degree(tree[2], name)
    return left + right if tree[0] == "*" else max(left, right)
