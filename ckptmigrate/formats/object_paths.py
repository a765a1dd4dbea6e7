"""Names in an object graph: the path of every object, which objects are optimizers, and what layers are called.

Objects are named breadth-first from the root in stored child order, never into optimizers nor along the edges that
Keras adds for its own bookkeeping. The same walk names objects when reading and finds them when writing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ckptmigrate.errors import DamagedError
from ckptmigrate.objects import VALUE_SUFFIX, VARIABLE_VALUE, Node, ObjectGraph, escape, unescape

# Edges that lead to variables a second time, in lists that a change of the model reorders.
BOOKKEEPING_EDGES = frozenset(
    {"keras_api", "variables", "trainable_variables", "non_trainable_variables", "_all_variables"}
)
# From an optimizer back to the model's own variables.
_MODEL_EDGES = BOOKKEEPING_EDGES | {"_trainable_variables", "_model"}

# Children that only optimizers have: a step counter with one of the settings, or one that stands for itself.
_STEPS = frozenset({"iter", "iterations"})
_SETTINGS = frozenset({"learning_rate", "decay", "momentum", "rho", "beta_1", "beta_2", "learning_rate_power"})
_ALONE = frozenset({"_iterations", "beta1_power"})

_NUMBERED_LAYER = re.compile(r"layer_with_weights-(?:0|[1-9]\d*)|(?:_functional/)?_operations/(?:0|[1-9]\d*)", re.ASCII)
_NUMBERED = re.compile(r"(?:_functional/)?_operations/\d+(?=/|$)|[^/]+", re.ASCII)  # parts of a path

MAX_PATH_CHARACTERS = 1 << 27  # of all paths together; a chain of n objects has paths of n * n / 2 names


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the objects of a graph stand.

    Attributes:
        names: Node -> its path, local names escaped; objects of the model only. The root's is "".
        optimizers: Optimizer node -> its path.
        owned: Optimizer node -> (node -> path below the optimizer) of what only that optimizer reaches.
    """

    names: Mapping[int, str]
    optimizers: Mapping[int, str]
    owned: Mapping[int, Mapping[int, str]]


def is_optimizer(number: int, node: Node) -> bool:
    """Whether a node is an optimizer: it has slots, or children that only optimizers have (a root may, too)."""
    if node.slots:
        return True
    children = {edge.name for edge in node.children}
    return number > 0 and bool(_ALONE & children or (_STEPS & children and _SETTINGS & children))


def paths_of(graph: ObjectGraph) -> Paths:
    """Names every object that can be named.

    Raises:
        DamagedError: The paths of the graph would fill the memory.
    """
    found = frozenset(number for number, node in enumerate(graph.nodes) if is_optimizer(number, node))
    slots = {slot.node for number in found for slot in graph.nodes[number].slots}
    names = walk(graph, 0, closed=found, edges=BOOKKEEPING_EDGES)
    everywhere = names if found <= names.keys() else names | walk(graph, 0)
    optimizers = {n: everywhere[n] or "optimizer" for n in everywhere if n in found}
    optimizers |= {n: f"optimizer_{n}" for n in sorted(found) if n not in optimizers}
    owned, taken = {}, names.keys() | slots
    for number in optimizers:
        below = walk(graph, number, closed=found - {number}, edges=_MODEL_EDGES)
        owned[number] = {n: path for n, path in below.items() if n not in taken and n not in found}
        taken = taken | owned[number].keys()
    model = {n: _as_stored(graph.nodes[n], name) for n, name in names.items() if n not in slots and n not in found}
    return Paths(model, optimizers, owned)


def walk(
    graph: ObjectGraph, start: int, *, closed: Collection[int] = (), edges: Collection[str] = ()
) -> dict[int, str]:
    """Node -> its path from `start`, breadth-first, not beyond `closed` nodes, nor along edges of those names.

    Raises:
        DamagedError: The paths would fill the memory.
    """
    paths = {start: ""}
    taken = {""}
    length = 0
    queue = deque([start])
    while queue:
        number = queue.popleft()
        if number in closed:
            continue
        prefix = f"{paths[number]}/" if number != start else ""
        for edge in graph.nodes[number].children:
            if edge.node in paths or edge.name in edges:
                continue
            path = prefix + escape(edge.name)
            if path in taken:  # two children of one name: the first has it
                continue
            paths[edge.node] = path
            taken.add(path)
            queue.append(edge.node)
            length += len(path)
            if length > MAX_PATH_CHARACTERS:
                raise DamagedError(f"the paths of the object graph take more than {MAX_PATH_CHARACTERS} characters")
    return paths


def depth_first(graph: ObjectGraph, closed: Collection[int]) -> tuple[int, ...]:
    """Every node in the order in which Keras lists variables: a layer's own first, then those of each layer in it.

    Args:
        graph: The graph.
        closed: Nodes that are not entered: optimizers.
    """
    found: dict[int, None] = {}
    pending = [0]
    while pending:
        number = pending.pop()
        if number in found or number in closed:
            continue
        found[number] = None
        below = [e.node for e in graph.nodes[number].children if e.name not in BOOKKEEPING_EDGES]
        found |= dict.fromkeys(n for n in below if graph.nodes[n].attributes and n not in closed)
        pending += [n for n in reversed(below) if n not in found]
    return tuple(found)


def _as_stored(node: Node, name: str) -> str:
    """The path as the node's key spells it, where the key means the same path (`a.b` for the local name a.b)."""
    for attribute in node.attributes:
        if attribute.name == VARIABLE_VALUE and attribute.key.endswith(VALUE_SUFFIX):
            stored = attribute.key.removesuffix(VALUE_SUFFIX)
            if stored != name and locals_of(stored) == locals_of(name):
                return stored
    return name


def locals_of(name: str) -> tuple[str, ...]:
    """The local names that a path leads along.

    >>> locals_of("model/a.Sb")
    ('model', 'a/b')
    """
    return tuple(unescape(part) for part in name.split("/")) if name else ()


def layer_path(name: str, full_name: str) -> str:
    """An object path with each numbered layer read as the layer's own name, where the full name tells it.

    A layer is numbered as `layer_with_weights-N`, by Keras 3 as `_operations/N`, in its Sequential models as
    `_functional/_operations/N`. Its name is what stands in the variable's full name before as many parts as the path
    has after the layer; the full names of Keras 3's Sequential models begin with the model's.

    >>> layer_path("model/layer_with_weights-3/cell/kernel", "lstm/lstm_cell/kernel")
    'model/lstm/cell/kernel'
    >>> layer_path("_functional/_operations/1/_kernel", "sequential/d/kernel")
    'd/_kernel'
    """
    if "layer_with_weights-" not in name and "_operations/" not in name:
        return name
    path, full = _NUMBERED.findall(name), full_name.split("/")
    last = max((at for at, part in enumerate(path) if _NUMBERED_LAYER.fullmatch(part)), default=-1)
    read: list[str] = []
    known = 0  # parts of the full name that outer layers account for
    for at, part in enumerate(path):
        own = len(full) - (len(path) - at - 1)
        if at == last and known == 0 and own <= 0 and len(full) > 1:
            own = 1  # wrappers leave out what they wrap: `td/kernel` stands at `layer/kernel` below the layer
        if _NUMBERED_LAYER.fullmatch(part) and own > known:
            read += full[own - 1 : own] if part.startswith("_functional/") else full[known:own]
            known = own
        else:
            read.append(part)
    return "/".join(read)
