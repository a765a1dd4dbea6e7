"""The document of `inspect` and the statistics of values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import dtypes
from ckptmigrate.errors import DamagedError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.issues import Issue
from ckptmigrate.listing import inspect_json, selected, statistics, value
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Tensor, Variable


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (np.float32(0.729), "float32", 0.729),
        (np.float64(0.1), "float64", 0.1),
        (np.float32(math.nan), "float32", "nan"),
        (np.int64(3), "int64", 3),
        (np.bool_(True), "bool", True),
        (np.zeros(3, np.float32), "float32", None),
    ],
)
def test_values_of_scalars(array: np.ndarray, dtype: str, expected: object) -> None:
    assert value(Tensor.of(np.asarray(array), dtypes.BY_NAME[dtype])) == expected


def test_value_of_a_string() -> None:
    assert value(Tensor.of(np.array(b"a\xff", dtype=object), dtypes.STRING)) == "a\\xff"


def test_statistics_agree_with_numpy_over_several_chunks() -> None:
    values = np.random.default_rng(7).normal(1000, 1e-2, 2_500_000)
    values[[0, 5, 9]] = math.nan, math.inf, 0
    finite = values[np.isfinite(values)]
    found = statistics(Tensor.of(values, dtypes.BY_NAME["float64"]))
    assert (found["nan"], found["inf"], found["zeros"], found["elements"]) == (1, 1, 1, 2_500_000)
    assert found["mean"] == pytest.approx(finite.mean(), rel=1e-12)
    assert found["std"] == pytest.approx(finite.std(), rel=1e-9)
    assert (found["min"], found["max"]) == (finite.min(), finite.max())


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4", "bool", "complex64", "uint64"])
def test_statistics_of_every_kind_of_number(name: str) -> None:
    dtype = dtypes.BY_NAME[name]
    found = statistics(Tensor.of(np.array([0, 1, 1]).astype(dtype.numpy), dtype))
    assert (found["min"], found["max"], found["zeros"]) == (0, 1, 1)


def test_statistics_of_nothing() -> None:
    assert statistics(Tensor.of(np.zeros((0, 3), np.float32), dtypes.FLOAT32)) == {
        "elements": 0, "zeros": 0, "nan": 0, "inf": 0,
    }  # fmt: skip


def example() -> Checkpoint:
    """A weight with its Adam slot; reading the weight fails."""

    def fail() -> np.ndarray:
        raise DamagedError("read although nobody asked")

    weight = Variable("conv/kernel", Tensor((3, 3, 3, 16), dtypes.FLOAT32, fail), "conv/kernel", trainable=True)
    step = Variable("global_step", Tensor.of(np.array(3), dtypes.INT64), "global_step", role="counter")
    power = Stored("beta1_power", Tensor.of(np.array(0.729, np.float32), dtypes.FLOAT32))
    slot = Stored("conv/kernel/Adam", Tensor((3, 3, 3, 16), dtypes.FLOAT32, fail))
    adam = OptimizerState(
        "Adam", "adam", "tf1", 3, {"learning_rate": 0.001}, {"beta1_power": power}, {SlotKey("conv/kernel", "m"): slot}
    )
    issues = (Issue("duplicate", "warning", "conv/kernel", "stands twice"),)
    variables = {v.name: v for v in (weight, step)}
    return Checkpoint(Path("model.ckpt"), "tf1", variables, (adam,), files=(Path("model.ckpt.index"),), issues=issues)


def test_the_document_is_the_one_that_scripts_rely_on() -> None:
    document = inspect_json(example())
    assert json.loads(json.dumps(document, allow_nan=False)) == {
        "path": "model.ckpt",
        "format": "tf1",
        "files": ["model.ckpt.index"],
        "metadata": {},
        "variables": [
            {
                "name": "conv/kernel", "key": "conv/kernel", "dtype": "float32", "shape": [3, 3, 3, 16], "nbytes": 1728,
                "role": "weight", "trainable": True, "aliases": {}, "copies": [],
            },
            {
                "name": "global_step", "key": "global_step", "dtype": "int64", "shape": [], "nbytes": 8,
                "role": "counter", "trainable": None, "aliases": {}, "copies": [], "value": 3,
            },
        ],
        "optimizers": [
            {
                "name": "Adam", "kind": "adam", "dialect": "tf1", "step": 3, "hyper": {"learning_rate": 0.001},
                "scalars": [
                    {"name": "beta1_power", "key": "beta1_power", "dtype": "float32", "shape": [], "value": 0.729}
                ],
                "slots": [
                    {
                        "variable": "conv/kernel", "slot": "m", "key": "conv/kernel/Adam", "dtype": "float32",
                        "shape": [3, 3, 3, 16],
                    }
                ],
            }
        ],
        "batch_norms": [],
        "issues": [
            {"kind": "duplicate", "severity": "warning", "name": "conv/kernel", "message": "stands twice", "hint": "",
             "where": ""}
        ],
    }  # fmt: skip


def test_a_filter_takes_the_slots_along() -> None:
    document = inspect_json(selected(example(), lambda variable: variable.role == "counter"))
    assert [v["name"] for v in document["variables"]] == ["global_step"]
    assert document["optimizers"][0]["slots"] == []


def test_statistics_read_and_nothing_else_does() -> None:
    inspect_json(example())
    with pytest.raises(DamagedError):
        inspect_json(example(), stats=True)


def test_every_stored_key_stands_in_the_document() -> None:
    """A canned Estimator's slots stand under a key for each part of their variable."""
    path = Path(__file__).resolve().parents[1] / "fixtures" / "tf1" / "estimator_linear_parts"
    with open_checkpoint(path) as checkpoint:
        document = inspect_json(checkpoint)
    slots = [slot for state in document["optimizers"] for slot in (*state["scalars"], *state["slots"])]
    keys = [key for held in (*document["variables"], *slots) for key in (held["key"], *held.get("copies", ()))]
    assert sorted(keys) == sorted(json.loads((path / "listing.json").read_text())["tensors"])
