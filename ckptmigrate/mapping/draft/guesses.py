"""Guesses: the ways in which whole families of names can be paired, and which of them have no rival.

Families (see `rows`) hold names that differ in numbers only. A guess pairs all members of one with members of another,
of equal kind: what they are for, their extents, their values where those tell. A guess is accepted if every other guess
about the same variables shares fewer words: all of the rival's, and not all of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ckptmigrate.mapping.draft.holes import Places
from ckptmigrate.mapping.draft.rows import COMMON, TENSOR, UNKNOWN, Family, Row, leaf_of, parts

NEAREST, FAMILY, ONLY, BESIDE = (
    "nearest name",
    "shapes of the whole family",
    "the only one of its shape",
    "beside a proven one",
)

MAX_TRIALS = 10_000  # pairs of families that are compared for one kind; beyond it nothing tells who is who
MANY_WAYS = 8  # to pair two families, beyond which they are not looked at one by one
MANY_SHAPES = 3  # as many shapes that agree in one family are no accident

RELATED = 0.25  # share of variables that are alike from where on words of names prove anything
SAME_MODEL = 0.4  # and shapes alone
ALIKE = 0.9  # and that something is left on both sides

Kind = tuple[Hashable, ...]
KindOf = Callable[[Row], Kind]


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """One way to pair all members of a family; or that there are too many ways to name, into some rows.

    Attributes:
        source: The family.
        targets: The rows that it may lead to.
        shared: The words that the names of both sides have.
        pairs: Row of the source -> row of the target; empty where there are too many ways.
    """

    source: Family
    targets: frozenset[Row]
    shared: frozenset[str]
    pairs: Mapping[Row, Row]

    @property
    def shapes(self) -> int:
        return len({row.extents for row in self.pairs})


class Guessing:
    """All guesses about two sides' families, and what can be made of them.

    Args:
        near, far: The families of both sides.
        kind: What must be equal for a pair to be possible.
        alike: The share of all variables whose kind the other side has.
    """

    def __init__(self, near: Sequence[Family], far: Sequence[Family], kind: KindOf, alike: float) -> None:
        self.kind = kind
        self.alike = alike
        self._taken: set[Row] = set()
        self._settled: set[Family] = set()
        self.of_source: dict[Family, list[Guess]] = {}
        self.of_target: dict[Row, list[Guess]] = defaultdict(list)
        self.frequent = _frequent(far)
        search = _Search(far, kind)
        found = [guess for family in near for guess in search.guesses(family)]
        for guess in (guess for guess in found if search.is_finished(guess)):
            self._add(guess)

    def accepted(self) -> Iterator[tuple[Guess, str]]:
        """Guesses without a rival, what the earlier ones leave included, each with its evidence."""
        changed = True
        while changed:
            changed = False
            for family in list(self.of_source):
                if (found := self._accept(family)) is not None:
                    changed = True
                    yield found

    def _accept(self, family: Family) -> tuple[Guess, str] | None:
        """The one guess about a family, as far as no other family could stand in its place."""
        live = [guess for guess in self.of_source[family] if self._is_live(guess)]
        best = max(live, key=lambda guess: len(guess.shared), default=None)
        if best is None or not best.pairs or not all(g.shared < best.shared for g in live if g is not best):
            return None
        others = {g for row in best.targets for g in self.of_target[row] if g.source is not family and self._is_live(g)}
        disputed = {row for g in others if not g.shared < best.shared for row in g.targets}
        guess, rest = _parted(best, disputed)
        rivals = [g for g in live if g is not best] + [g for g in others if not guess.targets.isdisjoint(g.targets)]
        nearer = guess.shared.difference(*(g.shared for g in rivals)) if rivals else frozenset()
        is_only = len(self.of_source[family]) == 1 and all(len(self.of_target[row]) == 1 for row in guess.targets)
        if not guess.pairs or not (evidence := self._evidence(guess, nearer, is_only=is_only)):
            return None
        self._settled.add(family)
        self._taken |= guess.targets
        if rest.pairs:
            self._add(rest)
        return guess, evidence

    def _is_live(self, guess: Guess) -> bool:
        is_open = self._taken.isdisjoint(guess.targets) if guess.pairs else not guess.targets <= self._taken
        return is_open and guess.source not in self._settled

    def _add(self, guess: Guess) -> None:
        self.of_source.setdefault(guess.source, []).append(guess)
        for row in guess.targets:
            self.of_target[row].append(guess)

    def _evidence(self, guess: Guess, nearer: frozenset[str], *, is_only: bool) -> str:
        """What speaks for a guess that shares more words than any rival; "" where that is too little.

        Args:
            guess: The guess.
            nearer: What it shares and no rival does.
            is_only: Whether it never had one.
        """
        if self.alike < RELATED:
            return ""
        telling = (word for word in guess.shared if word.lstrip("/") not in COMMON | self.frequent)
        if any(word not in COMMON for word in nearer) or any(telling):
            return NEAREST
        if self.alike < SAME_MODEL or any(row.role == UNKNOWN for row in guess.pairs):
            return ""
        if guess.shapes >= MANY_SHAPES:
            return FAMILY
        one = next(iter(guess.pairs))
        is_large = one.role == TENSOR and len(one.extents) > 1
        return ONLY if is_only and (is_large or self.alike >= ALIKE) else ""


def _frequent(families: Sequence[Family]) -> frozenset[str]:
    """Words that more than half of all names have."""
    counts: Counter[str] = Counter()
    for family in families:
        for word in family.words:
            counts[word.lstrip("/")] += len(family.members)
    total = sum(len(family.members) for family in families)
    return frozenset(word for word, count in counts.items() if 2 * count > total)


def _parted(guess: Guess, disputed: Collection[Row]) -> tuple[Guess, Guess]:
    """A guess without the pairs of some targets, and these as a guess of their own."""
    if not disputed:
        return guess, Guess(guess.source, frozenset(), guess.shared, {})
    found = []
    for is_disputed in (False, True):
        pairs = {one: other for one, other in guess.pairs.items() if (other in disputed) == is_disputed}
        members = {numbers: row for numbers, row in guess.source.members.items() if row in pairs}
        source = Family(members, guess.source.words)
        found.append(Guess(source, frozenset(pairs.values()), guess.shared, pairs))
    return found[0], found[1]


class _Search:
    """Finds the guesses about families of one side among those of the other."""

    def __init__(self, far: Sequence[Family], kind: KindOf) -> None:
        self.kind = kind
        self.profiles = {family: self._profile(family) for family in far}
        self.places: dict[Family, Places] = {}
        self.holding: dict[Kind, list[Family]] = defaultdict(list)
        for family, profile in self.profiles.items():
            for one in profile:
                self.holding[one].append(family)
        self.trials: Counter[Kind] = Counter()

    def is_finished(self, guess: Guess) -> bool:
        """Whether all guesses about variables of its kinds were found, so that all its rivals are known."""
        return all(self.trials[self.kind(row)] <= MAX_TRIALS for row in guess.source.members.values())

    def guesses(self, family: Family) -> list[Guess]:
        """The ways to pair a family: as a whole, else part by part, in the parts of which most can be paired."""
        found = self._whole(family)
        if found or len(family.members) == 1:
            return found
        ways = [[(part, self._whole(part)) for part in parts_] for parts_ in parts(family)]
        best = max(ways, key=lambda way: sum(len(part.members) for part, guesses in way if guesses))
        return [guess for part, guesses in best for guess in (guesses or self.guesses(part))]

    def _whole(self, family: Family) -> list[Guess]:
        profile = self._profile(family)
        if any(self.trials[one] > MAX_TRIALS for one in profile):
            return []
        rarest = min(profile, key=lambda one: len(self.holding[one]))
        self.trials.update(dict.fromkeys(profile, len(self.holding[rarest])))
        others = [other for other in self.holding[rarest] if profile <= self.profiles[other]]
        return [guess for other in others for guess in self._between(family, other)]

    def _between(self, family: Family, other: Family) -> Iterator[Guess]:
        if other not in self.places:
            self.places[other] = Places({numbers: self.kind(row) for numbers, row in other.members.items()})
        places = self.places[other]
        near = {numbers: self.kind(row) for numbers, row in family.members.items()}
        shared = family.words & other.words
        found = list(islice(places.ways(near), MANY_WAYS + 1))
        if len(found) > MANY_WAYS:
            to = [other.members[numbers] for kind in set(near.values()) for numbers in places.by_kind[kind]]
            self.trials.update(dict.fromkeys(near.values(), len(to)))
            yield Guess(family, frozenset(to), shared, {})
            return
        for terms in found:
            to = [other.members[tuple(term.value(numbers) for term in terms)] for numbers in near]
            yield Guess(family, frozenset(to), shared, dict(zip(family.members.values(), to, strict=True)))

    def _profile(self, family: Family) -> Counter[Kind]:
        return Counter(self.kind(row) for row in family.members.values())


def beside(
    proven: Mapping[Row, Row], near: Iterable[Row], far: Iterable[Row], kind: KindOf, scope: Callable[[Row], str]
) -> dict[Row, Row]:
    """What stands in one scope with a proven variable: its bias, its statistics; a tensor of one last segment.

    Args:
        proven: The pairs there are.
        near, far: The rows that have no pair yet.
        scope: What holds a row.
    """
    homes: dict[str, set[str]] = defaultdict(set)
    back: dict[str, set[str]] = defaultdict(set)
    for one, other in proven.items():
        homes[scope(one)].add(scope(other))
        back[scope(other)].add(scope(one))
    there: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in far:
        there[scope(row), _part(row)].append(row)
    here: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in near:
        here[scope(row), _part(row)].append(row)
    found = {}
    for (home, part), rows in here.items():
        if len(homes[home]) != 1 or len(rows) != 1:
            continue
        place = next(iter(homes[home]))
        matches = there.get((place, part), [])
        if len(back[place]) == len(matches) == 1 and kind(rows[0]) == kind(matches[0]):
            found[rows[0]] = matches[0]
    return found


def _part(row: Row) -> str:
    """Which part of its layer a row is: what it is for, or its last segment, where that says no more."""
    return leaf_of(row.name) if row.role in (TENSOR, UNKNOWN) else row.role
