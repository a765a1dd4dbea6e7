"""Runs: many names on few lines, `block_{0..16}_expand/kernel`, `bn/{beta,gamma}`."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

MAX_RANGES = 4  # a hole names at most this many ranges, so that a line stays a line
MAX_LEAVES = 6  # last segments on one line
ARROW = " -> "

MAX_DIGITS = 15  # longer ones are no counters; neither is `007`, which stays text

_TEXT = -1  # no number that digits could count
_DIGITS = re.compile(r"([0-9]+)")


class Run(NamedTuple):
    """Names that differ only in numbers, on one line: `block_{0..16}_expand/kernel`.

    Attributes:
        text: The line; the name itself when it stands alone.
        names: The names it stands for, in the order given.
    """

    text: str
    names: tuple[str, ...]


def collapse(names: Sequence[str], signatures: Sequence[Hashable] = ()) -> tuple[Run, ...]:
    """Runs of names that differ only in numbers; a run stands for exactly its names, in the place of the first.

    Numbers that move together (`unit_1 -> w_6`, `unit_2 -> w_12`) are one range, others are a product of ranges; the
    count tells which.

    Args:
        names: Any texts.
        signatures: One per name; names with different ones never share a run.

    >>> [(run.text, len(run.names)) for run in collapse(["a_0/w", "a_1/w", "a_2/w", "b"])]
    [('a_{0..2}/w', 3), ('b', 1)]
    """
    groups: dict[tuple[tuple[str, ...], Hashable], list[tuple[int, tuple[int, ...]]]] = {}
    for position, name in enumerate(names):
        texts, numbers = _split(name)
        signature = signatures[position] if signatures else None
        groups.setdefault((texts, signature), []).append((position, numbers))
    found: list[tuple[int, Run]] = []
    for (texts, _), members in groups.items():
        for text, positions in _boxes(texts, members):
            found.append((positions[0], Run(text, tuple(names[p] for p in positions))))
    return tuple(run for _, run in sorted(found, key=lambda pair: pair[0]))


def _split(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts around a name's numbers, and the numbers."""
    parts = _DIGITS.split(name)
    digits = parts[1::2]
    counters = tuple(map(_counter, digits))
    if _TEXT not in counters:
        return tuple(parts[::2]), counters
    texts, numbers = [parts[0]], []
    for d, counter, text in zip(digits, counters, parts[2::2], strict=True):
        if counter != _TEXT:
            numbers.append(counter)
            texts.append(text)
        else:
            texts[-1] += d + text
    return tuple(texts), tuple(numbers)


@lru_cache(maxsize=1 << 14)
def _counter(digits: str) -> int:
    """The number that digits count, or _TEXT."""
    return int(digits) if len(digits) <= MAX_DIGITS and (digits[0] != "0" or digits == "0") else _TEXT


_Box = tuple[tuple[int, ...], ...]  # the values of each independent number
_Link = tuple[int, dict[int, int]]  # the number it moves together with, and what it is for each value of that one


