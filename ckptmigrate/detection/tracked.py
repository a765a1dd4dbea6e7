"""Objects as TensorFlow tracks them, and the graph that a checkpoint of them holds.

A model is described by its objects in the order in which its code assigns them; the graph numbers them breadth-first
from the root (tensorflow/python/checkpoint/graph_view.py), and a variable's key is the first path that finds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ckptmigrate.objects import VALUE_SUFFIX, VARIABLE_VALUE, Attribute, Edge, Node, ObjectGraph, escape

Shape = tuple[int, ...]


class Variable(NamedTuple):
    """A variable: its own name, as the graph tells it, and its shape."""

    name: str
    shape: Shape = ()


@dataclass(slots=True, eq=False)
class Tracked:
    """One object: its children by local name, in order, and what it holds where it is a variable."""

    children: dict[str, Tracked] = field(default_factory=dict)
    variable: Variable | None = None

    @property
    def is_weighted(self) -> bool:
        """Whether it or something below it is a variable."""
        return self.variable is not None or any(child.is_weighted for child in self.children.values())


def plain() -> Tracked:
    """A layer without variables."""
    return Tracked()


def layer(name: str, **leaves: Shape) -> Tracked:
    """A layer whose variables are called `name/leaf`."""
    return Tracked({leaf: Tracked(variable=Variable(f"{name}/{leaf}", shape)) for leaf, shape in leaves.items()})


def conv(name: str, kernel: Shape, *, bias: bool = False) -> Tracked:
    """A convolution or dense layer; its kernel is `[height, width, in, out]`, or `[in, out]`."""
    return layer(name, kernel=kernel, **({"bias": kernel[-1:]} if bias else {}))


def depthwise(name: str, size: int, channels: int) -> Tracked:
    """A depthwise convolution; these have no bias here."""
    return layer(name, depthwise_kernel=(size, size, channels, 1))


def separable(name: str, kernel: Shape, *, bias: bool = False) -> Tracked:
    """A depthwise convolution and a pointwise one in one layer, in place of a convolution with that kernel."""
    height, width, channels, outputs = kernel
    pointwise = {"pointwise_kernel": (1, 1, channels, outputs), **({"bias": (outputs,)} if bias else {})}
    return layer(name, depthwise_kernel=(height, width, channels, 1), **pointwise)


def batch_norm(name: str, channels: int, *, gamma: bool = True) -> Tracked:
    """A batch normalisation; its list of axes is tracked, too."""
    leaves = [*["gamma"] * gamma, "beta", "moving_mean", "moving_variance"]
    return Tracked({"axis": plain(), **layer(name, **dict.fromkeys(leaves, (channels,))).children})


def listed(items: Iterable[Tracked]) -> Tracked:
    """A list: its members by number."""
    return Tracked({str(number): item for number, item in enumerate(items)})


def shaped_input() -> Tracked:
    """An input layer that was given its shape, a list."""
    return Tracked({"_init_input_shape": plain()})


def functional(layers: Sequence[Tracked]) -> Tracked:
    """A functional or sequential model: every layer by number, those with variables by a number of their own before it.

    Args:
        layers: In the model's order, the input layer among them.
    """
    children: dict[str, Tracked] = {}
    weighted = 0
    for number, item in enumerate(layers):
        if item.is_weighted:
            children[f"layer_with_weights-{weighted}"] = item
            weighted += 1
        children[f"layer-{number}"] = item
    return Tracked(children)


def graph_of(root: Tracked) -> ObjectGraph:
    """The graph of a root and all that it reaches."""
    found = list(walk(root))
    numbers = {id(item): number for number, (item, _) in enumerate(found)}
    return ObjectGraph(tuple(_node(item, path, numbers) for item, path in found))


def walk(root: Tracked) -> Iterator[tuple[Tracked, str]]:
    """Every object once, breadth-first, with the path that finds it first, local names escaped."""
    seen, queue = {id(root)}, deque([(root, "")])
    while queue:
        item, path = queue.popleft()
        yield item, path
        for name, child in item.children.items():
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((child, f"{path}/{escape(name)}".removeprefix("/")))


def _node(item: Tracked, path: str, numbers: dict[int, int]) -> Node:
    edges = tuple(Edge(name, numbers[id(child)]) for name, child in item.children.items())
    held = item.variable
    attributes = (Attribute(VARIABLE_VALUE, held.name, path + VALUE_SUFFIX),) if held is not None else ()
    return Node(edges, attributes, has_values=item.is_weighted)


def outputs_of(model: Tracked, name: str) -> int:
    """How many channels the layer of that name in a functional model gives: the last size of its kernel."""
    wanted = f"{name}/kernel"
    held = (leaf.variable for item in model.children.values() for leaf in item.children.values())
    return next(variable.shape[-1] for variable in held if variable is not None and variable.name == wanted)
