"""A graph in the making: objects found or added along paths, values attached, and what got no value taken out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from ckptmigrate.formats.object_paths import Paths, paths_of
from ckptmigrate.formats.tf2.view import is_value, variable_names
from ckptmigrate.objects import (
    ATTRIBUTES,
    OPTIMIZER_SLOT,
    VALUE_SUFFIX,
    VARIABLE_VALUE,
    Attribute,
    Edge,
    Node,
    ObjectGraph,
    SlotReference,
    escape,
    unescape,
)

# What stands in keys -> the attribute that TensorFlow's graph has for it (its key is the beginning of the stored ones).
_ATTRIBUTE_OF = {"table-keys": "table", "table-values": "table", "ITERATOR_STATE": "ITERATOR"}


class Draft:
    """A graph that grows from a base, which may be empty.

    Attributes:
        paths: Where the base's objects stand.
    """

    def __init__(self, base: ObjectGraph | None) -> None:
        self._is_new = base is None
        self._nodes = list(base.nodes) if base else [Node()]
        graph = ObjectGraph(tuple(self._nodes))
        self.paths: Paths = paths_of(graph)
        self._variables = {name: n for n, name in variable_names(graph, self.paths).items()}
        self._places: dict[tuple[int, str], int] = {}
        for number, node in enumerate(self._nodes):
            for edge in node.children:
                self._places.setdefault((number, edge.name), edge.node)
        self._by_key = {a.key: n for n, node in reversed(list(enumerate(self._nodes))) for a in node.attributes}
        self._kept: dict[int, set[str]] = defaultdict(set)

    def variable(self, name: str) -> int:
        """The node of a variable, added along its path where there is none."""
        return self._variables[name] if name in self._variables else self.along(0, name)

    def along(self, start: int, path: str) -> int:
        """The node at the end of a path of escaped local names; what is missing is added."""
        number = start
        for part in path.split("/"):
            local = unescape(part)
            following = self._places.get((number, local))
            if following is None:
                following = self._places[number, local] = self._add(Node())
                node = self._nodes[number]
                self._nodes[number] = replace(node, children=(*node.children, Edge(local, following)))
            number = following
        return number

    def keyed(self, key: str) -> int | None:
        """The node whose attribute has that key, or the beginning of it."""
        found = self._by_key.get(key)
        if found is None and ATTRIBUTES in key:
            head, _, suffix = key.rpartition(ATTRIBUTES)
            found = self._by_key.get(head + ATTRIBUTES + _ATTRIBUTE_OF.get(suffix, suffix))
        return found

    def full_name(self, number: int) -> str:
        """The full name that a node's variable has in the base."""
        return next((a.full_name for a in self._nodes[number].attributes if is_value(a)), "")

    def hold(self, number: int, key: str, full_name: str = "") -> str:
        """Makes a node hold a variable's value; gives the key it has, or gets.

        Args:
            number: The node.
            key: For a node without one.
            full_name: Replaces the one it has, unless empty.
        """
        node = self._nodes[number]
        for at, attribute in enumerate(node.attributes):
            if is_value(attribute):
                named = replace(attribute, full_name=full_name or attribute.full_name)
                attributes = (*node.attributes[:at], named, *node.attributes[at + 1 :])
                self._nodes[number] = replace(node, attributes=attributes)
                break
        else:
            named = Attribute(VARIABLE_VALUE, full_name, key)
            self._nodes[number] = replace(node, attributes=(*node.attributes, named))
        self._kept[number].add(named.key)
        return named.key

    def hold_key(self, key: str) -> None:
        """Makes the node that a key speaks of hold the value under that key."""
        number = self.keyed(key)
        head, _, suffix = key.rpartition(ATTRIBUTES)
        name = _ATTRIBUTE_OF.get(suffix, suffix)
        if number is None:
            number = self.along(0, head)
            node = self._nodes[number]
            attribute = Attribute(name, "", head + ATTRIBUTES + name)
            self._nodes[number] = replace(node, attributes=(*node.attributes, attribute))
            self._by_key[attribute.key] = number
        self._kept[number].update((key, head + ATTRIBUTES + name))

    def slot(self, optimizer: int, variable: int, name: str, key: str, full_name: str) -> str:
        """Makes an optimizer's slot hold a value; gives its key."""
        node = self._nodes[optimizer]
        for reference in node.slots:
            if (reference.variable, reference.slot) == (variable, name):
                return self.hold(reference.node, key)
        number = self._add(Node())
        self._nodes[optimizer] = replace(node, slots=(*node.slots, SlotReference(variable, name, number)))
        return self.hold(number, key, full_name)

    def _add(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1

    def finish(self) -> ObjectGraph:
        """The graph: attributes that got no value are gone, and so are slots and edges that led only to them."""
        held = [tuple(a for a in node.attributes if a.key in self._kept[n]) for n, node in enumerate(self._nodes)]
        lost = {
            n
            for n, node in enumerate(self._nodes)
            if node.attributes and not held[n] and not node.children and not node.slots
        }
        nodes = [
            replace(
                node,
                attributes=held[n],
                children=tuple(e for e in node.children if e.node not in lost),
                slots=tuple(s for s in node.slots if held[s.node]),
            )
            for n, node in enumerate(self._nodes)
        ]
        tells = self._is_new or any(node.has_values is not None for node in nodes)
        return ObjectGraph(tuple(_with_flags(nodes) if tells else nodes))


def slot_key(variable_key: str, optimizer: str, slot: str) -> str:
    """The key of a slot (tensorflow/python/checkpoint/util.py, `serialize_slot_variables`).

    >>> slot_key("w/.ATTRIBUTES/VARIABLE_VALUE", "optimizer", "m")
    'w/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE'
    """
    return f"{variable_key.removesuffix(VALUE_SUFFIX)}{OPTIMIZER_SLOT}{optimizer}/{escape(slot)}{VALUE_SUFFIX}"


def _with_flags(nodes: list[Node]) -> list[Node]:
    """`has_values` told of every node: it, or something below it, has a value."""
    parents: dict[int, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        for edge in node.children:
            parents[edge.node].append(number)
    queue = [n for n, node in enumerate(nodes) if node.attributes or node.slots or node.saver is not None]
    full = set(queue)
    while queue:
        for parent in parents[queue.pop()]:
            if parent not in full:
                full.add(parent)
                queue.append(parent)
    return [replace(node, has_values=number in full) for number, node in enumerate(nodes)]
