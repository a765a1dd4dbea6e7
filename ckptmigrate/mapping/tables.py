"""Table: a finite set of names with what each is called in the source and in the target."""

from __future__ import annotations

from typing import NamedTuple

SOURCE, TARGET = 0, 1  # which side of a mapping a pattern speaks of; index of Table's columns


class Table(NamedTuple):
    """A table of a mapping file.

    Attributes:
        name: As patterns call it.
        columns: The source's and the target's texts, entry by entry.
        numbers: The target's texts as integers where all are, for expressions; else None.
        rejoin: True for a list, whose entries are the same on both sides but for the separator.
        where: file:line of its definition.
    """

    name: str
    columns: tuple[tuple[str, ...], tuple[str, ...]]
    numbers: tuple[int, ...] | None = None
    rejoin: bool = False
    where: str = ""

    def texts(self, side: int, separators: tuple[str, str]) -> tuple[str, ...]:
        """What each entry is called on a side."""
        if self.rejoin and side == TARGET and separators[SOURCE] != separators[TARGET]:
            return tuple(text.replace(separators[SOURCE], separators[TARGET]) for text in self.columns[side])
        return self.columns[side]

    def says_the_same(self, other: Table) -> bool:
        """Whether two definitions differ in nothing but where they stand."""
        return (self.columns, self.numbers, self.rejoin) == (other.columns, other.numbers, other.rejoin)
