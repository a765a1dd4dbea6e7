"""JSON from files that nobody vouches for: RFC 8259 without duplicate keys, NaN or deep nesting, field by field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from ckptmigrate.errors import DamagedError

T = TypeVar("T", str, int, float, bool)

MAX_DEPTH = 64  # of values that are kept as they are; deeper ones would exhaust the stack of whoever walks them
MAX_RANK = 32  # NumPy 1 holds no more dimensions
MAX_BYTES = 1 << 62  # of one tensor: products of sizes stay exact in 64 bits

_KINDS = {str: "a text", int: "an integer", float: "a number", bool: "true or false", dict: "an object", list: "a list"}


@dataclass(frozen=True, slots=True)
class Cursor:
    """An object or a list inside a document, with the file and the JSON path it was found at."""

    value: Any
    where: str
    path: str = "$"

    def wrong(self, expected: str, found: object, key: str = "") -> DamagedError:
        """The error that says where, what was expected and what was found."""
        path = f"{self.path}.{key}" if key else self.path
        return DamagedError(f"{path}: {expected} expected, {str(repr(found))[:80]} found", where=self.where)

    def fields(self, *allowed: str) -> dict[str, Any]:
        """The object itself; with `allowed` given, it may have no other fields."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object", self.value)
        unknown = sorted(self.value.keys() - set(allowed)) if allowed else ()
        if unknown:
            raise self.wrong(f"no other field than {', '.join(allowed)}", unknown[0])
        return self.value

    def field(self, key: str, kind: type[T]) -> T:
        """A field that must be there."""
        value = self.optional(key, kind)
        if value is None:
            raise self.wrong(_KINDS[kind], None, key)
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """A field that may be absent or null."""
        value = self.value.get(key)
        if type(value) is int and abs(value) >= 1 << 63:
            raise self.wrong("an integer of 64 bits", value, key)
        if kind is float and type(value) is int:
            value = float(value)
        if value is None or type(value) is kind:
            return value
        raise self.wrong(_KINDS[kind], value, key)

    def child(self, key: str) -> Cursor | None:
        """An object or list that may be absent or null."""
        value = self.value.get(key)
        return None if value is None else Cursor(value, self.where, f"{self.path}.{key}")

    def items(self, key: str) -> Iterator[Cursor]:
        """The members of a list of objects or lists; none where it is absent."""
        for i, item in enumerate(self._list(key)):
            yield Cursor(item, self.where, f"{self.path}.{key}[{i}]")

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where it is absent."""
        values = self._list(key)
        for value in values:
            if type(value) is not str:
                raise self.wrong("a list of texts", value, key)
        return tuple(values)

    def record(self, *kinds: type) -> tuple[Any, ...]:
        """A list with members of exactly these kinds."""
        values = self.value
        if type(values) is not list or len(values) != len(kinds):
            raise self.wrong(f"a list of {len(kinds)}", values)
        for value, kind in zip(values, kinds, strict=True):
            if type(value) is not kind:
                raise self.wrong(_KINDS[kind], value)
        return tuple(values)

    def sizes(self, key: str, item_bytes: int) -> tuple[int, ...]:
        """A tensor's shape: integers from 0, whose product of bytes stays in bounds."""
        values = self.value.get(key)
        if type(values) is not list:
            raise self.wrong("a list of sizes", values, key)
        reason = wrong_shape(values, item_bytes)
        if reason:
            raise self.wrong(reason, values, key)
        return tuple(values)

    def _list(self, key: str) -> list[Any]:
        values = self.value.get(key)
        if values is None:
            return []
        if type(values) is not list:
            raise self.wrong("a list", values, key)
        return list(values)


def wrong_shape(sizes: list[Any] | tuple[Any, ...], item_bytes: int) -> str:
    """What a shape should be and isn't; empty for a shape that NumPy can hold.

    >>> wrong_shape([2, -1], 4)
    'sizes from 0'
    """
    if len(sizes) > MAX_RANK:
        return f"at most {MAX_RANK} dimensions"
    product = max(item_bytes, 1)
    for size in sizes:
        if type(size) is not int or size < 0:
            return "sizes from 0"
        product *= size or 1  # NumPy multiplies the sizes that aren't 0 even where the tensor is empty
    if product > MAX_BYTES:
        return "a tensor that fits into memory"
    return ""


def parse(data: bytes | str, where: str) -> Cursor:
    """Reads one JSON document.

    Raises:
        DamagedError: Not JSON, not UTF-8, a key twice in one object, NaN or Infinity, or nested too deep.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise DamagedError(f"not UTF-8 at byte {error.start}", where=where) from error
    except RecursionError as error:
        raise DamagedError("JSON is nested too deep", where=where) from error
    except ValueError as error:  # json.JSONDecodeError, our own, and integers of thousands of digits
        raise DamagedError(f"not valid JSON: {error}", where=where) from error
    return Cursor(value, where)


def shallow(cursor: Cursor) -> Any:
    """The value itself, to be kept as it is, once its depth has been looked at."""
    level = [cursor.value]
    for _ in range(MAX_DEPTH):
        if not level:
            return cursor.value
        level = [child for value in level for child in _children(value)]
    raise cursor.wrong(f"at most {MAX_DEPTH} levels", "more")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number
