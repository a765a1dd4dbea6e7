"""Restoring: what a program that saves the other checkpoint would take from this one, and what would bring the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ckptmigrate.doctor.case import Case, trained
from ckptmigrate.doctor.comparison import Comparison, counts
from ckptmigrate.doctor.heads import Head, heads, patterns
from ckptmigrate.doctor.lists import examine_lists
from ckptmigrate.doctor.matching import match
from ckptmigrate.doctor.paths import said_between
from ckptmigrate.doctor.values import UNBOUND
from ckptmigrate.doctor.ways import told, ways_on
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.norm_settings import differing
from ckptmigrate.table import Entry, Variable

_SILENT = (
    "nothing here is found for it, it keeps its initial value, and restore() says nothing unless "
    "assert_existing_objects_matched() is called"
)
_STOPS = "Saver.restore stops at the first such key ('not found in checkpoint')"
_EFFECT = {
    "object paths": _SILENT,
    "keys": _STOPS,
    "variables' own names": _SILENT,
    "layers' names": "Keras' load_weights stops, or with by_name or skip_mismatch leaves it at its initial value",
}
_FEW = 0.5  # of the other's variables; with fewer matches the two are rather different models


def examine_restoring(case: Case) -> Iterator[Issue]:
    """Names, shapes and types, both ways; and the commands that bring what is missing."""
    if case.against is None:
        return
    comparison = Comparison(case, case.against, match(case.checkpoint, case.against))
    if said := said_between(case.checkpoint.format, case.against.format):
        hint = case.convert("--template", case.given_against, to=case.against.format)
        message = f"this is {case.checkpoint.format}, the other {case.against.format}: {said}"
        yield Issue("format", "error", "", message, hint)
    yield _count(comparison, "would be restored" if not said else "have their counterpart here")
    yield from _names(comparison)
    yield from _slots(comparison)
    yield from examine_lists(comparison)
    yield from _shapes(comparison)
    yield from _types(comparison)
    moves = [Move((near.name,), (far.name,)) for near, far in comparison.pairs]
    yield from differing(case.checkpoint, case.against, moves)


def _count(comparison: Comparison, what: str) -> Issue:
    matched, wanted = len(comparison.pairs), len(comparison.wanted)
    fitting = sum(_fits(near, far) for near, far in comparison.pairs)
    message = f"{fitting:,} of the other's {wanted:,} variables {what}, found by {comparison.matching.how}"
    if fitting < matched:
        message += f"; {matched - fitting:,} more are found and don't fit"
    if matched < wanted * _FEW:
        near = Counter(v.tensor.shape for v in comparison.case.checkpoint.variables.values() if counts(v))
        far = Counter(v.tensor.shape for v in comparison.wanted.values())
        message += f"; {(near & far).total():,} have the shape of one here, whatever its name"
    return Issue("restoring", "note", "", message)


def _fits(near: Variable, far: Variable) -> bool:
    is_open = near.tensor.is_open or far.tensor.is_open
    return (is_open or near.tensor.shape == far.tensor.shape) and near.tensor.dtype is far.tensor.dtype


def _names(comparison: Comparison) -> Iterator[Issue]:
    ways = ways_on(comparison)
    hint = told(ways, len(comparison.missing))
    message = f"would not be restored: {_EFFECT[comparison.matching.how]}"
    for name in comparison.missing:
        yield Issue("unrestored", "error", name, message, hint)
    brought = frozenset[str]().union(*(way.brought for way in ways))
    for name, other in comparison.nearest.items() if not brought >= set(comparison.missing) else ():
        yield Issue(
            "near", "note", f"{other} -> {name}", "the nearest by name that has the shape; look whether it is meant"
        )
    for name in comparison.unused:
        yield Issue("unused", "warning", name, "is in this checkpoint, and nothing of the other takes it")


def _slots(comparison: Comparison) -> Iterator[Issue]:
    """Slots that stay behind though their variables are restored: once, with how many."""
    other, keys = comparison.other, comparison.matching.keys
    mine, yours = (sorted((s.kind, s.dialect) for s in trained(c)) for c in (comparison.case.checkpoint, other))
    if comparison.matching.how == "layers' names" or mine != yours:
        return  # there is none to restore, or it is said elsewhere that it is another optimizer's
    owners = {variable.name for _, variable in comparison.pairs}
    slots = [entry for entry in other.rows() if entry.slot and entry.name in owners and entry.slot != UNBOUND]
    lost = [entry for entry in slots if entry.key not in keys]
    if lost:
        effect = _STOPS if comparison.matching.how == "keys" else "the optimizer starts anew, and says nothing"
        message = f"{len(lost):,} of the other's {len(slots):,} slots would not be restored: {effect}"
        case = comparison.case
        hint = case.convert("--template", case.given_against, to=other.format)
        yield Issue("unrestored", "error", _names_of(lost), message, hint)


def _names_of(lost: Sequence[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.slot for entry in lost))


def _shapes(comparison: Comparison) -> Iterator[Issue]:
    differing = {
        far.name: (near.tensor.shape, far.tensor.shape)
        for near, far in comparison.pairs
        if near.tensor.shape != far.tensor.shape and not (near.tensor.is_open or far.tensor.is_open)
    }
    found = heads(differing) if len(differing) < len(comparison.pairs) * _FEW else []  # else another width
    explained = {name: head for head in found for name in head.names}
    for head in found:
        yield _head(comparison, head, sorted(differing))
    for name, (near, far) in differing.items():
        message = f"is {_extents(near)} here and {_extents(far)} in the other: TensorFlow refuses to restore it"
        hint = "" if name in explained else _anew(comparison, list(differing))
        yield Issue("shape", "error", name, message, hint)


def _head(comparison: Comparison, head: Head, differing: Sequence[str]) -> Issue:
    near, far = head.classes
    extents = ", ".join(f"{a} -> {b}" for a, b in head.extents)
    number = len(head.names)
    message = (
        f"{number} variables differ in their last extent ({extents}), as heads of {near} and {far} classes do, "
        "the background counted: they have to be trained anew, the rest can be kept"
    )
    return Issue("head", "error", "", message, _anew(comparison, head.names, differing))


def _anew(comparison: Comparison, names: Sequence[str], differing: Sequence[str] = ()) -> str:
    """The command that keeps the other's own values for some variables, all that differ among them."""
    chosen = list(dict.fromkeys([*names, *differing]))
    others = [name for name in comparison.other.variables if name not in chosen]
    options = [word for pattern in patterns(chosen, others) for word in ("--reinit", pattern)]
    case = comparison.case
    return case.convert("--template", case.given_against, *options, to=comparison.other.format)


def _extents(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _types(comparison: Comparison) -> Iterator[Issue]:
    for near, far in comparison.pairs:
        if near.tensor.dtype is not far.tensor.dtype:
            message = (
                f"is {near.tensor.dtype} here and {far.tensor.dtype} in the other: TensorFlow refuses to restore it"
            )
            case = comparison.case
            hint = case.convert(
                "--template", case.given_against, "--dtype", far.tensor.dtype.name, to=comparison.other.format
            )
            yield Issue("dtype", "error", far.name, message, hint if far.tensor.dtype.is_float else "")
