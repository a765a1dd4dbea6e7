"""Lines: proven pairs as few lines: whole subtrees, names with holes, tables of last segments, or as they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from ckptmigrate.mapping.draft.evidence import Proof
from ckptmigrate.mapping.draft.holes import Numbers, Terms, terms_of
from ckptmigrate.mapping.draft.rows import Row, split, systems
from ckptmigrate.mapping.draft.turns import Operations

MAX_ENTRIES = 12  # of a table; a longer one is no easier to read than lines
HOLES = "ijklmnopqrstuvwxyz"

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line: a pattern, what it becomes, the operations, and the pairs that it stands for.

    Attributes:
        leaves: Last segments that stand behind both patterns, source -> target: a table.
    """

    source: str
    target: str
    operations: Operations
    pairs: tuple[tuple[Row, Proof], ...]
    leaves: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Named:
    """One pair by the names that a line speaks of."""

    row: Row
    proof: Proof
    source: str
    target: str


def lines(
    rows: Sequence[Row],
    targets: Sequence[Row],
    proven: Mapping[Row, Proof],
    separators: tuple[str, str],
    *,
    as_they_are: Iterable[Row] = (),
    named: tuple[str, str] | None = None,
) -> tuple[tuple[str, str], list[Line]]:
    """The fewest lines that say the pairs, and the two systems of names that they speak of.

    Args:
        rows, targets: All of both sides: those without proof must fit no line.
        proven: The pairs.
        separators: Of the two sides' names.
        as_they_are: Rows whose pair is written without holes.
        named: The systems, where they are settled.
    """
    ways = {
        (one, other): _Lines(rows, proven, one, other, separators).found(set(as_they_are))
        for one, other in ([named] if named else product(_full_systems(rows), _full_systems(targets)))
    }
    best = min(ways, key=lambda way: len(ways[way]))
    return best, ways[best]


def _full_systems(rows: Sequence[Row]) -> list[str]:
    """The systems in which every row has a name of its own."""
    named = {system: {row.names.get(system) for row in rows} - {None} for system in systems(rows)}
    return [system for system, names in named.items() if len(names) == len(rows)] or ["name"]


def escaped(text: str) -> str:
    """Text as a pattern writes it."""
    return text.replace("{", "{{").replace("}", "}}")


class _Lines:
    """Lines in one pair of systems of names."""

    def __init__(
        self, rows: Sequence[Row], proven: Mapping[Row, Proof], one: str, other: str, separators: tuple[str, str]
    ) -> None:
        self.separators = separators
        self.names = {row: row.names.get(one, row.name) for row in rows}
        self.pairs = {
            row: Named(row, proof, self.names[row], proof.target.names.get(other, proof.target.name))
            for row, proof in proven.items()
        }
        self.numbers: dict[Texts, dict[Numbers, Row]] = defaultdict(dict)
        for row, name in self.names.items():
            texts, numbers = split(name)
            self.numbers[texts][numbers] = row

    def found(self, as_they_are: set[Row]) -> list[Line]:
        """Lines for all pairs; those of some rows without holes."""
        literal = [_literal(pair) for row, pair in self.pairs.items() if row in as_they_are]
        trees = [] if literal else list(self._subtrees("", list(self.names)))
        done = {row for line in trees for row, _ in line.pairs} | as_they_are
        groups: dict[tuple[Texts, Texts, Operations], list[Named]] = defaultdict(list)
        for row, pair in self.pairs.items():
            if row not in done:
                groups[split(pair.source)[0], split(pair.target)[0], pair.proof.operations].append(pair)
        return literal + trees + [line for group in groups.values() for line in self._with_holes(group)]

    def _subtrees(self, prefix: str, rows: list[Row]) -> Iterator[Line]:
        """Lines for all that stands below a prefix and keeps its name, or changes nothing but the prefix."""
        near, far = self.separators
        pairs = [self.pairs[row] for row in rows if row in self.pairs]
        heads = {_head(pair.target, pair.source[len(prefix) :].replace(near, far)) for pair in pairs}
        if (
            len(rows) == len(pairs) > 1
            and len(heads) == 1
            and None not in heads
            and not any(p.proof.operations for p in pairs)
        ):
            head = next(iter(heads)) or ""
            yield Line(
                f"{escaped(prefix)}{{rest:path}}",
                f"{escaped(head)}{{rest}}",
                (),
                tuple((p.row, p.proof) for p in pairs),
            )
            return
        children: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            segment, separator, _ = self.names[row][len(prefix) :].partition(near)
            if separator:
                children[segment].append(row)
        numbered: dict[Texts, int] = defaultdict(int)
        for segment in children:
            numbered[split(segment)[0]] += 1
        for segment, below in children.items():
            if numbered[split(segment)[0]] == 1:
                yield from self._subtrees(f"{prefix}{segment}{near}", below)

    def _with_holes(self, group: Sequence[Named]) -> Iterator[Line]:
        """Lines for pairs of two families: one, or one for each value of a number, or one for each pair."""
        if (line := self._with_terms(group)) is not None:
            yield line
            return
        ways = []
        for column in range(len(split(group[0].source)[1])):
            parts: dict[int, list[Named]] = defaultdict(list)
            for pair in group:
                parts[split(pair.source)[1][column]].append(pair)
            made = [self._with_terms(part) for part in parts.values()]
            if None not in made:
                ways.append([line for line in made if line is not None])
        yield from min(ways, key=len, default=[_literal(pair) for pair in group])

    def _with_terms(self, group: Sequence[Named]) -> Line | None:
        """The line that says all of a group and nothing of other rows; None where there is none."""
        if len(group) == 1:
            return _literal(group[0])
        texts, ends = split(group[0].source)[0], split(group[0].target)[0]
        numbers = [(split(pair.source)[1], split(pair.target)[1]) for pair in group]
        terms = terms_of(numbers)
        if terms is None:
            return None
        columns = list(zip(*(near for near, _ in numbers), strict=True))
        spans = [(min(column), max(column)) for column in columns]
        others = [there for there, row in self.numbers[texts].items() if row not in {pair.row for pair in group}]
        fixed = [i for i, (least, greatest) in enumerate(spans) if least == greatest]
        others = [there for there in others if all(there[i] == spans[i][0] for i in fixed)]
        within = [
            t for t in others if all(least <= n <= greatest for n, (least, greatest) in zip(t, spans, strict=True))
        ]
        if within:
            return None
        return Line(
            *_rendered(texts, ends, columns, spans, terms, is_bounded=bool(others)),
            group[0].proof.operations,
            tuple((p.row, p.proof) for p in group),
        )


