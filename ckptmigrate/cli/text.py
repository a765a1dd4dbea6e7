"""Text for people: columns of safe names, sizes, counts, lists cut at twenty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckptmigrate.visible import visible

SHOWN = 20  # of many problems of a kind


def columns(rows: Iterable[Sequence[str]], *, right: Sequence[int] = (), indent: str = "  ") -> list[str]:
    """Rows as lines with aligned columns; the last column is never padded nor cut, so names go last.

    >>> columns([("[3,3]", "conv"), ("[]", "step")])
    ['  [3,3]  conv', '  []     step']
    """
    table = [[visible(cell) for cell in row] for row in rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append((indent + "  ".join([*cells[:-1], row[-1]])).rstrip())
    return lines


def size(nbytes: int) -> str:
    """Bytes as people say them.

    >>> size(999), size(12_345_678)
    ('999 B', '12.3 MB')
    """
    amount = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{nbytes} B" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 variable`, `12,345 entries`."""
    if number == 1:
        return f"1 {noun}"
    plural = noun[:-1] + "ie" if noun.endswith("y") else noun + "e" * noun.endswith("s")
    return f"{number:,} {plural}s"


def shortened(lines: Sequence[str], total: int | None = None, *, indent: str = "  ") -> list[str]:
    """The first twenty lines, and how many more there are."""
    rest = len(lines) - SHOWN
    return [*lines[:SHOWN], f"{indent}... and {rest} more; --json lists all"] if rest > 0 else list(lines)
