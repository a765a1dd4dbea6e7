"""Which variable a name-based slot belongs to: `<scope>/<variable>/<ending>`, by the longest variable name that fits.

TF1's slot creator puts a slot under its variable's name, inside the variable scope that `minimize` ran in; a scope may
stand in front (`training/conv/w/Adam`), the variable's own scope twice (`model/model/w/Adam`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.table import Tensor

MAX_SCOPES = 64  # how many leading scopes are tried: real names have ten, a hostile one may have a million


class Claim(NamedTuple):
    """A key that is a slot of `owner`: the scope in front of the owner's name, and the ending behind it."""

    key: str
    owner: str
    scope: str
    ending: str


def owners(head: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """The variables of the tensor's shape whose name `head` ends with, longest first."""
    start = 0
    for _ in range(MAX_SCOPES):
        found = tensors.get(head[start:])
        if found is not None and _alike(found, tensor):
            yield head[start:]
        start = head.find("/", start) + 1
        if not start:
            return


def claim(key: str, tensors: Mapping[str, Tensor]) -> Claim | None:
    """The key as a slot of the longest variable name that fits; None when none does."""
    head, _, ending = key.rpartition("/")
    tensor = tensors[key]
    found = tensors.get(head)
    if found is not None and found.shape == tensor.shape:  # the usual case, made quick
        return Claim(key, head, "", ending)
    owner = next(owners(head, tensor, tensors), "")
    return Claim(key, owner, head[: -len(owner) - 1], ending) if owner else None


def rescope(claims: Sequence[Claim], scope: str, tensors: Mapping[str, Tensor]) -> list[Claim]:
    """The claims read with one scope in front of all; none when that doesn't explain every one of them."""
    read, skipped = [], len(scope) + 1 if scope else 0
    for key, _, _, ending in claims:
        owner = key[skipped : -len(ending) - 1]
        found = tensors.get(owner)
        if not key.startswith(scope) or found is None or not _alike(found, tensors[key]):
            return []
        read.append(Claim(key, owner, scope, ending))
    return [] if has_twins(read) else read


def has_twins(claims: Collection[Claim]) -> bool:
    """True when two claims speak of one slot."""
    return len({(c.owner, c.ending) for c in claims}) < len(claims)


def readings(claims: Sequence[Claim], tensors: Mapping[str, Tensor]) -> list[list[Claim]]:
    """Every way to read the claims without twins: by the longest names, if that is one, then by one scope for all."""
    scopes = {c.scope for c in claims}  # within one scope, keys that differ are slots that differ
    found = [list(claims)] if len(scopes) == 1 or not has_twins(claims) else []
    first = claims[0]
    head = first.key[: -len(first.ending) - 1]
    for owner in owners(head, tensors[first.key], tensors):
        scope = head[: -len(owner) - 1]
        read = rescope(claims, scope, tensors) if {scope} != scopes else []
        if read and read not in found:
            found.append(read)
    return found


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape or a.is_open or b.is_open
