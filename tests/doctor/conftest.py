"""Checkpoints that something is wrong with: a healthy one, and edits of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import formats
from ckptmigrate.doctor import Diagnosis, diagnose
from ckptmigrate.dtypes import from_numpy
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.table import Checkpoint, Tensor, Variable

Arrays = dict[str, np.ndarray[Any, Any]]
Found = tuple[str, str, str, str]  # kind, severity, name, the beginning of the message


def healthy() -> Arrays:
    """A net as TF1 trains it: a convolution with batch normalisation, logits, Adam."""
    random = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray[Any, Any]:
        return random.standard_normal(shape).astype(np.float32)

    weights = {
        "net/conv/weights": values(3, 3, 2, 4),
        "net/conv/BatchNorm/gamma": 1 + values(4) / 10,
        "net/conv/BatchNorm/beta": values(4),
        "net/logits/weights": values(4, 91),
        "net/logits/biases": values(91),
    }
    slots = {
        f"{name}/{slot}": np.abs(values(*array.shape)) / 100
        for name, array in weights.items()
        for slot in ("Adam", "Adam_1")
    }
    statistics = {
        "net/conv/BatchNorm/moving_mean": values(4),
        "net/conv/BatchNorm/moving_variance": np.abs(values(4)) + 1,
    }
    powers = {"beta1_power": np.float32(0.9) ** 4, "beta2_power": np.float32(0.999) ** 4}
    scalars = {name: np.array(value, np.float32) for name, value in powers.items()}
    return {**weights, **statistics, **slots, **scalars, "global_step": np.array(3, np.int64)}


def holding(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Checkpoint:
    variables = {}
    for name, array in arrays.items():
        dtype = from_numpy(array.dtype)
        assert dtype is not None
        variables[name] = Variable(name, Tensor.of(array, dtype), name)
    return Checkpoint(Path(), "tf1", variables)


def save(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], to: str = "tf1") -> Path:
    """Writes a bundle; gives its prefix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = formats.by_name(to).writer
    assert writer is not None
    writer.write(holding(arrays), path.parent, path.name, WriteOptions())
    return path


def summary(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    return [(issue.kind, issue.severity, issue.name) for issue in diagnosis.findings]


@pytest.fixture(name="healthy")
def _healthy() -> Arrays:
    return healthy()


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., Diagnosis]:
    """What is found in arrays saved as a checkpoint: examined(arrays, against=other arrays)."""

    def examine(arrays: Arrays, *, against: Arrays | None = None, to: str = "tf1", **options: Any) -> Diagnosis:
        other = save(tmp_path / "other" / "model.ckpt", against, to) if against is not None else None
        return diagnose(save(tmp_path / "own" / "model.ckpt", arrays, to), against=other, **options)

    return examine
