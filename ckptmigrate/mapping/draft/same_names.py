"""Same names: variables that go by one name on both sides, unless the two count their layers differently."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence

from ckptmigrate.mapping.draft.rows import Row, scope_of, split

# Names that count places in a model, which another model has as well
_PLACES = re.compile(r"(?:^|/)(?:layer_with_weights-|_operations/|\w*variables/|vars/)\d", re.ASCII)
_UNCOUNTED = re.compile(r"(?<![0-9])(?=[/.]|$)", re.ASCII)

Agree = Callable[[Row, Row], bool]
Found = list[tuple[str, Row, Row]]


def same_names(source: Sequence[Row], target: Sequence[Row], agree: Agree) -> dict[Row, Row]:
    """Pairs that share a name with each other and with nobody else.

    Numbers count for a name only where one side has all of the other's, and all they lead to agree: the layers that are
    `dense_1` and `dense_2` of one process may be `dense` and `dense_1` of another. A name proves nothing where another
    one of the same scope leads to something else, nor does a place in the model where any place does.
    """
    found = list(_shared(source, target))
    there, back = defaultdict(set), defaultdict(set)
    for _, one, other in found:
        there[one].add(other)
        back[other].add(one)
    trusted = _trusted(source, target, found, agree)
    apart = [name for name, one, other in found if not agree(one, other)]
    scopes, is_placed = {scope_of(name) for name in apart}, not any(map(_PLACES.search, apart))
    return {
        one: other
        for name, one, other in found
        if len(there[one]) == len(back[other]) == 1
        and agree(one, other)
        and _counted(name)[0] in trusted
        and scope_of(name) not in scopes
        and (is_placed or not _PLACES.search(name))
    }


def _shared(source: Sequence[Row], target: Sequence[Row]) -> Found:
    index: dict[str, list[Row]] = defaultdict(list)
    for row in target:
        for name in row.all_names():
            index[name].append(row)
    return [(name, one, other) for one in source for name in one.all_names() for other in index.get(name, ())]


def _trusted(source: Sequence[Row], target: Sequence[Row], found: Found, agree: Agree) -> set[tuple[str, ...]]:
    """What is left of names without their numbers, where these count the same on both sides."""
    near, far = _numbers(source), _numbers(target)
    apart = {_counted(name)[0] for name, one, other in found if not agree(one, other)}
    return {
        texts
        for texts in near.keys() & far.keys()
        if near[texts] == far[texts] or (texts not in apart and (near[texts] < far[texts] or near[texts] > far[texts]))
    }


def _numbers(rows: Sequence[Row]) -> dict[tuple[str, ...], set[tuple[int, ...]]]:
    index: dict[tuple[str, ...], set[tuple[int, ...]]] = defaultdict(set)
    for row in rows:
        for name in row.all_names():
            texts, numbers = _counted(name)
            index[texts].add(numbers)
    return index


def _counted(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts around a name's numbers, and these; a segment without a number has the number 0."""
    return split(_UNCOUNTED.sub("_0", name))
