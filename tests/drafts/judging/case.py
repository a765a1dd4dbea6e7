"""A pair of checkpoints whose mapping is known, and what may be known of them when one is drafted."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.batchnorm import initial
from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.operations import resolve
from ckptmigrate.table import Checkpoint, Tensor, Variable

MODES = ("names", "shapes", "fresh", "values")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """One pair.

    Attributes:
        family, name: What it is listed as.
        source, target: Variables without values.
        truth: Target variable -> the move that writes it. What isn't here is in no way the source's.
        modes: What is told of the two sides: the target's names alone; its shapes, too; values, where the target is a
            new model; or the values that were moved.
        untrained: Last parts of names whose variables hold what they started with.
    """

    family: str
    name: str
    source: Checkpoint
    target: Checkpoint
    truth: Mapping[str, Move]
    modes: Sequence[str] = MODES[:2]
    untrained: Sequence[str] = ()

    def seen(self, mode: str) -> tuple[Checkpoint, Checkpoint]:
        """The two sides with what the mode tells of them."""
        if mode == "names":
            return self.source, of(self.target, lambda v: Tensor((), FLOAT32, is_open=True))
        if mode == "shapes":
            return self.source, self.target
        source = of(self.source, lambda v: _valued(v, lambda: self._trained(v, mode)))
        made = begun if mode == "fresh" else lambda v: self._moved(source, v)
        return source, of(self.target, lambda v: _valued(v, lambda: made(v)))

    def _trained(self, variable: Variable, mode: str) -> Array:
        """What a source variable holds; where the target is new, half of what starts with constants has kept them."""
        is_kept = mode == "fresh" and len(variable.name) % 2 == 0 and len(variable.tensor.shape) < 2
        return begun(variable) if is_kept or variable.name.endswith(tuple(self.untrained)) else drawn(variable)

    def _moved(self, source: Checkpoint, variable: Variable) -> Array:
        """What a target variable holds: the moved values, else some of its own."""
        move = self.truth.get(variable.name)
        if move is None:
            return drawn(variable, "target")
        arrays = [source.variables[name].tensor.read() for name in move.sources]
        return outputs(move, arrays)[move.targets.index(variable.name)]


def _valued(variable_: Variable, load: Callable[[], Array]) -> Tensor:
    return Tensor(variable_.tensor.shape, FLOAT32, load)


def checkpoint(variables: Iterable[Variable], format_name: str) -> Checkpoint:
    """A checkpoint of variables alone."""
    return Checkpoint(Path(format_name), format_name, {v.name: v for v in variables})


def variable(name: str, shape: Sequence[int], **aliases: str) -> Variable:
    """A float32 variable without values; its role is told by its name."""
    last = name.rpartition("/")[2].rpartition(".")[2]
    role = {"moving_mean": "bn_mean", "moving_variance": "bn_variance"}.get(last, "weight")
    tensor = Tensor(tuple(shape), FLOAT32)
    return Variable(name, tensor, name, role, aliases={s: (a,) for s, a in aliases.items()})  # type: ignore[arg-type]


def of(checkpoint_: Checkpoint, tensor: Any) -> Checkpoint:
    """A checkpoint with other tensors."""
    return replace(checkpoint_, variables={n: replace(v, tensor=tensor(v)) for n, v in checkpoint_.variables.items()})


def drawn(variable_: Variable, side: str = "source") -> Array:
    """Values as after some training: around what it started with, different for each variable of each side."""
    seed = int.from_bytes(hashlib.sha256(f"{side}: {variable_.name}".encode()).digest()[:8], "little")
    around = 1.0 if initial(variable_.name) == "ones" else 0.0
    return np.random.default_rng(seed).normal(around, 0.1, variable_.tensor.shape).astype(np.float32)


def begun(variable_: Variable) -> Array:
    """Values as in a new model: constants for scales, offsets and statistics, random kernels."""
    if len(variable_.tensor.shape) > 1:
        return drawn(variable_, "new")
    return np.full(variable_.tensor.shape, 1.0 if initial(variable_.name) == "ones" else 0.0, np.float32)


def shuffled(names: Iterable[str]) -> list[str]:
    """Names in an order that tells nothing, always the same."""
    return sorted(names, key=lambda name: zlib.crc32(name.encode()))


def outputs(move: Move, arrays: Sequence[Array]) -> list[Array]:
    """What a move makes of arrays."""
    steps = resolve(
        move.operations,
        [array.shape for array in arrays],
        [FLOAT32] * len(arrays),
        [None] * len(move.targets),
        reverse=move.reverse,
    )
    found = list(arrays)
    for step in steps:
        found = list(step.apply(found))
    return found


def plain(source: str, target: str) -> Move:
    """A move under another name."""
    return Move((source,), (target,))
