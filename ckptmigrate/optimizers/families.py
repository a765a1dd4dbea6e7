"""From the slots of one title to states: numbers become slots, scopes and further numbers become optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import OPTIMIZERS, UNKNOWN, spelling
from ckptmigrate.optimizers.keys import numbered, split_number
from ckptmigrate.optimizers.owners import Claim
from ckptmigrate.table import OptimizerState, SlotKey, Stored, Tensor


class Family(NamedTuple):
    """The slots that share a title (`Adam`, `Adam_1`, ...), and the kind that the title stands for."""

    title: str
    kind: str
    claims: Sequence[Claim]


def states_of(
    family: Family, tensors: Mapping[str, Tensor], issues: list[Issue], endings: Mapping[str, str]
) -> list[OptimizerState]:
    """One state per scope and per optimizer that created slots there; those of home-made `endings` are one."""
    by_scope: dict[str, list[Claim]] = {}
    for claim in family.claims:
        by_scope.setdefault(claim.scope, []).append(claim)
    states = []
    for scope, claims in by_scope.items():
        prefix = f"{scope}/" if len(by_scope) > 1 and scope else ""
        if endings:
            states.append(_home_made(prefix, claims, endings, tensors))
        else:
            states += _numbered(family._replace(claims=claims), prefix, tensors, issues)
    return states


def _home_made(
    prefix: str, claims: Sequence[Claim], endings: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> OptimizerState:
    slots = {SlotKey(c.owner, endings[c.ending]): Stored(c.key, tensors[c.key]) for c in claims}
    kind = _kind_of({key.slot for key in slots})
    shared = _shared_start(min(c.ending for c in claims), max(c.ending for c in claims))
    return OptimizerState(prefix + (shared or kind), kind, "tf1", slots=slots)


def _kind_of(slots: set[str]) -> str:
    """The first optimizer of TF1 that has these slots, by their canonical names."""
    for optimizer in OPTIMIZERS:
        spelled = optimizer.dialects["tf1"].slots if "tf1" in optimizer.dialects else ()
        if {s.name for s in spelled if not s.is_optional} <= slots <= {s.name for s in spelled}:
            return optimizer.kind
    return UNKNOWN


def _shared_start(first: str, last: str) -> str:
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same].rstrip("_-.")


def _numbered(family: Family, prefix: str, tensors: Mapping[str, Tensor], issues: list[Issue]) -> list[OptimizerState]:
    numbers = {ending: split_number(ending)[1] for ending in {c.ending for c in family.claims}}
    variant = _variant(family.kind, max(numbers.values()) + 1)
    if not variant:
        if family.kind != UNKNOWN:
            issues.append(_unclear(family, sorted(numbers, key=lambda e: numbers[e])))
        slots = {SlotKey(c.owner, c.ending): Stored(c.key, tensors[c.key]) for c in family.claims}
        return [OptimizerState(prefix + family.title, UNKNOWN, "tf1", slots=slots)]
    size = len(variant)
    where = {ending: (number // size, variant[number % size]) for ending, number in numbers.items()}
    parts: dict[int, dict[SlotKey, Stored]] = {index: {} for index in sorted({i for i, _ in where.values()})}
    for key, owner, _, ending in family.claims:
        index, slot = where[ending]
        parts[index][SlotKey(owner, slot)] = Stored(key, tensors[key])
    if len(parts) > 1:
        _check_shared(family, parts, issues)
    return [
        OptimizerState(prefix + numbered(family.title, index * size), family.kind, "tf1", slots=slots)
        for index, slots in parts.items()
    ]


def _variant(kind: str, count: int) -> tuple[str, ...]:
    """Which slot each number is, for that many numbers; none when that can't be told.

    RMSProp has two slots, or three when centered: 4 numbers are two plain ones, 5 or 6 could be either.
    """
    spelled = spelling(kind, "tf1")
    variants = spelled.numbered if spelled else ()
    if len(variants) == 1:
        return variants[0]
    fits = [v for v in variants if count % len(v) == 0]
    if not fits and variants and count < min(map(len, variants)):
        return min(variants, key=len)
    return fits[0] if len(fits) == 1 else ()


def _unclear(family: Family, endings: Sequence[str]) -> Issue:
    text = f"{len(endings)} slots a variable ({', '.join(endings)}) fit more than one {family.title}: kept as is."
    hint = "name them in the mapping: source: {slots: {" + ", ".join(f"{e}: SLOT" for e in endings[:3]) + ", ...}}"
    return Issue("guess", "warning", family.title, text, hint)


def _check_shared(family: Family, parts: Mapping[int, Mapping[SlotKey, Stored]], issues: list[Issue]) -> None:
    """Numbers count per variable: one that only the second optimizer trains looks as if the first trained it."""
    counts = [len({key.variable for key in slots}) for slots in parts.values()]
    if len(set(counts)) > 1:
        text = (
            f"{len(parts)} optimizers called {family.title} share some variables, not all ({counts}): slots of a "
            "variable with only one set are taken for the first optimizer's."
        )
        issues.append(Issue("guess", "warning", family.title, text))
