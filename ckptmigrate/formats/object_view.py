"""An object-based file as its reader sees it: the graph with its paths, and the stored tensors of every node."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ckptmigrate.formats.object_paths import Paths
from ckptmigrate.objects import ATTRIBUTES, OBJECT_CONFIG, VALUE_SUFFIX, VARIABLE_VALUE, Attribute, ObjectGraph
from ckptmigrate.table import Stored, Tensor


class Value(NamedTuple):
    """A stored tensor and the attribute that leads to it."""

    attribute: Attribute
    stored: Stored


@dataclass(frozen=True, slots=True)
class View:
    """The parts of an object-based file, joined.

    Attributes:
        graph, paths: The graph and where its objects stand.
        names: Node -> the name of the variable it holds.
        values: Node -> its stored tensors.
        missing: Keys that the graph names and the file lacks.
        unknown: Keys that the graph doesn't know.
    """

    graph: ObjectGraph
    paths: Paths
    names: Mapping[int, str]
    values: Mapping[int, tuple[Value, ...]]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, graph: ObjectGraph, paths: Paths, tensors: Mapping[str, Tensor]) -> View:
        """Joins a graph with the tensors beside it."""
        values: dict[int, list[Value]] = defaultdict(list)
        claimed: set[str] = set()
        others = []
        for number, attribute in _attributes(graph):
            if attribute.key not in tensors:
                others.append((number, attribute))
            elif attribute.key not in claimed:  # of two nodes with one key the first has it
                values[number].append(Value(attribute, Stored(attribute.key, tensors[attribute.key])))
                claimed.add(attribute.key)
        ordered = sorted(tensors.keys() - claimed)
        missing = []
        for number, attribute in others:
            # The key of a table or an iterator is the beginning of its tensors' keys.
            keys = [key for key in _beginning(ordered, attribute.key) if key not in claimed]
            values[number] += [Value(attribute, Stored(key, tensors[key])) for key in keys]
            claimed.update(keys)
            if not keys and attribute.name != OBJECT_CONFIG:
                missing.append(attribute.key)
        unknown = tuple(key for key in tensors if key not in claimed)
        held = {number: tuple(found) for number, found in values.items() if found}
        return cls(graph, paths, variable_names(graph, paths), held, tuple(missing), unknown)

    def value(self, number: int) -> Value | None:
        """The tensor that a node holds as a variable."""
        return next((v for v in self.values.get(number, ()) if is_value(v.attribute)), None)


def is_value(attribute: Attribute) -> bool:
    """Whether an attribute is a variable's value; hand-made graphs may leave its name empty."""
    return attribute.name in (VARIABLE_VALUE, "")


def variable_names(graph: ObjectGraph, paths: Paths) -> dict[int, str]:
    """Node -> name of the variable in it: its path, else the path of its key, else the key; each name once."""
    names = {n: name for n, name in paths.names.items() if name and any(map(is_value, graph.nodes[n].attributes))}
    taken = set(names.values())
    for number, attribute in _attributes(graph):
        if number in names or not is_value(attribute):
            continue
        for name in (attribute.key.removesuffix(VALUE_SUFFIX), attribute.key):
            if name not in taken:
                names[number] = name
                taken.add(name)
                break
    return names


def _attributes(graph: ObjectGraph) -> Iterator[tuple[int, Attribute]]:
    return ((number, a) for number, node in enumerate(graph.nodes) for a in node.attributes)


def _beginning(ordered: list[str], prefix: str) -> Iterator[str]:
    """The keys that begin with `prefix`, of a sorted list; a prefix without the mark of attributes says nothing."""
    at = bisect_left(ordered, prefix)
    while ATTRIBUTES in prefix and at < len(ordered) and ordered[at].startswith(prefix):
        yield ordered[at]
        at += 1
