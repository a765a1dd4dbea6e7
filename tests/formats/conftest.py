"""Checkpoints that containers of named arrays are tried with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME, DTYPES, STRING, DType, from_numpy
from ckptmigrate.objects import Attribute, Edge, Node, ObjectGraph
from ckptmigrate.table import Checkpoint, Layer, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable

Same = Callable[[Checkpoint, Checkpoint], None]


def holding(values: Any, dtype: str = "") -> Tensor:
    array = np.asarray(values)
    found = BY_NAME[dtype] if dtype else from_numpy(array.dtype)
    assert found is not None
    return Tensor.of(array if found is STRING else array.astype(found.numpy), found)


def strings(*values: bytes, shape: tuple[int, ...] | None = None) -> Tensor:
    array = np.empty(len(values), object)
    array[:] = values
    return Tensor.of(array.reshape((len(values),) if shape is None else shape), STRING)


def checkpoint(*variables: Variable, **rest: Any) -> Checkpoint:
    return Checkpoint(Path("origin"), "tf2", {v.name: v for v in variables}, **rest)


@pytest.fixture
def rich() -> Checkpoint:
    """Every part of a Checkpoint: all element types, strings, two optimizers, averages, wrappers, structure."""
    numbers = np.array([[0, 1, 2], [3, 1, 0]])
    typed = [
        Variable(f"t_{d}", Tensor.of(numbers.astype(d.numpy), d), f"t_{d}/.ATTRIBUTES/VARIABLE_VALUE")
        for d in DTYPES
        if d.is_raw
    ]
    words = strings(b"a", b"", b"b\0\0", "\u2603".encode(), b"\xff\0", b"c", shape=(2, 3))
    more = [
        Variable("words", words, "words"),
        Variable("none", strings(), "none"),
        Variable("word", strings(b"one\0", shape=()), "word"),
        Variable("scalar", holding(np.float64(0.5)), "scalar", "counter", False, {"full_name": ("s",)}, ("copy",)),
        Variable("empty", holding(np.zeros((0, 3), np.float32)), "empty"),
        Variable("odd\udc80\0/../x", holding(np.arange(3, dtype=np.float32)), "odd\udc80\0/../x"),
    ]
    inner = OptimizerState(
        "adam",
        "adam",
        "keras-legacy",
        step=3,
        hyper={"learning_rate": 0.1},
        scalars={"iter": Stored("adam/iter/.ATTRIBUTES/VARIABLE_VALUE", holding(np.int64(3)))},
        slots={SlotKey("scalar", slot): Stored("", holding(np.float64(i))) for i, slot in enumerate("mv")},
        order=(SlotKey("scalar", "m"),),
    )
    optimizers = (
        OptimizerState("scaled", "unknown", "keras2", unbound=(Stored("u/0", holding([1, 2])),), wraps=inner),
        OptimizerState(
            "ema", "ema", "tf1", slots={SlotKey("scalar", "average"): Stored("s/EMA", holding(np.float64(9)))}
        ),
    )
    graph = ObjectGraph((Node((Edge("a", 1),)), Node((), (Attribute("VARIABLE_VALUE", "s", "scalar"),))))
    return checkpoint(
        *typed,
        *more,
        optimizers=optimizers,
        structure=Structure(graph, (Layer("l", "Dense", (("k", "scalar"),)),), {"config": b"\0{}"}),
        metadata={"version": "1"},
    )


@pytest.fixture
def variant() -> Checkpoint:
    """What no container of arrays holds: as an iterator's state, as a weight, and as a slot."""
    opaque = Tensor((), BY_NAME["variant"], lambda: np.zeros(4, np.uint8))
    slots = {SlotKey("w", "m"): Stored("w/m", opaque)}
    return checkpoint(
        Variable("w", holding([1.0]), "w"),
        Variable("it", opaque, "it", "iterator"),
        Variable("v", opaque, "v"),
        optimizers=(OptimizerState("o", "unknown", "tf1", slots=slots),),
    )


@pytest.fixture
def same() -> Same:
    """Compares two checkpoints: everything but where they lie, and every tensor's bytes."""

    def compare(got: Checkpoint, expected: Checkpoint) -> None:
        assert list(got.variables) == list(expected.variables)
        for a, b in zip(got.rows(), expected.rows(), strict=True):
            assert (a.name, a.slot, a.optimizer, a.tensor) == (b.name, b.slot, b.optimizer, b.tensor)
            assert a.key == b.key or not b.key
            same_values(a.tensor, b.tensor.read(), b.tensor.dtype)
        assert [(s.step, s.hyper, s.order, s.parent) for s in got.optimizers] == [
            (s.step, s.hyper, s.order, s.parent) for s in expected.optimizers
        ]
        assert got.structure == expected.structure
        assert got.metadata == expected.metadata
        assert got.issues == ()

    return compare


def same_values(tensor: Tensor, expected: np.ndarray[Any, Any], dtype: DType) -> None:
    values = tensor.read()
    assert values.dtype == dtype.numpy
    assert values.shape == expected.shape
    assert not values.flags.writeable
    if dtype is STRING:
        assert values.tolist() == expected.tolist()
    else:
        assert values.tobytes() == expected.tobytes()
