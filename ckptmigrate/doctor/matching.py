"""Matching: which values of a checkpoint a program takes that would save another one, by the rules it restores by."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from ckptmigrate.mapping.assign import assign_identity
from ckptmigrate.objects import VALUE_SUFFIX, ObjectGraph
from ckptmigrate.table import Checkpoint

_BUNDLES = frozenset({"tf1", "tf2", "tf1-v1", "savedmodel"})


class Matching(NamedTuple):
    """What is restored.

    Attributes:
        how: The rule: `object paths`, `keys`, `variables' own names`, `layers' names`.
        keys: Stored key in the other checkpoint -> the key in this one that it is restored from.
    """

    how: str
    keys: Mapping[str, str]


def match(source: Checkpoint, other: Checkpoint) -> Matching:
    """What a program that saves `other` restores from `source`. Reads names only."""
    near, far = source.structure.objects, other.structure.objects
    if near is not None and far is not None:
        return Matching("object paths", match_objects(near, far))
    if {source.format, other.format} <= _BUNDLES:
        if near is None and far is None:
            stored = {entry.key for entry in source.rows()}
            return Matching("keys", {e.key: e.key for e in other.rows() if e.key in stored})
        return Matching("variables' own names", _by_full_names(source, other))
    moves = assign_identity(source, other).moves
    keys = {
        other.variables[move.targets[0]].key: source.variables[move.sources[0]].key
        for move in moves
        if len(move.sources) == len(move.targets) == 1
    }
    return Matching("layers' names", keys)


def match_objects(source: ObjectGraph, other: ObjectGraph, start: tuple[int, int] = (0, 0)) -> dict[str, str]:
    """Key of the other graph -> key of the source that tf.train.Checkpoint.restore gives it.

    Objects are the same where edges of the same names lead to them from the two roots; each object of the source is
    taken once. A slot follows its optimizer, its variable and its name
    (tensorflow/python/checkpoint/restore.py, `_queue_children_for_restoration`).

    Args:
        source, other: The two graphs.
        start: Their nodes that stand for each other.
    """
    pairs: dict[int, int] = {start[0]: start[1]}
    queue = deque([start])
    while queue:
        near, far = queue.popleft()
        children = {edge.name: edge.node for edge in other.nodes[far].children}
        for edge in source.nodes[near].children:
            if edge.name in children and edge.node not in pairs:
                pairs[edge.node] = children[edge.name]
                queue.append((edge.node, children[edge.name]))
    for near, far in list(pairs.items()):
        wanted = {(slot.variable, slot.slot): slot.node for slot in other.nodes[far].slots}
        for slot in source.nodes[near].slots:
            there = wanted.get((pairs.get(slot.variable, -1), slot.slot))
            if there is not None:
                pairs.setdefault(slot.node, there)
    keys: dict[str, str] = {}
    for near, far in pairs.items():
        stored = {attribute.name: attribute.key for attribute in source.nodes[near].attributes}
        for attribute in other.nodes[far].attributes:
            if attribute.name in stored:
                keys.setdefault(attribute.key, stored[attribute.name])
    return keys


def _by_full_names(source: Checkpoint, other: Checkpoint) -> dict[str, str]:
    """Between name-based and object-based files TensorFlow goes by the variables' own names; slots have none."""

    def named(checkpoint: Checkpoint) -> dict[str, str]:
        names = {}
        for variable in checkpoint.variables.values():
            key = variable.key.removesuffix(VALUE_SUFFIX)
            names[next(iter(variable.aliases.get("full_name", ())), key)] = variable.key
        return names

    near, far = named(source), named(other)
    return {key: near[name] for name, key in far.items() if name in near}


class Offset(NamedTuple):
    """Objects of two graphs that stand for each other though the roots don't.

    Attributes:
        here, there: The child of each root; "" for the root itself.
        keys: As `match_objects` gives them from there.
    """

    here: str
    there: str
    keys: Mapping[str, str]


def offset(source: ObjectGraph, other: ObjectGraph) -> Offset | None:
    """Where to begin so that most is restored, where that is more than from the two roots; else None."""
    best: Offset | None = None
    most = len(match_objects(source, other))
    near = [("", 0), *((edge.name, edge.node) for edge in source.nodes[0].children)]
    far = [("", 0), *((edge.name, edge.node) for edge in other.nodes[0].children)]
    for one, start in near:
        for two, end in far:
            if one == two or (one and two and len(near) * len(far) > _MAX_TRIES):
                continue
            keys = match_objects(source, other, (start, end))
            if len(keys) > most:
                best, most = Offset(one, two, keys), len(keys)
    return best


_MAX_TRIES = 400  # pairs of children; roots that list hundreds of layers list them under the same names
