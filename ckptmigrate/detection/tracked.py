"""Objects as TensorFlow tracks them, and the graph that a checkpoint of them holds.

A model is described by its objects in the order in which its code assigns them; the graph numbers them breadth-first
from the root (tensorflow/python/checkpoint/graph_view.py), and a variable's key is the first path that finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckptmigrate.objects import VALUE_SUFFIX, VARIABLE_VALUE, Attribute, Edge, Node, ObjectGraph, escape


@dataclass(slots=True, eq=False)
class Tracked:
    """One object: its children by local name, in order, and the variable's own name where it is a variable."""

    children: dict[str, Tracked] = field(default_factory=dict)
    variable: str = ""

    @property
    def is_weighted(self) -> bool:
        """Whether it or something below it is a variable."""
        return bool(self.variable) or any(child.is_weighted for child in self.children.values())


def plain() -> Tracked:
    """A layer without variables."""
    return Tracked()


def layer(name: str, *leaves: str) -> Tracked:
    """A layer whose variables are called `name/leaf`."""
    return Tracked({leaf: Tracked(variable=f"{name}/{leaf}") for leaf in leaves})


def conv(name: str, *, bias: bool = False) -> Tracked:
    """A convolution or dense layer."""
    return layer(name, "kernel", *["bias"] * bias)


def depthwise(name: str) -> Tracked:
    """A depthwise convolution; these have no bias here."""
    return layer(name, "depthwise_kernel")


def separable(name: str, *, bias: bool = False) -> Tracked:
    """A depthwise convolution and a pointwise one in one layer."""
    return layer(name, "depthwise_kernel", "pointwise_kernel", *["bias"] * bias)


def batch_norm(name: str, *, gamma: bool = True) -> Tracked:
    """A batch normalisation; its list of axes is tracked, too."""
    made = layer(name, *["gamma"] * gamma, "beta", "moving_mean", "moving_variance")
    return Tracked({"axis": plain(), **made.children})


def normalised(conv: Tracked, norm: str) -> list[Tracked]:
    """A convolution, its batch normalisation, an activation."""
    return [conv, batch_norm(norm), plain()]


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
    numbers = {id(root): 0}
    queue, paths = [root], [""]
    for at, item in enumerate(queue):  # grows while it is read
        for name, child in item.children.items():
            if id(child) not in numbers:
                numbers[id(child)] = len(queue)
                queue.append(child)
                paths.append(f"{paths[at]}/{escape(name)}".removeprefix("/"))
    return ObjectGraph(tuple(_node(item, path, numbers) for item, path in zip(queue, paths, strict=True)))


def _node(item: Tracked, path: str, numbers: dict[int, int]) -> Node:
    edges = tuple(Edge(name, numbers[id(child)]) for name, child in item.children.items())
    attribute = Attribute(VARIABLE_VALUE, item.variable, path + VALUE_SUFFIX)
    return Node(edges, (attribute,) if item.variable else (), has_values=item.is_weighted)
