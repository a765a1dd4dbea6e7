"""What the objects of a v3 file are called, and what their numbered variables are, in the model's order.

A layer is named by its `name` attribute, else by the configuration, else by its group. Its class is told by the
configuration, else by the group's name in a container, else, where the layer kept the name that Keras gave it, by that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ckptmigrate.formats.keras_layers import Weight
from ckptmigrate.formats.keras_v3.known import CELLS, CONTAINERS, Known, by_file, child_of, refitted
from ckptmigrate.formats.keras_v3.naming import VARS, counted, of_class
from ckptmigrate.formats.keras_v3.nodes import Node
from ckptmigrate.table import Tensor


@dataclass(frozen=True, slots=True)
class Named:
    """One variable.

    Attributes:
        path: Path of its dataset.
        name: The name it goes by.
        weight: What its class says of it; None where that isn't known.
        layer: Number of the model's layer that it belongs to; -1 for the model itself.
        below: Its path below that layer.
        label: Its name by the layers' own names in place of attributes, where the file tells those.
    """

    path: str
    name: str
    weight: Weight | None
    layer: int
    below: str
    label: str


@dataclass(slots=True)
class Walk:
    """One walk through a model.

    Attributes:
        tensors: Of all datasets.
        layers: Name and class of the model's layers, those without variables among them.
        is_told: False once no configuration tells the order of the layers.
        is_plain: False once something else than layers of known classes has variables.
    """

    tensors: Mapping[str, Tensor]
    layers: list[tuple[str, str]] = field(default_factory=list)
    is_told: bool = True
    is_plain: bool = True

    def model(self, root: Node, known: Known, closed: frozenset[str]) -> Iterator[Named]:
        """The variables of the model; the root's children called as in `closed` are no part of it."""
        for member in self._held(root, known):
            if member.node.path in closed or not (member.is_layer or any(True for _ in member.node.datasets())):
                continue
            self.is_plain = self.is_plain and member.is_layer
            self.layers.append((member.name, member.known.class_name))
            at = _At(len(self.layers) - 1).into(member)
            yield from self._object(member.node, member.known, replace(at, below=""))
        if root.own:
            self.is_plain = False
            yield from self._own(root, known, _At(-1))

    def _object(self, node: Node, known: Known, at: _At) -> Iterator[Named]:
        """The variables of an object and of all that it holds."""
        yield from self._own(node, known, at)
        for member in self._held(node, known):
            if not any(True for _ in member.node.datasets()):
                continue
            self.is_plain = self.is_plain and (member.is_layer or member.name in known.inner)
            yield from self._object(member.node, member.known, at.into(member))

    def _own(self, node: Node, known: Known, at: _At) -> Iterator[Named]:
        weights = known.own if len(known.own) == len(node.own) else (None,) * len(node.own)
        for number, ((key, path), weight) in enumerate(zip(node.own.items(), weights, strict=True)):
            self.is_plain = self.is_plain and weight is not None
            last = weight.path if weight is not None else f"{VARS}/{key}"
            told = node.names[number] if len(node.names) == len(node.own) else ""
            called = told or _join(at.name, last)
            yield Named(path, called, weight, at.layer, _join(at.below, last), _join(at.label, last))

    def _held(self, node: Node, known: Known) -> Iterator[_Member]:
        """What an object holds: a model's layers, then attributes, the known ones in their order."""
        left = dict(node.children)
        for container in CONTAINERS:
            if container in left and (known.is_model or not node.path):
                yield from self._layers(left.pop(container), known.layers)
        cells = {name: held for name, held in known.inner.items() if name.startswith(f"{CELLS}/")}
        if cells and CELLS in left:
            found = left.pop(CELLS)
            for (name, held), group in zip(cells.items(), _matched(found, tuple(cells.values())), strict=True):
                if group:
                    yield self._member(name, found.children[group], held)
        for name, held in known.inner.items():
            if (child := child_of(node, name)) is not None and child.path.rpartition("/")[2] in left:
                del left[child.path.rpartition("/")[2]]
                yield self._member(name, child, held)
        for attribute, child in left.items():
            yield self._member(attribute.lstrip("_") or attribute, child, None)

    def _layers(self, container: Node, told: tuple[Known, ...]) -> Iterator[_Member]:
        """In the configuration's order; what it doesn't tell by class and counter."""
        left = dict(container.children)
        for layer, group in zip(told, _matched(container, told), strict=True):
            if group:
                yield self._member(layer.name or left[group].label or group, left.pop(group), layer, is_layer=True)
        if any(True for node in left.values() for _ in node.datasets()):
            self.is_told = False
        for group in sorted(left, key=counted):
            yield self._member(left[group].label or group, left[group], None, is_layer=True)

    def _member(self, name: str, node: Node, told: Known | None, *, is_layer: bool = False) -> _Member:
        first = next(iter(node.own.values()), "")
        is_quantised = bool(first) and not self.tensors[first].dtype.is_float if first in self.tensors else False
        group = node.path.rpartition("/")[2]
        known = by_file(node, group, is_quantised=is_quantised) if told is None else told
        return _Member(name, node, refitted(known, node, is_quantised=is_quantised), is_layer)


@dataclass(frozen=True, slots=True)
class _Member:
    """Something that an object holds: its name there, its node, and what is known of it."""

    name: str
    node: Node
    known: Known
    is_layer: bool


@dataclass(frozen=True, slots=True)
class _At:
    """Where a walk is: number of the layer, path from the model on, the same by labels, path below the layer."""

    layer: int
    name: str = ""
    label: str = ""
    below: str = ""

    def into(self, member: _Member) -> _At:
        label = _join(self.label, member.node.label or member.name)
        return _At(self.layer, _join(self.name, member.name), label, _join(self.below, member.name))


def _matched(container: Node, told: tuple[Known, ...]) -> list[str]:
    """The group of each configured element, "" for none: the k-th of a class has the k-th smallest counter."""
    left = {name: of_class(container.children, name) for name in {layer.class_name for layer in told}}
    return [left[layer.class_name].pop(0) if left[layer.class_name] else "" for layer in told]


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
