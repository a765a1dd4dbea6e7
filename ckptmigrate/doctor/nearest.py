"""Nearest: the variable that a missing name most likely means, among those of its shape that nobody takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from ckptmigrate.mapping.pairing import layer_name
from ckptmigrate.table import Variable

_ALIKE = 0.6  # of the characters, below which two names are strangers
_MOST = 200_000  # comparisons of names; the rest of a very different model isn't looked at


def nearest(missing: Mapping[str, Variable], left: Mapping[str, Variable]) -> dict[str, str]:
    """Missing name -> the name it may stand under; each name is proposed once, and only where it is the single best.

    Args:
        missing: What isn't found.
        left: What nobody takes.
    """
    by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, variable in left.items():
        by_shape[variable.tensor.shape].append(name)
    found: dict[str, str] = {}
    tries = 0
    for name, variable in missing.items():
        among = by_shape[variable.tensor.shape]
        tries += len(among)
        if tries > _MOST:
            break
        if best := _best(layer_name(variable), {other: layer_name(left[other]) for other in among}):
            found[name] = best
    proposed = Counter(found.values())
    return {name: other for name, other in found.items() if proposed[other] == 1}


def _best(name: str, among: Mapping[str, str]) -> str:
    matcher = SequenceMatcher(autojunk=False, b=name)
    ranked: list[tuple[tuple[int, float], str]] = []
    for other, text in among.items():
        matcher.set_seq1(text)
        if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE:
            ranked.append(((_shared(name.split("/"), text.split("/")), matcher.ratio()), other))
    ranked.sort(reverse=True)
    if not ranked or ranked[0][0][1] < _ALIKE or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return ""
    return ranked[0][1]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many last segments two names have in common."""
    return next(
        (n for n, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), min(len(one), len(other))
    )


def moved_scope(pairs: Mapping[str, str]) -> tuple[str, str] | None:
    """The one (leading scope there, leading scope here) by which all names differ, or None.

    >>> moved_scope({"model/a/w": "net/a/w", "model/b/w": "net/b/w"})
    ('model/', 'net/')
    """
    scopes: set[tuple[str, str]] = set()
    for name, other in pairs.items():
        shared = _shared(name.split("/"), other.split("/"))
        heads = [path.split("/")[: -shared or None] for path in (name, other)] if shared else None
        if heads is None:
            return None
        scopes.add(("".join(f"{part}/" for part in heads[0]), "".join(f"{part}/" for part in heads[1])))
    return scopes.pop() if len(scopes) == 1 else None
