"""Slots of partitioned variables that stand under a key for each part, though each key declares the whole shape.

TF1 names them so where `minimize` ran in a variable scope, as in its canned Estimators (optimizers/owners.py says how).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ckptmigrate.optimizers.owners import enclosing, is_part
from ckptmigrate.wire.bundle_messages import BundleEntry

_NUMBER = re.compile(r"[0-9]{1,6}\Z", re.ASCII)


def part_keys(entries: Mapping[str, BundleEntry]) -> dict[str, tuple[str, ...]]:
    """The keys that together are one tensor, by the first of them: those of all parts, in order.

    Each holds the slice that the variable's own entry lists for that part; or all share the bytes of the whole.
    """
    found: dict[tuple[str, str], dict[int, str]] = {}
    for key, entry in entries.items():
        head, _, ending = key.rpartition("/")
        for owner in enclosing(head):
            whole = entries.get(owner)
            number = _part_of(head, entry, owner, whole) if whole is not None else None
            if number is not None:
                found.setdefault((owner, ending), {})[number] = key
    groups = (
        tuple(keys[n] for n in sorted(keys)) for (owner, _), keys in found.items() if _is_all(keys, entries, owner)
    )
    return {group[0]: group for group in groups}


def _part_of(head: str, entry: BundleEntry, owner: str, whole: BundleEntry) -> int | None:
    """Which part of its variable the entry is a slot of: by its slice; by its number where it shares its bytes."""
    if (entry.shape, entry.dtype) != (whole.shape, whole.dtype):
        return None
    told = _NUMBER.search(head)
    parts = sorted(whole.slices)  # stored in the order of names: part_10 before part_2
    number = next((n for n, part in enumerate(parts) if entry.slices == (part,)), int(told[0]) if told else -1)
    return number if is_part(head, owner, number) else None


def _is_all(keys: Mapping[int, str], entries: Mapping[str, BundleEntry], owner: str) -> bool:
    held = [entries[key] for key in keys.values()]
    if len(held) < 2 or sorted(keys) != list(range(len(held))):
        return False
    if all(entry.slices for entry in held):
        return [entries[keys[n]].slices for n in sorted(keys)] == [(part,) for part in sorted(entries[owner].slices)]
    return len({entry[2:] for entry in held}) == 1
