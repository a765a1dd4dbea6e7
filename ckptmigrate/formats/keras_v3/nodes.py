"""The tree of a v3 file: every object that was saved, with its own datasets and what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ckptmigrate.formats.keras_v3.naming import KIND, NAME, NAMES, VARS, natural
from ckptmigrate.wire.hdf5_attributes import Attribute, text, texts


@dataclass(slots=True)
class Node:
    """One object: a layer, an optimizer, or a container of objects.

    Attributes:
        path: Its group.
        label: Its own name where the file tells it (Keras 3.6 and newer).
        names: What its datasets are called, and `kind` which optimizer it is, where the file is one of ours.
        own: Key in `vars` -> path of the dataset, in the order of creation.
        children: By group name.
    """

    path: str = ""
    label: str = ""
    names: tuple[str, ...] = ()
    kind: str = ""
    own: dict[str, str] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """This object and all below it."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending += reversed(node.children.values())

    def datasets(self) -> Iterator[str]:
        """Paths of all datasets of this object and those below it."""
        for node in self.walk():
            yield from node.own.values()


def tree_of(groups: Mapping[str, Mapping[str, Attribute]], datasets: Mapping[str, object]) -> tuple[Node, list[str]]:
    """The tree, and the datasets that stand in no `vars`, which Keras wouldn't read."""
    root = Node()
    loose: list[str] = []
    for path, attributes in groups.items():
        parent, _, last = path.rpartition("/")
        if last == VARS:
            node = _at(root, parent)
            node.label, node.kind = text(attributes, NAME) or "", text(attributes, KIND) or ""
            node.names = texts(attributes, NAMES) or ()
    for path in sorted(datasets, key=lambda p: natural(p.rpartition("/")[2])):
        group, _, key = path.rpartition("/")
        parent, _, last = group.rpartition("/")
        if last == VARS:
            _at(root, parent).own[key] = path
        else:
            loose.append(path)
    return root, loose


def _at(root: Node, path: str) -> Node:
    node = root
    for part in path.split("/") if path else ():
        if part not in node.children:
            node.children[part] = Node(f"{node.path}/{part}" if node.path else part)
        node = node.children[part]
    return node
