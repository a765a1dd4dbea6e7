"""The matrix as Markdown: for each Keras in docs/keras-matrix.md, for both together in README.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# What stands in a cell; notes of what is refused follow: `T a`
YES, TEMPLATE, REFUSED, ABSENT = "yes", "T", "no", "-"
_WORST = (ABSENT, YES, TEMPLATE, REFUSED)


def cell(verdicts: Iterable[str], notes: Iterable[str]) -> str:
    """One cell for several models: the most that any of them takes, and the notes of those that are refused."""
    told = {"yes": YES, "template": TEMPLATE}
    found = {told[verdict] for verdict in verdicts if verdict in told}
    letters = sorted(set(notes))
    best = max(found, key=_WORST.index, default=REFUSED if letters else ABSENT)
    return " ".join((best, *letters))


def header(first: Sequence[str], targets: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    columns = [*first, *targets]
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]


def rows(text: str) -> list[list[str]]:
    """The fields of every line of the tables in a text, without their headers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    fields = [[field.strip() for field in line.strip("|").split("|")] for line in lines]
    return [
        row for row, after in zip(fields, [*fields[1:], []], strict=True) if not _is_rule(row) and not _is_rule(after)
    ]


def _is_rule(row: Sequence[str]) -> bool:
    return bool(row) and set("".join(row)) == {"-"} and len(row[0]) > 1


def summary(long: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows for both Keras together: a kind of source, and the most that either takes."""
    kinds: Mapping[str, list[Sequence[str]]] = {}
    kinds = {row[1]: [other for other in long if other[1] == row[1]] for row in long}
    return [
        [kind, *(_both(column) for column in zip(*(row[2:] for row in found), strict=True))]
        for kind, found in kinds.items()
    ]


def _both(cells: Sequence[str]) -> str:
    parts = [cell.split() for cell in cells if cell]
    letters = sorted({letter for part in parts for letter in part[1:]})
    best = max((part[0] for part in parts), key=_WORST.index, default=ABSENT)
    return " ".join((best, *letters))
