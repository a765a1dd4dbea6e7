"""Batch normalisations: statistics that are missing, were never trained, or can't be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckptmigrate.batchnorm import STATISTICS, BatchNorm, batch_norms
from ckptmigrate.doctor.case import Case
from ckptmigrate.doctor.scan import Scan, scan
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint

Scans = Mapping[str, Scan]

_UNUSED = {"mean": 0.0, "variance": 1.0, "gamma": 1.0, "beta": 0.0}  # what each part is before training


def examine_norms(case: Case) -> Iterator[Issue]:
    """What is wrong with the statistics of batch normalisations, by names and by values."""
    yield from norm_findings(case.checkpoint, case.scans)


def norm_findings(checkpoint: Checkpoint, scans: Scans | None = None) -> Iterator[Issue]:
    """As `examine_norms`, for whoever has looked at no values yet: those of batch normalisations are then read here.

    Raises:
        CkptMigrateError: Their values can't be read.
    """
    for group in batch_norms(checkpoint).values():
        names = (*group.parts.values(), *group.twins)
        if scans is None:
            found = {name: scan(checkpoint.variables[name].tensor) for name in names}
        else:
            found = {name: scans.get(checkpoint.variables[name].key) for name in names}
        held = _Held(group, found)
        yield from _lacking(group)
        yield from _twins(held)
        yield from _untrained(held)
        yield from _impossible(held)


class _Held(NamedTuple):
    """A batch normalisation with what its values are like, by name."""

    group: BatchNorm
    scans: Mapping[str, Scan | None]

    def of(self, part: str) -> Scan | None:
        return self.scans.get(self.group.parts.get(part, ""))

    def is_unused(self, part: str) -> bool:
        found = self.of(part)
        return found is not None and found.is_all(_UNUSED[part])


def _lacking(group: BatchNorm) -> Iterator[Issue]:
    if group.lacks:
        names = " and ".join(f"moving {part}" for part in group.lacks)
        message = f"a batch normalisation without its {names}: predictions use what the layer starts with"
        hint = "save all variables, tf.compat.v1.global_variables() or the whole model, not the trainable ones alone"
        yield Issue("batchnorm", "error", group.layer, message, hint)


def _twins(held: _Held) -> Iterator[Issue]:
    for twin in held.group.twins:
        own = twin.rpartition("_")[0]
        message = f"stands beside {own.rpartition('/')[2]}: the graph was built twice, and one of the two was trained"
        unused = [name for name in (own, twin) if (s := held.scans.get(name)) and (s.is_all(0.0) or s.is_all(1.0))]
        hint = "inspect --stats shows both; a mapping with `drop` leaves out the one that was not trained"
        if len(unused) == 1:
            trained = twin if unused == [own] else own
            message += f"; {unused[0].rpartition('/')[2]} never was, so it is {trained.rpartition('/')[2]}"
            hint = _taking(own, trained, unused[0])
        yield Issue("batchnorm", "warning", twin, message, hint)


def _taking(own: str, trained: str, unused: str) -> str:
    """A mapping that takes the trained twin, under the name without a number."""
    lines = ["ckptmigrate: 1", "unmatched: keep", f"rules: [{{drop: {unused}, why: never trained}}]"]
    if trained != own:
        lines.append(f"rename: {{{trained}: {own}}}")
    return "\n".join(["a mapping takes the trained one:", *lines])


def _untrained(held: _Held) -> Iterator[Issue]:
    group = held.group
    if not all(map(held.is_unused, STATISTICS)):
        return
    if any(part in group.parts and not held.is_unused(part) for part in ("gamma", "beta")):
        message = (
            "its statistics were never updated (mean 0, variance 1), though it was trained: predictions are not "
            "normalised as the training batches were"
        )
        hint = "in TF1 run tf.GraphKeys.UPDATE_OPS with the train op; else run batches in training mode, and save again"
        yield Issue("batchnorm", "error", group.layer, message, hint)
    else:
        message = "its statistics are those it starts with (mean 0, variance 1): not trained, or not restored"
        yield Issue("batchnorm", "warning", group.layer, message, "look whether an older checkpoint has them")


def _impossible(held: _Held) -> Iterator[Issue]:
    found, group = held.of("variance"), held.group
    if found is None:
        return
    if found.low < 0:
        message = f"a variance below 0 ({found.low:.3g}): its square root is NaN, unless epsilon hides it"
        yield Issue("batchnorm", "error", group.parts["variance"], message, _RERUN)
    elif found.is_all(0.0):
        message = "a variance of 0 everywhere: outputs are divided by the root of epsilon alone"
        yield Issue("batchnorm", "error", group.parts["variance"], message, _RERUN)


_RERUN = "run batches in training mode to make the statistics anew, or take them from an older checkpoint"