def _boxes(texts: tuple[str, ...], members: list[tuple[int, tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The members as few products of ranges: (line, positions)."""
    if len(members) == 1 or len({numbers for _, numbers in members}) < len(members):
        for position, numbers in members:
            yield _render(texts, [(n,) for n in numbers]), (position,)
        return
    links = _links([numbers for _, numbers in members])
    axes = sorted({axis for axis, _ in links})
    whole = tuple(tuple(sorted({numbers[a] for _, numbers in members})) for a in axes)
    if math.prod(map(len, whole)) == len(members):  # every combination is there
        yield _line(texts, links, axes, whole), tuple(place for place, _ in members)
        return
    singles: dict[_Box, tuple[int, ...]] = {tuple((numbers[a],) for a in axes): (place,) for place, numbers in members}
    merged = min((_merge(singles, order) for order in (range(len(axes)), range(len(axes))[::-1])), key=len)
    for box, positions in merged.items():
        yield _line(texts, links, axes, box), positions


def _line(texts: tuple[str, ...], links: Sequence[_Link], axes: Sequence[int], box: _Box) -> str:
    values = dict(zip(axes, box, strict=True))
    return _render(texts, [[image[v] for v in values[axis]] for axis, image in links])


def _links(rows: list[tuple[int, ...]]) -> list[_Link]:
    """For each number: the first number it moves together with."""
    links: list[_Link] = []
    for i in range(len(rows[0])):
        for j in range(i + 1):
            image = {row[j]: row[i] for row in rows}
            if j == i or (links[j][0] == j and _together(image, j, i, rows)):
                links.append((j, image))
                break
    return links


def _together(image: dict[int, int], j: int, i: int, rows: list[tuple[int, ...]]) -> bool:
    """Whether number i follows number j in every row, and grows with it."""
    follows = all(image[row[j]] == row[i] for row in rows)
    values = [image[v] for v in sorted(image)]
    return follows and all(a < b for a, b in pairwise(values))


def _merge(singles: Mapping[_Box, tuple[int, ...]], order: Iterable[int]) -> dict[_Box, tuple[int, ...]]:
    boxes = dict(singles)
    for axis in order:
        rows: dict[_Box, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
        for box, positions in boxes.items():
            rows.setdefault((*box[:axis], *box[axis + 1 :]), []).append((box[axis], positions))
        boxes = {}
        for rest, parts in rows.items():
            values = tuple(sorted(v for part, _ in parts for v in part))
            positions = tuple(sorted(p for _, part in parts for p in part))
            box = (*rest[:axis], values, *rest[axis:])
            boxes[box] = positions
    return boxes


def _render(texts: tuple[str, ...], holes: Sequence[Sequence[int]]) -> str:
    return texts[0] + "".join(ranges(values) + text for values, text in zip(holes, texts[1:], strict=True))


def fold(runs: Sequence[Run], signatures: Sequence[Hashable]) -> tuple[Run, ...]:
    """Runs of one signature and size that differ only in their last segments, on one line: `bn/{beta,gamma}`.

    Both sides of `a/x -> b/y` fold together, each with its own leaves in the same order.

    >>> [run.text for run in fold([Run("bn/beta", ("1",)), Run("bn/gamma", ("2",))], ["", ""])]
    ['bn/{beta,gamma}']
    """
    groups: dict[Hashable, list[tuple[tuple[str, ...], Run]]] = {}
    for number, (run, signature) in enumerate(zip(runs, signatures, strict=True)):
        sides = [side.rpartition("/") for side in run.text.split(ARROW)]
        heads, leaves = tuple(head for head, _, _ in sides), tuple(leaf for _, _, leaf in sides)
        foldable = all(heads) and not any("{" in leaf for leaf in leaves)
        key = (heads, signature, len(run.names)) if foldable else number
        groups.setdefault(key, []).append((leaves, run))
    folded: list[Run] = []
    for members in groups.values():
        if 1 < len(members) <= MAX_LEAVES:
            columns = [dict.fromkeys(column) for column in zip(*(leaves for leaves, _ in members), strict=True)]
            ends = ["{" + ",".join(column) + "}" if len(column) > 1 else "".join(column) for column in columns]
            sides = [side.rpartition("/") for side in members[0][1].text.split(ARROW)]
            text = ARROW.join(f"{head}/{end}" for (head, _, _), end in zip(sides, ends, strict=True))
            folded.append(Run(text, tuple(name for _, run in members for name in run.names)))
        else:
            folded += [run for _, run in members]
    return tuple(folded)


def ranges(values: Sequence[int]) -> str:
    """Sorted integers as a person writes them: `{0..3,5}`; one of them is itself.

    >>> ranges([0, 1, 2, 3, 5]), ranges([7])
    ('{0..3,5}', '7')
    """
    if len(values) == 1:
        return str(values[0])
    spans: list[list[int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    texts = [str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}..{b}" for a, b in spans]
    if len(texts) > MAX_RANGES:
        texts = [*texts[:2], "...", texts[-1]]
    return "{" + ",".join(texts) + "}"


def spread(shapes: Iterable[tuple[int, ...]]) -> str:
    """The shape that shapes of one rank share, with the range where an extent differs.

    >>> spread([(3, 3, 16, 32), (3, 3, 32, 32)]), spread([()])
    ('[3,3,16..32,32]', '[]')
    """
    extents = [sorted(set(extent)) for extent in zip(*set(shapes), strict=True)]
    return "[" + ",".join(str(e[0]) if len(e) == 1 else f"{e[0]}..{e[-1]}" for e in extents) + "]"
