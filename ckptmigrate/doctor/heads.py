"""Heads: shapes that differ because the two models tell another number of classes apart."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.mapping.braces import compile_pattern

Shape = tuple[int, ...]

_NUMBER = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]*)(?![0-9])")
_ANCHORED = re.compile(r"box_?predictor|class_?predict|box_?encoding|/class_net|conv_class", re.IGNORECASE)


class Head(NamedTuple):
    """Variables whose last extent alone is another, by one and the same ratio.

    Attributes:
        names: In the other checkpoint.
        extents: Every pair of extents that differ.
        classes: What they have in common: so many outputs a class on each side.
    """

    names: tuple[str, ...]
    extents: tuple[tuple[int, int], ...]
    classes: tuple[int, int]


def heads(shapes: Mapping[str, tuple[Shape, Shape]]) -> list[Head]:
    """Groups variables by the ratio of their last extents, where only that differs: so many outputs.

    Args:
        shapes: Name -> its shape here and there.

    >>> heads({"ClassPredictor/w": ((1, 1, 64, 546), (1, 1, 64, 72)), "ClassPredictor/b": ((273,), (36,))})[0].classes
    (91, 12)
    """
    found: dict[tuple[int, int], list[tuple[str, int, int]]] = {}
    for name, (near, far) in shapes.items():
        if near and len(near) == len(far) and near[:-1] == far[:-1] and min(near[-1], far[-1]) > 0:
            a, b = near[-1], far[-1]
            common = math.gcd(a, b)
            found.setdefault((a // common, b // common), []).append((name, a, b))
    return [_head(members) for members in found.values()]


def _head(members: Sequence[tuple[str, int, int]]) -> Head:
    """Anchored heads have several outputs a class, a number that all their extents share; others have one."""
    names = tuple(name for name, _, _ in members)
    extents = tuple(dict.fromkeys((a, b) for _, a, b in members))
    each = math.gcd(*(n for pair in extents for n in pair)) if any(map(_ANCHORED.search, names)) else 1
    smallest = min(extents)
    return Head(names, extents, (smallest[0] // each, smallest[1] // each))


def patterns(names: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """Patterns of the mapping language that fit these names and none of the others; a name by itself where none does.

    >>> list(patterns(["Box_0/Class/w", "Box_1/Class/w", "Box_1/Class/b"], ["Box_0/Loc/w"]))
    ['Box_{a:int}/Class/w', 'Box_1/Class/b']
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_NUMBER.sub("0", name), []).append(name)
    for members in groups.values():
        text = _pattern(members)
        if len(members) > 1 and not any(compile_pattern(text).bindings(other) for other in others):
            yield text
        else:
            yield from map(_escaped, members)


def _pattern(members: Sequence[str]) -> str:
    """The members with a hole for each number that isn't the same in all of them."""
    texts, numbers = _NUMBER.split(members[0]), [_NUMBER.findall(member) for member in members]
    holes = []
    for at, column in enumerate(zip(*numbers, strict=True)):
        holes.append(column[0] if len(set(column)) == 1 else f"{{{chr(ord('a') + at % 26)}{at // 26 or ''}:int}}")
    pieces = [_escaped(text) for text in texts]
    return pieces[0] + "".join(hole + piece for hole, piece in zip(holes, pieces[1:], strict=True))


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
