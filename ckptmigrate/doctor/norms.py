"""Batch normalisations: statistics that are missing, were never trained, or can't be."""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.batchnorm import STATISTICS, BatchNorm, batch_norms
from ckptmigrate.doctor.case import Case
from ckptmigrate.issues import Issue

_UNUSED = {"mean": 0.0, "variance": 1.0, "gamma": 1.0, "beta": 0.0}  # what each part is before training


def examine_norms(case: Case) -> Iterator[Issue]:
    """What is wrong with the statistics of batch normalisations, by names and by values."""
    for group in batch_norms(case.checkpoint).values():
        yield from _lacking(group)
        yield from _twins(case, group)
        yield from _untrained(case, group)
        yield from _impossible(case, group)


def _lacking(group: BatchNorm) -> Iterator[Issue]:
    if group.lacks:
        names = " and ".join(f"moving {part}" for part in group.lacks)
        message = f"a batch normalisation without its {names}: predictions use what the layer starts with"
        hint = "save all variables, tf.compat.v1.global_variables() or the whole model, not the trainable ones alone"
        yield Issue("batchnorm", "error", group.layer, message, hint)


def _twins(case: Case, group: BatchNorm) -> Iterator[Issue]:
    for twin in group.twins:
        own = twin.rpartition("_")[0]
        message = f"stands beside {own.rpartition('/')[2]}: the graph was built twice, and one of the two was trained"
        told = [name for name in (own, twin) if (s := case.scan(name)) and (s.is_all(0.0) or s.is_all(1.0))]
        if len(told) == 1:
            trained = twin if told == [own] else own
            message += f"; {told[0].rpartition('/')[2]} never was, so it is {trained.rpartition('/')[2]}"
        hint = f"a mapping with `drop: {own}` and `rename: {{{twin}: {own}}}` takes the trained one"
        yield Issue("batchnorm", "warning", twin, message, hint)


def _is_unused(case: Case, group: BatchNorm, part: str) -> bool:
    found = case.scan(group.parts[part]) if part in group.parts else None
    return found is not None and found.is_all(_UNUSED[part])


def _untrained(case: Case, group: BatchNorm) -> Iterator[Issue]:
    if not all(_is_unused(case, group, part) for part in STATISTICS):
        return
    scales = [part for part in ("gamma", "beta") if part in group.parts]
    if any(not _is_unused(case, group, part) for part in scales):
        message = (
            "its statistics were never updated (mean 0, variance 1), though it was trained: predictions are not "
            "normalised as the training batches were"
        )
        hint = "in TF1 run tf.GraphKeys.UPDATE_OPS with the train op; else run batches in training mode, and save again"
        yield Issue("batchnorm", "error", group.layer, message, hint)
    else:
        message = "its statistics are those it starts with (mean 0, variance 1): not trained, or not restored"
        yield Issue("batchnorm", "warning", group.layer, message, "look whether an older checkpoint has them")


def _impossible(case: Case, group: BatchNorm) -> Iterator[Issue]:
    found = case.scan(group.parts["variance"]) if "variance" in group.parts else None
    if found is None:
        return
    if found.low < 0:
        message = f"a variance below 0 ({found.low:.3g}): its square root is NaN, unless epsilon hides it"
        yield Issue("batchnorm", "error", group.parts["variance"], message, _RERUN)
    elif found.is_all(0.0):
        message = "a variance of 0 everywhere: outputs are divided by the root of epsilon alone"
        yield Issue("batchnorm", "error", group.parts["variance"], message, _RERUN)


_RERUN = "run batches in training mode to make the statistics anew, or take them from an older checkpoint"
