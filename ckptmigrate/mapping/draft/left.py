"""Left: what a draft leaves to decide, as comments that become rules once their marks are taken off."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckptmigrate.mapping.draft.evidence import Evidence
from ckptmigrate.mapping.draft.lines import pattern_of
from ckptmigrate.mapping.draft.rows import Row
from ckptmigrate.mapping.draft.scalars import IN_BRACES, PLAIN, quoted, visible
from ckptmigrate.runs import collapse, spread

SHOWN = 12  # candidates that are named
LISTED = 40  # lines of names of one kind
ANY_LEAF = "{x}"
TO_DECIDE = (
    "# To decide: under `rules`, one `to` for each `from`, with its holes, or a `drop`. {0..3} are several names."
)

Named = dict[str, list[Row]]  # a name, or a scope -> the rows that it stands for


@dataclass(slots=True)
class _Question:
    """Who some rows could be; asked once for all that some scopes hold under equal names.

    Attributes:
        why: Why that is not certain.
        near, far: The names, or scopes; and those of the candidates.
        leaves: The last segments of both sides, where they are equal.
    """

    why: str
    near: Named = field(default_factory=lambda: defaultdict(list))
    far: Named = field(default_factory=lambda: defaultdict(list))
    leaves: dict[str, None] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The question."""
        leaf = next(iter(self.leaves), "") if len(self.leaves) < 2 else ANY_LEAF
        told = f": {', '.join(map(visible, self.leaves))}" if leaf == ANY_LEAF else ""
        near = [f"- from: {name}  {what}{told}" for name, what in _collapsed(self.near, leaf)]
        far = [f"  to: {name}  {what}" for name, what in _collapsed(self.far, leaf, is_pattern=False)]
        return _listed(near, LISTED) + _listed(far, SHOWN, "  ")


def left(evidence: Evidence, named: tuple[str, str], separators: tuple[str, str]) -> list[str]:
    """The comments.

    Args:
        evidence: What is known.
        named, separators: The systems of names that the file speaks of, and what separates segments in these.
    """
    groups: dict[tuple[str, tuple[Row, ...]], list[Row]] = defaultdict(list)
    for row, doubt in evidence.doubts.items():
        if row not in evidence.unturned:
            groups[doubt.why, doubt.candidates].append(row)
    out = []
    said = ""
    questions = _questions({key: rows for key, rows in groups.items() if key[1]}, named, separators)
    if questions:
        out += ["", TO_DECIDE]
    for question in sorted(questions, key=lambda question: question.why):
        out += [f"# {question.why}:"] * (question.why != said) + question.lines()
        said = question.why
    unused = _named((row for (_, others), rows in groups.items() if not others for row in rows), named[0])
    if unused:
        out += ["", "# Nothing in the target is like these. Under `rules`, to split, to join, or to leave out:"]
        told = _collapsed(unused, plain=IN_BRACES)
        out += _listed([f"- {{drop: {name}, why: unused}}  {what}" for name, what in told], LISTED)
    asked = {proof.target for proof in evidence.unturned.values()}.union(*(others for _, others in groups))
    unfilled = _named((row for row in evidence.unfilled if row not in asked), named[1])
    if unfilled:
        hint = "Under `rules`, with `with: zeros`, `ones`, a number or `template`"
        out += ["", f"# Nothing in the source is like these. {hint}:"]
        out += _listed([f"- fill: {name}  {what}" for name, what in _collapsed(unfilled)], LISTED)
    return out


def _named(rows: Iterable[Row], system: str) -> Named:
    return {row.names.get(system, row.name): [row] for row in rows}


def _questions(
    groups: Mapping[tuple[str, tuple[Row, ...]], Sequence[Row]], named: tuple[str, str], separators: tuple[str, str]
) -> list[_Question]:
    """The questions; those that differ in the last segment alone, which is equal on both sides, are one."""
    found: dict[Hashable, _Question] = {}
    for number, ((why, candidates), rows) in enumerate(groups.items()):
        sides = [_named(rows, named[0]), _named(candidates, named[1])]
        heads = [
            {_cut(name, one): row for name, row in side.items()} for side, one in zip(sides, separators, strict=True)
        ]
        leaves = {leaf for side in heads for _, leaf in side}
        scopes = [tuple(scope for scope, _ in side) for side in heads]
        key: Hashable = (why, *scopes) if len(leaves) == 1 else number
        question = found.setdefault(key, _Question(why))
        if len(leaves) == 1:
            question.leaves |= dict.fromkeys(leaves)
            sides = [{scope: row for (scope, _), row in side.items()} for side in heads]
        for names, side in zip((question.near, question.far), sides, strict=True):
            for name, one in side.items():
                names[name] += one
    return list(found.values())


def _cut(name: str, separator: str) -> tuple[str, str]:
    """The scope, with the separator, and the last segment."""
    end = name.rfind(separator) + 1
    return name[:end], name[end:]


def _collapsed(
    named: Named, leaf: str = "", *, is_pattern: bool = True, plain: re.Pattern[str] = PLAIN
) -> list[tuple[str, str]]:
    """Names, many on a line, and what stands there: a number, and shapes.

    Args:
        named: The names, or scopes.
        leaf: What stands behind each.
        is_pattern: Whether several names are a pattern, if one takes exactly these.
        plain: What needs no quotes.
    """
    found = []
    for run in collapse(list(named), [len(rows[0].shape) for rows in named.values()]):
        pattern = pattern_of(run.names) if is_pattern or len(run.names) == 1 else ""
        rows = [row for name in run.names for row in named[name]]
        text = quoted(pattern + leaf, plain) if pattern else visible(run.text + leaf)
        times = "" if len(rows) == 1 else f"{len(rows)} of "
        found.append((text, f"# {times}{_shapes(rows)}"))
    return found


def _shapes(rows: Sequence[Row]) -> str:
    by_rank: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for row in rows:
        by_rank[len(row.shape)].append(row.shape)
    return " or ".join(spread(by_rank[rank]) for rank in sorted(by_rank))


def _listed(lines: Sequence[str], most: int, indent: str = "") -> list[str]:
    rest = len(lines) - most
    return [f"#   {text}" for text in lines[:most]] + [f"#   {indent}... and {rest} more"] * (rest > 0)
