"""Writing name-based bundles: names are keys, slots stand under the keys that TF1's or Keras' optimizers give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ckptmigrate.formats import bundles
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers import tf1_keys
from ckptmigrate.table import Checkpoint, OptimizerState, Stored

AVERAGES = "ExponentialMovingAverage"


class Tf1Writer:
    """Writes `NAME.index` and its data files."""

    dialects: tuple[str, ...] = ("tf1", "keras-legacy")
    holds_averages = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What can't be held: reserved or doubled keys, slots whose variable isn't known."""
        issues = bundles.key_issues(list(stored_of(checkpoint)))
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

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """Writes the bundle."""
        return bundles.write_bundle(folder, name, list(stored_of(checkpoint)), options)


def stored_of(checkpoint: Checkpoint) -> Iterator[Stored]:
    """Every tensor with its key: variables, then each optimizer's scalars and slots."""
    taken = set(checkpoint.variables)
    for variable in checkpoint.variables.values():
        yield Stored(variable.name, variable.tensor)
    for outer in checkpoint.optimizers:
        for state in _chain(outer):
            keys = tf1_keys(_named(state), taken)
            yield from (Stored(keys.scalars[name], stored.tensor) for name, stored in state.scalars.items())
            yield from (Stored(keys.slots[key], stored.tensor) for key, stored in state.slots.items())
            taken.update(keys.scalars.values(), keys.slots.values())


def _named(state: OptimizerState) -> OptimizerState:
    """Averages under TF1's own name for them, not that of the object which held them."""
    return replace(state, name=AVERAGES) if state.kind == "ema" else state


def _chain(state: OptimizerState) -> Iterator[OptimizerState]:
    """A state and those that it wraps."""
    found: OptimizerState | None = state
    while found is not None:
        yield found
        found = found.wraps