def _literal(pair: Named) -> Line:
    return Line(escaped(pair.source), escaped(pair.target), pair.proof.operations, ((pair.row, pair.proof),))


def _head(name: str, ending: str) -> str | None:
    return name.removesuffix(ending) if name.endswith(ending) else None


def _rendered(
    texts: Texts,
    ends: Texts,
    columns: Sequence[Numbers],
    spans: Sequence[tuple[int, int]],
    terms: Terms,
    *,
    is_bounded: bool,
) -> tuple[str, str]:
    """Both patterns, each number that varies a hole; numbers that are always equal are one."""
    first = [columns.index(column) for column in columns]
    varying = [i for i in dict.fromkeys(first) if spans[i][0] != spans[i][1]]
    source = escaped(texts[0])
    for i, text in enumerate(texts[1:]):
        least, greatest = spans[i]
        hole = HOLES[varying.index(first[i])] if first[i] in varying else ""
        kind = f":{least}..{greatest}" if is_bounded else ":int"
        source += (f"{{{hole}{kind * (first[i] == i)}}}" if hole else str(least)) + escaped(text)
    target = escaped(ends[0])
    for term, text in zip(terms, ends[1:], strict=True):
        if term.hole is None or first[term.hole] not in varying:
            number = str(term.plus if term.hole is None else spans[term.hole][0] + term.plus)
        else:
            number = f"{{{HOLES[varying.index(first[term.hole])]}{f'{term.plus:+}' if term.plus else ''}}}"
        target += number + escaped(text)
    return source, target


def pattern_of(names: Sequence[str]) -> str:
    """The pattern that takes exactly these names; "" where there is none.

    >>> pattern_of(["block_0/w", "block_1/w"]), pattern_of(["block_0/w", "block_2/w"])
    ('block_{i:0..1}/w', '')
    """
    texts, numbers = zip(*map(split, names), strict=True)
    columns = list(zip(*numbers, strict=True)) if len(set(texts)) == 1 else []
    spans = [(min(column), max(column)) for column in columns]
    if math.prod(greatest - least + 1 for least, greatest in dict(zip(columns, spans, strict=True)).values()) != len(
        names
    ):
        return ""
    return _rendered(texts[0], ("",), columns, spans, (), is_bounded=True)[0]


def with_tables(found: Sequence[Line], separators: tuple[str, str]) -> list[Line]:
    """Lines that differ in their last segments alone, as one line with a table of these."""
    groups: dict[tuple[str, str, Operations], list[tuple[str, str, Line]]] = defaultdict(list)
    for line in found:
        (head, one, leaf), (start, other, end) = (
            text.rpartition(separator) for text, separator in zip((line.source, line.target), separators, strict=True)
        )
        groups[head + one, start + other, line.operations].append((leaf, end, line))
    merged = []
    for (head, start, operations), members in groups.items():
        entries = {leaf: end for leaf, end, _ in members}
        is_plain = not any("{" in text for pair in entries.items() for text in pair) and "" not in entries
        is_one_to_one = len(members) == len(entries) == len(set(entries.values()))
        if is_one_to_one and 1 < len(entries) <= MAX_ENTRIES and is_plain and (head or start):
            pairs = tuple(pair for _, _, line in members for pair in line.pairs)
            merged.append(Line(head, start, operations, pairs, entries))
        else:
            merged += [line for _, _, line in members]
    return merged
