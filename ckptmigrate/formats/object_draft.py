"""A graph in the making: objects found or added along paths, values attached, and what got no value taken out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ckptmigrate.formats.object_paths import paths_of
from ckptmigrate.formats.object_view import is_value, variable_names
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


@dataclass(slots=True)
class _Object:
    """A node that can change. `held` are those of its attributes that have a value."""

    children: list[Edge] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    slots: dict[tuple[int, str], int] = field(default_factory=dict)
    saver: tuple[str, str] | None = None
    has_values: bool | None = None
    held: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, node: Node) -> _Object:
        slots: dict[tuple[int, str], int] = {}
        for slot in node.slots:
            slots.setdefault((slot.variable, slot.slot), slot.node)
        return cls(list(node.children), list(node.attributes), slots, node.saver, node.has_values)

    def kept(self) -> list[Attribute]:
        return [a for a in self.attributes if a.key in self.held]


class Draft:
    """A graph that grows from a base; without one, from a bare root.

    Attributes:
        paths: Where the base's objects stand.
    """

    def __init__(self, base: ObjectGraph | None) -> None:
        graph = base or ObjectGraph((Node(has_values=True),))
        self.paths = paths_of(graph)
        self._objects = [_Object.of(node) for node in graph.nodes]
        self._variables = {name: n for n, name in variable_names(graph, self.paths).items()}
        self._places: dict[tuple[int, str], int] = {}
        self._by_key: dict[str, int] = {}
        self._beginnings: dict[str, list[str]] = defaultdict(list)
        self._cut: set[int] = set()
        for number, node in enumerate(graph.nodes):
            for edge in node.children:
                self._places.setdefault((number, edge.name), edge.node)
            for attribute in node.attributes:
                self._by_key.setdefault(attribute.key, number)
                self._beginnings[attribute.key.rpartition(ATTRIBUTES)[0]].append(attribute.key)

    def variable(self, name: str) -> int:
        """The node of a variable, added along its path where there is none."""
        if name not in self._variables:
            self._variables[name] = self.along(0, name)
        return self._variables[name]

    def along(self, start: int, path: str) -> int:
        """The node at the end of a path of escaped local names; what is missing is added."""
        number = start
        for part in path.split("/"):
            local = unescape(part)
            following = self._places.get((number, local))
            if following is None:
                following = self._places[number, local] = self._add()
                self._objects[number].children.append(Edge(local, following))
            number = following
        return number

    def knows(self, name: str) -> bool:
        """Whether the base has a variable of that name."""
        return name in self._variables

    def keyed(self, key: str) -> int | None:
        """The node with an attribute of that key, or with one whose key is the beginning of it (tables, iterators)."""
        return self._by_key.get(self._attribute(key))

    def _attribute(self, key: str) -> str:
        """The key that the graph has, or would have, for a stored one."""
        head, attributes, suffix = key.rpartition(ATTRIBUTES)
        if key not in self._by_key and attributes:
            known = (k for k in self._beginnings[head] if key.startswith(k))
            return next(known, head + attributes + _ATTRIBUTE_OF.get(suffix, suffix))
        return key

    def full_name(self, number: int) -> str:
        """The full name of the variable in a node; "" when it has none."""
        return next((a.full_name for a in self._objects[number].attributes if is_value(a)), "")

    def hold(self, number: int, key: str, full_name: str = "") -> str:
        """Makes a node hold a variable's value; gives the key of it.

        Args:
            number: The node.
            key: For a node that has none.
            full_name: In place of the one it has, unless empty.
        """
        node = self._objects[number]
        found = next((at for at, a in enumerate(node.attributes) if is_value(a)), None)
        if found is None:
            node.attributes.append(Attribute(VARIABLE_VALUE, full_name, key))
        elif full_name and full_name != node.attributes[found].full_name:
            old = node.attributes[found]
            node.attributes[found] = Attribute(old.name, full_name, old.key)
        attribute = node.attributes[-1 if found is None else found]
        node.held.add(attribute.key)
        return attribute.key

    def hold_key(self, key: str) -> None:
        """Makes the node that a key speaks of hold the value under that key."""
        attribute = self._attribute(key)
        number = self._by_key.get(attribute)
        if number is None:
            head, _, name = attribute.rpartition(ATTRIBUTES)
            number = self._by_key[attribute] = self.along(0, head)
            self._beginnings[head].append(attribute)
            self._objects[number].attributes.append(Attribute(name, "", attribute))
        self._objects[number].held.add(attribute)

    def slot(self, optimizer: int, variable: int, name: str, key: str, full_name: str) -> str:
        """Makes an optimizer's slot hold a value; gives the key of it."""
        slots = self._objects[optimizer].slots
        if (variable, name) not in slots:
            slots[variable, name] = self._add()
        number = slots[variable, name]
        return self.hold(number, key, self.full_name(number) or full_name)

    def children(self, number: int) -> dict[str, int]:
        """The children of a node by local name."""
        return {edge.name: edge.node for edge in reversed(self._objects[number].children)}

    def restart(self, number: int) -> None:
        """Makes a node one without children and slots."""
        node = self._objects[number]
        for edge in node.children:
            self._places.pop((number, edge.name), None)
        node.children, node.slots = [], {}

    def forget(self, number: int, names: Collection[str]) -> None:
        """Takes away the children of those names."""
        node = self._objects[number]
        node.children = [edge for edge in node.children if edge.name not in names]
        for name in names:
            self._places.pop((number, name), None)

    def relist(self, number: int, name: str, members: Mapping[int, int]) -> None:
        """Makes the child of that name a list of those nodes, by number."""
        at = self.along(number, name)
        self.forget(at, {edge.name for edge in self._objects[at].children if edge.name.isdecimal()})
        for index, member in sorted(members.items()):
            self._objects[at].children.append(Edge(str(index), member))
            self._places[at, str(index)] = member

    def renew(self, number: int, path: str) -> int:
        """A new node at the end of a path that leads to another one."""
        head, _, last = path.rpartition("/")
        above = self.along(number, head) if head else number
        self.forget(above, {unescape(last)})
        return self.along(above, last)

    def leave_out(self, optimizer: int) -> None:
        """Cuts an optimizer off: edges to it go, and with them its lists of the model's variables."""
        self._cut.add(optimizer)

    def _add(self) -> int:
        self._objects.append(_Object())
        return len(self._objects) - 1

    def finish(self) -> ObjectGraph:
        """The graph: attributes that got no value are gone, and so are slots and edges that led only to them."""
        held = [node.kept() for node in self._objects]
        lost = self._cut | {
            n for n, o in enumerate(self._objects) if o.attributes and not held[n] and not o.children and not o.slots
        }
        tells = any(node.has_values is not None for node in self._objects)
        nodes = [
            Node(
                tuple(edge for edge in node.children if edge.node not in lost),
                tuple(held[number]),
                tuple(SlotReference(variable, name, n) for (variable, name), n in node.slots.items() if held[n]),
                node.saver,
            )
            for number, node in enumerate(self._objects)
        ]
        return ObjectGraph(tuple(_with_flags(nodes) if tells else nodes))


def slot_key(variable_key: str, optimizer: str, slot: str) -> str:
    """The key of a slot (tensorflow/python/checkpoint/util.py, `serialize_slot_variables`).

    >>> slot_key("w/.ATTRIBUTES/VARIABLE_VALUE", "optimizer", "m")
    'w/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE'
    """
    return f"{variable_key.removesuffix(VALUE_SUFFIX)}{OPTIMIZER_SLOT}{optimizer}/{escape(slot)}{VALUE_SUFFIX}"


def _with_flags(nodes: list[Node]) -> Iterator[Node]:
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
    for number, node in enumerate(nodes):
        yield Node(node.children, node.attributes, node.slots, node.saver, number in full)
