"""Writing name-based bundles: names are keys, slots stand under the keys that TF1's or Keras' optimizers give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ckptmigrate.formats import bundles
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers import tf1_keys
from ckptmigrate.table import Checkpoint, Entry, OptimizerState, Stored

AVERAGES = "ExponentialMovingAverage"


class Tf1Writer:
    """Writes `NAME.index` and its data files."""

    dialects: tuple[str, ...] = ("tf1", "keras-legacy")
    holds_averages = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What can't be held: reserved or doubled keys, slots whose variable isn't known."""
        issues = bundles.key_issues(_stored(checkpoint))
        for state in checkpoint.optimizers:
            issues += [
                Issue("slot", "loss", loose.key, f"{state.name}: the file doesn't tell whose slot this is")
                for inner in _chain(state)
                for loose in inner.unbound
            ]
        return tuple(issues)

    def outputs(self, name: str) -> tuple[str, ...]:
        """Glob patterns of the files."""
        return bundles.outputs(name)

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """Two Adams' beta powers, say, are told apart by nothing but the order of their numbers."""
        return {(e.optimizer, e.name, e.slot): e.key for e in entries_of(checkpoint)}

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """Writes the bundle."""
        return bundles.write_bundle(folder, name, _stored(checkpoint), options)


def entries_of(checkpoint: Checkpoint) -> Iterator[Entry]:
    """Every tensor with the key it gets: variables, then each optimizer's scalars and slots."""
    taken = set(checkpoint.variables)
    for variable in checkpoint.variables.values():
        yield Entry(variable.name, "", "", variable.name, variable.tensor)
    for outer in checkpoint.optimizers:
        for state in _chain(outer):
            keys = tf1_keys(_named(state), taken)
            for name, stored in state.scalars.items():
                yield Entry(name, "", state.name, keys.scalars[name], stored.tensor)
            for key, stored in state.slots.items():
                yield Entry(key.variable, key.slot, state.name, keys.slots[key], stored.tensor)
            taken.update(keys.scalars.values(), keys.slots.values())


def _stored(checkpoint: Checkpoint) -> list[Stored]:
    """What is written; slots of partitioned variables under the keys of all parts, as they were."""
    states = [state for outer in checkpoint.optimizers for state in _chain(outer)]
    parts = {s.key: s.copies for state in states if state.dialect == "tf1" for s in state.slots.values() if s.copies}
    return [Stored(entry.key, entry.tensor, parts.get(entry.key, ())) for entry in entries_of(checkpoint)]


def _named(state: OptimizerState) -> OptimizerState:
    """Averages under TF1's own name for them, not that of the object which held them."""
    return replace(state, name=AVERAGES) if state.kind == "ema" else state


def _chain(state: OptimizerState) -> Iterator[OptimizerState]:
    """A state and those that it wraps."""
    found: OptimizerState | None = state
    while found is not None:
        yield found
        found = found.wraps


WRITER = Tf1Writer()
