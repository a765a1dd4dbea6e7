"""Which variable a name-based slot belongs to: `<scope>/<variable>/<ending>`, by the longest variable name that fits.

TF1's slot creator puts a slot under its variable's name, inside the variable scope that `minimize` ran in; a scope may
stand in front (`training/conv/w/Adam`), the variable's own scope twice (`model/model/w/Adam`).

Canned Estimators train partitioned variables, of one part unless asked, in a variable scope. There the slot creator
(tensorflow/python/training/slot_creator.py, `_create_slot_var`) cuts as many letters off the slot's own name as the
part's name has, and the slot's is longer by the scope: the end of the part's name stays, in `linear/w/part_0/Ftrl`,
`dnn/w/t_0/Adagrad`.
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


def is_part(head: str, owner: str, number: int) -> bool:
    """Whether a slot's key can have `head` before its ending, where its variable is that part of `owner`.

    >>> is_part("dnn/w/t_1", "dnn/w", 1), is_part("dnn/w/part_1", "dnn/w", 0), is_part("dnn/w/x_1", "dnn/w", 1)
    (True, False, False)
    """
    tail = head[len(owner) + 1 :]
    return bool(tail) and head.startswith(f"{owner}/") and f"{owner}/part_{number}".endswith(tail)


def enclosing(head: str) -> Iterator[str]:
    """The names that `head` starts with, the longest first, where it ends with a number as those of parts do."""
    end = head.rfind("/") if head[-1:].isdigit() else -1
    for _ in range(MAX_SCOPES):
        if end <= 0:
            return
        yield head[:end]
        end = head.rfind("/", 0, end)


def without_part(head: str, owner: str) -> str:
    """What a slot's key has before its ending, up to the end of its variable's name.

    >>> without_part("dnn/logits/bias/t_0", "logits/bias"), without_part("part_0/w", "w")
    ('dnn/logits/bias', 'part_0/w')
    """
    whole = (name for name in enclosing(head) if name == owner or name.endswith(f"/{owner}"))
    return next((name for name in whole if is_part(head, name, 0)), head)


def _head(key: str, tensors: Mapping[str, Tensor]) -> str:
    """What stands before the ending; a part's name is left out where there is but one, and no such variable."""
    head, _, ending = key.rpartition("/")
    if head[-1:] != "0" or head in tensors or f"{head[:-1]}1/{ending}" in tensors:
        return head
    tensor = tensors[key]
    parted = (name for name in enclosing(head) if is_part(head, name, 0))
    return next((name for name in parted if next(owners(name, tensor, tensors), "")), head)


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
    head, ending = _head(key, tensors), key[key.rfind("/") + 1 :]
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
        owner = _head(key, tensors)[skipped:]
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
    head = _head(first.key, tensors)
    for owner in owners(head, tensors[first.key], tensors):
        scope = head[: -len(owner) - 1]
        read = rescope(claims, scope, tensors) if {scope} != scopes else []
        if read and read not in found:
            found.append(read)
    return found


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape or a.is_open or b.is_open
