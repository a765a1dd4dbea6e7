"""Nearest: the variable that a missing name most likely means, among those of its shape that nobody takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from ckptmigrate.mapping.pairing import layer_name
from ckptmigrate.table import Variable

_ALIKE = 0.6  # of the characters, below which two names are strangers
_MOST = 20_000  # comparisons letter by letter; what is left of a very different model isn't looked at

_Place = tuple[tuple[int, ...], str]  # a shape, and how a name ends


def nearest(missing: Mapping[str, Variable], left: Mapping[str, Variable]) -> dict[str, str]:
    """Missing name -> the name it may stand under; each name is proposed once, and only where it is the single best.

    The best is of the same shape, has the most last segments in common, and of those the most letters.

    Args:
        missing: What isn't found.
        left: What nobody takes.
    """
    texts = {name: layer_name(variable) for name, variable in left.items()}
    ends: dict[_Place, list[str]] = defaultdict(list)
    for name, variable in left.items():
        for end in ("", *_ends(texts[name])):
            ends[variable.tensor.shape, end].append(name)
    found: dict[str, str] = {}
    budget = _MOST
    for name, variable in missing.items():
        text = layer_name(variable)
        among = next((c for end in _ends(text) if (c := ends.get((variable.tensor.shape, end)))), None)
        among = among or ends.get((variable.tensor.shape, ""), [])
        budget -= len(among)
        if budget > 0 and (best := _best(text, {other: texts[other] for other in among})):
            found[name] = best
    proposed = Counter(found.values())
    return {name: other for name, other in found.items() if proposed[other] == 1}


def _ends(name: str) -> Iterator[str]:
    """How a name ends, from a segment on, the longest first."""
    while name:
        yield name
        name = name.partition("/")[2]


def _best(name: str, among: Mapping[str, str]) -> str:
    """The one with most letters in common; none where two are equally near, or none is near."""
    matcher = SequenceMatcher(autojunk=False, b=name)
    ranked: list[tuple[float, str]] = []
    for other, text in among.items():
        matcher.set_seq1(text)
        is_near = _shared(name.split("/"), text.split("/")) > 1 or matcher.quick_ratio() >= _ALIKE
        if is_near:
            ranked.append((matcher.ratio(), other))
    ranked.sort(reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return ""
    ratio, best = ranked[0]
    return best if ratio >= _ALIKE or _shared(name.split("/"), among[best].split("/")) > 1 else ""


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
