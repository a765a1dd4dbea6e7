"""A template's SavedModel with new values: its graph, signatures and assets stay byte for byte, its keys too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ckptmigrate.formats.bundles import tensor_of
from ckptmigrate.formats.savedmodel.naming import prefix_of
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Entry, Stored
from ckptmigrate.wire.bundle import read_bundle

_SHOWN = 20  # names in a message


@dataclass(frozen=True, slots=True)
class Filled:
    """What is to be written, and what is wrong with it."""

    stored: tuple[Stored, ...]
    issues: tuple[Issue, ...]


def fill(checkpoint: Checkpoint, template: Checkpoint) -> Filled:
    """Gives every key of a template's bundle its new value; a key that gets none keeps the template's.

    `tf.saved_model.load` wants every key of the object graph, so that nothing may be left out: metrics, and optimizer
    state that the source lacks.
    """
    bundle = read_bundle(prefix_of(template.path))
    places = {(e.optimizer, e.name, e.slot): e for e in template.rows()}
    copies = {v.key: v.copies for v in template.variables.values()}
    given: dict[str, Stored] = {}
    issues = []
    for entry in checkpoint.rows():
        place = places.get((entry.optimizer, entry.name, entry.slot))
        if place is None:
            issues.append(_homeless(entry))
            continue
        issues += _differing(entry, place)
        for key in (place.key, *copies.get(place.key, ())):
            given[key] = Stored(key, entry.tensor)
    stored = tuple(given.get(key) or Stored(key, tensor_of(bundle, key)) for key in bundle.entries)
    return Filled(stored, (*issues, *_kept(template, given)))


def _homeless(entry: Entry) -> Issue:
    hint = "--optimizer drop leaves all state out, --allow-loss only what the template has no place for"
    message = "the template's SavedModel has no place for it"
    return Issue("unholdable", "loss" if entry.optimizer else "error", entry.label, message, hint)


def _differing(entry: Entry, place: Entry) -> Iterator[Issue]:
    """The template's graph is built for one shape and type."""
    new, old = entry.tensor, place.tensor
    if new.shape != old.shape:
        yield Issue("shape", "error", entry.label, f"shape {list(new.shape)}, the template's is {list(old.shape)}")
    if new.dtype is not old.dtype:
        hint = f"--dtype {old.dtype}" if old.dtype.is_float else ""
        yield Issue("unholdable", "error", entry.label, f"{new.dtype}, the template's graph takes {old.dtype}", hint)


def _kept(template: Checkpoint, given: dict[str, Stored]) -> Iterator[Issue]:
    """Metrics are of no weight; slots that belong to other weights are."""
    kept = [e for e in template.rows() if e.key not in given]
    if kept:
        shown = ", ".join(e.label for e in kept[:_SHOWN]) + (", ..." if len(kept) > _SHOWN else "")
        message = f"{len(kept)} values stay the template's, as none is written for them: {shown}"
        yield Issue("kept", "warning" if any(e.slot for e in kept) else "note", "", message)
