"""Histograms of what a plan changes: values before and after, of the tensors that steps were applied to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptmigrate.mapping.group import Planned

BINS = 40
MAX_TENSORS = 24  # in a report; the largest ones

Array = np.ndarray[Any, Any]


def histograms(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """Name, steps, range, and counts of both sides, of the largest tensors that steps changed.

    Reads one tensor's sources and result at a time.
    """
    changed = [
        p for p in planned if p.group is not None and p.group.steps and p.tensor.dtype.is_float and p.tensor.size
    ]
    largest = sorted(changed, key=lambda p: -p.tensor.size)[:MAX_TENSORS]
    chosen = {id(p) for p in largest}
    return [found for p in changed if id(p) in chosen and (found := _histogram(p))]


def _histogram(planned: Planned) -> dict[str, Any]:
    assert planned.group is not None
    before = _finite(np.concatenate([np.ravel(tensor.read()) for tensor in planned.group.sources]))
    after = _finite(np.ravel(planned.tensor.read()))
    if not before.size or not after.size:
        return {}
    low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
    counts = (np.histogram(values, BINS, (low, high if high > low else low + 1))[0] for values in (before, after))
    name = f"{planned.name}:{planned.slot}" if planned.slot else planned.name
    return {
        "name": name,
        "steps": [step.text for step in planned.group.steps],
        "range": [low, high],
        **dict(zip(("before", "after"), ([int(n) for n in c] for c in counts), strict=True)),
    }


def _finite(values: Array) -> Array:
    wide = values.astype(np.float64)
    found: Array = wide[np.isfinite(wide)]
    return found
