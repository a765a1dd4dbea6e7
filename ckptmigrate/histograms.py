"""Histograms of what a plan changes: values before and after, of what steps were applied to, or what starts anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptmigrate.mapping.group import Planned
from ckptmigrate.mapping.plan import Plan
from ckptmigrate.table import Tensor

BINS = 40
MAX_TENSORS = 24  # in a report; the largest ones

Array = np.ndarray[Any, Any]


def histograms(plan: Plan) -> list[dict[str, Any]]:
    """Name, steps, range, and counts of both sides, of the largest tensors that aren't as they were.

    Reads one tensor's sources and result at a time.
    """
    changed = [(p, _sources(plan, p)) for p in plan.planned if p.tensor.dtype.is_float and p.tensor.size]
    changed = [(p, sources) for p, sources in changed if sources]
    largest = sorted(changed, key=lambda item: -item[0].tensor.size)[:MAX_TENSORS]
    chosen = {id(p) for p, _ in largest}
    return [found for p, sources in changed if id(p) in chosen and (found := _histogram(p, sources))]


def _sources(plan: Plan, planned: Planned) -> Sequence[Tensor]:
    """What stood where a tensor stands that isn't as it was."""
    if planned.replaces and not planned.slot:
        return [plan.source.variables[planned.replaces].tensor]
    return planned.group.sources if planned.group is not None and planned.group.steps else ()


def _histogram(planned: Planned, sources: Sequence[Tensor]) -> dict[str, Any]:
    before = _finite(np.concatenate([np.ravel(tensor.read()) for tensor in sources]))
    after = _finite(np.ravel(planned.tensor.read()))
    if not before.size or not after.size:
        return {}
    low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
    counts = (np.histogram(values, BINS, (low, high if high > low else low + 1))[0] for values in (before, after))
    name = f"{planned.name}:{planned.slot}" if planned.slot else planned.name
    return {
        "name": name,
        "steps": list(planned.steps) or [planned.detail],
        "range": [low, high],
        **dict(zip(("before", "after"), ([int(n) for n in c] for c in counts), strict=True)),
    }


def _finite(values: Array) -> Array:
    wide = values.astype(np.float64)
    found: Array = wide[np.isfinite(wide)]
    return found
