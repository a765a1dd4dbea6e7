"""The tables as Markdown: in full, one for each optimizer; and one line of an optimizer among all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from resuming.cells import Place
from resuming.trained import LOADED
from resuming.verdicts import ROUNDING, Verdict, shown

Judged = Sequence[tuple[Place, Verdict]]

NUMBER = re.compile(r"\b\d(?:e-\d\d)?\b(?![.\d])")
ALIKE = 3.0  # how many times larger an approximation's difference may be on another machine


def long_form(name: str, judged: Judged) -> str:
    """A section: a row for each source and form, a column for each target and form, the reasons below."""
    columns = [(target, form) for target, forms in LOADED.items() for form in forms]
    lines = [
        f"## {name}",
        "",
        f"| from \\ to | {' | '.join(titled(*c) for c in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for source, form in dict.fromkeys((place.source.title, place.form) for place, _ in judged):
        cells = {(p.target, p.target_form): v for p, v in judged if (p.source.title, p.form) == (source, form)}
        texts = [cells[c].text if c in cells else "" for c in columns]
        lines.append(f"| {titled(source, form)} | {' | '.join(texts)} |")
    reasons = dict.fromkeys((v.label, v.reason) for _, v in judged if v.reason)
    lines += ["", *(f"{label.capitalize()}: {reason}." for label, reason in reasons)] if reasons else []
    return "\n".join(lines) + "\n\n"


def titled(title: str, form: str) -> str:
    """A dialect and its form; TF1 has only one, which bears its name."""
    return title if title == form else f"{title} {form}"


def compact(name: str, judged: Judged) -> str:
    """One line: for each target dialect what is said of all that goes there."""
    return f"| {name} | {' | '.join(summary([(p, v) for p, v in judged if p.target == t]) for t in LOADED)} |\n"


def summary(judged: Judged) -> str:
    """What is said of everything that goes to one dialect: the largest difference, then what is not exact."""
    exact = [v.apart for _, v in judged if v.apart is not None and v.label in ("", "by hand")]
    parts = [shown(max(exact))] if exact else []
    needs: dict[tuple[str, ...], dict[str, None]] = {}
    others: dict[str, dict[str, float]] = {}
    for place, found in judged:
        dialect = place.source.dialect
        if found.needed and place.form == next(iter(place.source.paths)):
            needs.setdefault(found.needed, {})[dialect] = None
        if found.label in ("approximate", "not portable"):
            sizes = others.setdefault(found.label, {})
            sizes[dialect] = max(sizes.get(dialect, 0.0), found.apart or 0.0)
    parts += [f"needs {', '.join(names)} from {', '.join(sources)}" for names, sources in needs.items()]
    parts += [f"{label}{_size(sizes)} from {', '.join(sizes)}" for label, sizes in others.items()]
    return "; ".join(parts) or "-"


def _size(sizes: dict[str, float]) -> str:
    largest = max(sizes.values())
    return f" ({shown(largest)})" if largest else ""


def same(told: str, found: str) -> bool:
    """Whether two texts say the same; rounding is rounding, and an approximation has about its size."""
    if NUMBER.sub("#", told) != NUMBER.sub("#", found):
        return False
    pairs = zip(NUMBER.findall(told), NUMBER.findall(found), strict=True)
    return all(_alike(float(a), float(b)) for a, b in pairs)


def _alike(a: float, b: float) -> bool:
    low, high = sorted((a, b))
    return high <= ROUNDING or high <= ALIKE * low
