"""Names: everything that the variables of one side go by, indexed for the questions that rules ask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from ckptmigrate.mapping.braces import Scope, compile_pattern
from ckptmigrate.mapping.pattern import LEADING, Pattern
from ckptmigrate.mapping.reading import Formula, Hole
from ckptmigrate.table import Checkpoint, Variable


@dataclass(frozen=True, slots=True)
class Found:
    """A variable of a template that a name leads to; the names that an open template leaves to be filled in."""

    variable: Variable
    renamed: Mapping[str, str] = field(default_factory=dict)


class Names:
    """The names of a checkpoint's variables.

    Args:
        checkpoint: The checkpoint.
        system: The one system to look at; "" for all but the stored keys.
        separator: Between segments.
    """

    def __init__(self, checkpoint: Checkpoint, system: str = "", separator: str = "/") -> None:
        self.checkpoint = checkpoint
        self.system = system
        self.separator = separator
        self.of: dict[str, tuple[tuple[str, str], ...]] = {
            variable.name: tuple(_names(variable, system)) for variable in checkpoint.variables.values()
        }
        self._positions: dict[tuple[Pattern, int], list[int]] = {}

    def positions(self, pattern: Pattern, index: int) -> list[int]:
        """The sorted numbers at a rank token, over all names that the pattern fits."""
        key = (pattern, index)
        if key not in self._positions:
            ranks = [i for i, t in enumerate(pattern.tokens) if isinstance(t, (Hole, Formula)) and t.form == "rank"]
            numbers: dict[int, set[int]] = {i: set() for i in ranks}
            for name in {name for names in self.of.values() for _, name in names}:
                for reading in pattern.readings(name):
                    for i in ranks:
                        numbers[i].add(int(reading[i]))  # type: ignore[arg-type]
            self._positions |= {(pattern, i): sorted(numbers[i]) for i in ranks}
        return self._positions[key]

    def find(self, text: str) -> list[Found]:
        """The variables that go by a rendered name; a leading `.../` stands for any leading segments."""
        is_ending = text.startswith(LEADING)
        text = text.removeprefix(LEADING)
        found = self._endings.get(text) if is_ending else self._whole.get(text) or self._keys.get(text)
        if found:
            return [Found(self.checkpoint.variables[name]) for name in dict.fromkeys(found)]
        return self._find_open(text, is_ending)

    def spoken(self, variable: str) -> str:
        """What a rule calls a variable: its own name, or that of the one system."""
        return next((name for _, name in self.of[variable]), variable)

    def fitting(self, pattern: Pattern) -> Iterable[Variable]:
        """The variables that go by a name the pattern fits, their order kept."""
        for variable, names in self.of.items():
            if any(pattern.bindings(name, self.positions) for _, name in names):
                yield self.checkpoint.variables[variable]

    @cached_property
    def _whole(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = defaultdict(list)
        for variable, names in self.of.items():
            for _, name in names:
                index[name].append(variable)
        return index

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        return {variable.key: [variable.name] for variable in self.checkpoint.variables.values()}

    @cached_property
    def _endings(self) -> dict[str, list[str]]:
        """Every ending that begins at a segment."""
        index: dict[str, list[str]] = defaultdict(list)
        for name, variables in self._whole.items():
            start = 0
            while True:
                index[name[start:]] += variables
                start = name.find(self.separator, start) + 1
                if start == 0:
                    break
        return index

    @cached_property
    def _open(self) -> dict[str, list[tuple[str, str, str]]]:
        """Names of open templates that hold holes, as (variable, system, name) by their last segment."""
        index: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for variable, names in self.of.items():
            if self.checkpoint.variables[variable].tensor.is_open:
                for system, name in names:
                    if "{" in name:
                        index[name.rpartition(self.separator)[2]].append((variable, system, name))
        return index

    def _find_open(self, text: str, is_ending: bool) -> list[Found]:
        """Variables of an open template whose name, with holes, the text fits; with the name that this gives them."""
        found: dict[str, Found] = {}
        count = text.count(self.separator) + 1
        last = text.rpartition(self.separator)[2]
        for end, candidates in self._open.items():
            for variable, system, name in candidates if end == last or "{" in end else ():
                segments = name.split(self.separator)
                head, tail = segments[:-count], self.separator.join(segments[-count:])
                if (is_ending or not head) and _open_pattern(tail, self.separator).bindings(text):
                    given = {system: self.separator.join([*head, text])}
                    found[variable] = Found(self.checkpoint.variables[variable], given)
        return list(found.values())


@lru_cache(maxsize=4096)
def _open_pattern(text: str, separator: str) -> Pattern:
    return compile_pattern(text, Scope(separators=(separator, separator)))


def _names(variable: Variable, system: str) -> Iterable[tuple[str, str]]:
    """(system, name), each name once."""
    seen = set()
    for known, name in variable.names():
        if (known == system or (not system and known != "key")) and name not in seen:
            seen.add(name)
            yield known, name


def systems(checkpoint: Checkpoint) -> set[str]:
    """The systems of names that any variable of a checkpoint goes by."""
    return {system for variable in checkpoint.variables.values() for system, _ in variable.names()}
