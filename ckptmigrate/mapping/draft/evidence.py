"""Evidence: which variables are the same on both sides, what proves it, and what makes one of the other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import NamedTuple

from ckptmigrate.mapping.draft import values as compared
from ckptmigrate.mapping.draft.doubts import Candidates, Doubt
from ckptmigrate.mapping.draft.guesses import ALIKE, BESIDE, ONLY, Guessing, Kind, beside
from ckptmigrate.mapping.draft.rows import TENSOR, Row, families, is_turned, leaf_of, owners, scope_of, systems
from ckptmigrate.mapping.draft.same_names import same_names
from ckptmigrate.mapping.draft.turns import Operations, Way, turns

SAME_NAME, VALUES, REST = "same name", "values equal", "the last of its shape"
REORDERED = "it holds the same numbers in another order"
NO_WAY = "no turn of its axes makes one shape of the other"
UNTURNED = "nothing tells whether they have to be transposed"
NORMS = frozenset({"gamma", "beta", "mean", "variance"})


class Proof(NamedTuple):
    """Who a variable is on the other side, how it gets there, and what proves it."""

    target: Row
    evidence: str
    operations: Operations


class Evidence(NamedTuple):
    """What was found out.

    Attributes:
        proven: Source -> its proof.
        doubts: Every other source -> what is known of it.
        unturned: Those of `doubts` of which only the way round is not proven, turned.
        unfilled: Targets that nobody is proven for.
        has_values: Whether values were compared, and told: some are equal.
    """

    proven: Mapping[Row, Proof]
    doubts: Mapping[Row, Doubt]
    unturned: Mapping[Row, Proof]
    unfilled: tuple[Row, ...]
    has_values: bool


def gather(source: Sequence[Row], target: Sequence[Row], *, values: bool) -> Evidence:
    """Pairs the rows of two sides, as far as something proves it."""
    return _Gathering(source, target, values).evidence()


class _Gathering:
    """Pairs in the making; see `gather`."""

    def __init__(self, source: Sequence[Row], target: Sequence[Row], values: bool) -> None:
        self.source, self.target = source, target
        turned = is_turned(source), is_turned(target)
        self.way: Way = "" if turned[0] == turned[1] else "to PyTorch" if turned[1] else "from PyTorch"
        self.proven: dict[Row, tuple[Row, str]] = {}
        self.operations: dict[Row, Operations] = {}
        self.reordered: dict[Row, Row] = {}
        self.prints: dict[Row, compared.Print] = {}
        self.has_values = False
        if values:
            self._compare()
        self._kinds = {row: self._kind(row) for row in (*source, *target)}

    def evidence(self) -> Evidence:
        """Everything that can be proven, the surest first."""
        near, far = self._left()
        self._prove(same_names(near, far, self._agree), SAME_NAME)
        while self._by_names() or self._by_rest():
            pass
        proofs, unturned = self._settled()
        taken = {proof.target for proof in proofs.values()}
        unfilled = tuple(row for row in self.target if row not in taken)
        candidates = Candidates(*self._left(), self._kinds.__getitem__)
        doubts = {row: self._doubt(row, candidates, unturned) for row in self.source if row not in proofs}
        return Evidence(proofs, doubts, unturned, unfilled, self.has_values)

    def _compare(self) -> None:
        """Reads the tensors whose numbers of elements both sides have."""
        shared = {_size(row) for row in self.source} & {_size(row) for row in self.target}
        near = compared.prints([row for row in self.source if _size(row) in shared])
        far = compared.prints([row for row in self.target if _size(row) in shared])
        self.has_values = compared.speak(near, far)
        self.prints = near | far if self.has_values else {}
        for row, other in compared.equal_values(near, far).items():
            told = compared.operations(row, other, near | far)
            if told is None:
                self.reordered[row] = other
            else:
                self.proven[row] = (other, VALUES)
                self.operations[row] = told

    def _kind(self, row: Row) -> Kind:
        """What must be equal for a pair to be possible."""
        tensor = row.variable.tensor
        extents = "open" if tensor.is_open else tuple(sorted(row.extents)) if self.way else row.extents
        told = self.prints.get(row)
        values = row in self.reordered or (told.elements if told else None)
        return row.role, tensor.dtype.is_float, extents, values

    def _agree(self, one: Row, other: Row) -> bool:
        is_open = one.variable.tensor.is_open or other.variable.tensor.is_open
        return self._kinds[one] == self._kinds[other] or (is_open and one.role in (other.role, TENSOR))

    def _prove(self, pairs: Mapping[Row, Row], evidence: str) -> bool:
        self.proven |= {one: (other, evidence) for one, other in pairs.items()}
        return bool(pairs)

    def _left(self) -> tuple[list[Row], list[Row]]:
        taken = {other for other, _ in self.proven.values()}
        return [row for row in self.source if row not in self.proven], [r for r in self.target if r not in taken]

    def _by_names(self) -> bool:
        """One round: what guesses in every pair of systems of names give, less where these contradict each other."""
        near, far = self._left()
        if not near or not far:
            return False
        found: dict[Row, set[tuple[Row, str]]] = defaultdict(set)
        for one, other in product(systems(near), systems(far)):
            for row, target, evidence in self._in_systems(near, far, one, other):
                found[row].add((target, evidence))
        said = Counter(target for targets in found.values() for target in {target for target, _ in targets})
        agreed = {}
        for row, targets in found.items():
            target, evidence = min(targets, key=lambda one: one[1])
            is_agreed = {other for other, _ in targets} == {target} and said[target] == 1
            if is_agreed and self._belongs(row, target, evidence):
                agreed[row] = target, evidence
        self.proven |= agreed
        return bool(agreed)

    def _in_systems(self, near: list[Row], far: list[Row], one: str, other: str) -> Iterator[tuple[Row, Row, str]]:
        known = {row: target for row, (target, _) in self.proven.items() if one in row.names and other in target.names}
        homes = owners({row: scope_of(row.names[one]) for row in (*known, *near) if one in row.names})
        homes |= owners({row: scope_of(row.names[other]) for row in (*known.values(), *far) if other in row.names})
        by_place = beside(
            known,
            [r for r in near if r in homes],
            [r for r in far if r in homes],
            self._kinds.__getitem__,
            homes.__getitem__,
        )
        yield from ((row, target, BESIDE) for row, target in by_place.items())
        taken = set(by_place.values())
        guessing = Guessing(
            families([row for row in near if row not in by_place], one),
            families([row for row in far if row not in taken], other),
            self._kinds.__getitem__,
            self._alike,
        )
        for guess, evidence in guessing.accepted():
            yield from ((row, target, evidence) for row, target in guess.pairs.items())

    def _by_rest(self) -> bool:
        """The norms' vectors of which one is left on each side, of as many as the other has, in models that agree."""
        if self._alike < ALIKE:
            return False
        sides = [Counter(self._kinds[row] for row in rows) for rows in (self.source, self.target)]
        near, far = self._left()
        left: dict[Kind, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
        for side, rows in enumerate((near, far)):
            for row in rows:
                left[self._kinds[row]][side].append(row)
        return self._prove(
            {
                ones[0]: others[0]
                for kind, (ones, others) in left.items()
                if len(ones) == len(others) == 1 and sides[0][kind] == sides[1][kind] and ones[0].role in NORMS
            },
            REST,
        )

    def _belongs(self, row: Row, other: Row, evidence: str) -> bool:
        """Whether the tensors beside two vectors could be one, too; beside a tensor known by its shape, the vectors."""
        near, far = (self._scopes[side, scope_of(one.name)] for side, one in enumerate((row, other)))
        if row.role == TENSOR:
            kinds = {self._kinds[one] for one in far}
            return evidence != ONLY or all(self._kinds[one] in kinds for one in near if one.role != TENSOR)
        tensors = [[one for one in rows if one.role == TENSOR] for rows in (near, far)]
        return not all(tensors) or any(self._agree(a, b) for a, b in product(*tensors))

    @cached_property
    def _scopes(self) -> Mapping[tuple[int, str], Sequence[Row]]:
        """Side and scope -> what stands there."""
        found: dict[tuple[int, str], list[Row]] = defaultdict(list)
        for side, rows in enumerate((self.source, self.target)):
            for row in rows:
                found[side, scope_of(row.name)].append(row)
        return found

    @cached_property
    def _alike(self) -> float:
        """The share of all variables, of the side that has more, whose kind the other side has."""
        near, far = (Counter(self._kinds[row] for row in rows) for rows in (self.source, self.target))
        return (near & far).total() / max(len(self.source), len(self.target), 1)

    def _settled(self) -> tuple[dict[Row, Proof], dict[Row, Proof]]:
        """The pairs whose operations are proven, too, by values or shapes; and the rest, which are square, turned."""
        ways = {
            row: [self.operations[row]] if row in self.operations else self._turns(row, other)
            for row, (other, _) in self.proven.items()
        }
        settled = {row: Proof(*self.proven[row], found[0]) for row, found in ways.items() if len(found) == 1}
        hints = _hints(settled)
        unturned = {}
        for row, found in ways.items():
            if len(found) > 1:
                target, why = self.proven[row]
                unturned[row] = Proof(target, why + hints.get(_leaves(row, target), ""), max(found, key=len))
        return settled, unturned

    def _turns(self, row: Row, other: Row) -> list[Operations]:
        if other.variable.tensor.is_open:
            return [()]
        if row in self.prints and self.prints[row].is_telling:
            return [told] if (told := compared.operations(row, other, self.prints)) is not None else []
        return turns(row.shape, other.shape, self.way if len(row.extents) > 1 else "")

    def _doubt(self, row: Row, candidates: Candidates, unturned: Mapping[Row, Proof]) -> Doubt:
        if row in self.reordered:
            return Doubt((self.reordered[row],), REORDERED)
        if row in self.proven:
            return Doubt((self.proven[row][0],), UNTURNED if row in unturned else NO_WAY)
        return candidates.doubt(row)


def _hints(settled: Mapping[Row, Proof]) -> dict[str, str]:
    """Last segments of pairs -> what is said of those that have them, where it is the same of all."""
    turned: dict[str, set[bool]] = defaultdict(set)
    for row, proof in settled.items():
        if len(row.extents) > 1:
            turned[_leaves(row, proof.target)].add(any("transpose" in text for text in proof.operations))
    return {
        leaves: f"; all others of {leaves} {'are' if True in told else 'are not'}"
        for leaves, told in turned.items()
        if len(told) == 1
    }


def _leaves(row: Row, other: Row) -> str:
    """The last segments of a pair: variables of one kind are most often kept the same way round."""
    return f"{leaf_of(row.name)} -> {leaf_of(other.name)}"


def _size(row: Row) -> tuple[str, int]:
    return row.variable.tensor.dtype.name, row.variable.tensor.size
