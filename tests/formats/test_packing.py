"""Which member a tensor becomes, and which role a name suggests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME, FLOAT32, INT64, STRING
from ckptmigrate.formats.packing import MAX_BLOB_BYTES, pack, unholdable
from ckptmigrate.formats.roles import role_of
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable

VALUE = Tensor((2,), FLOAT32)
EMPTY = Tensor.of(np.empty(0, object), STRING)


def names(*variables: tuple[str, str], slots: tuple[tuple[str, str], ...] = (), tensor: Tensor = VALUE) -> list[str]:
    state = OptimizerState(
        "Adam",
        "adam",
        "tf1",
        scalars={"step": Stored("", VALUE)},
        slots={SlotKey(name, "m"): Stored(key, VALUE) for name, key in slots},
    )
    table = {name: Variable(name, tensor, key) for name, key in variables}
    checkpoint = Checkpoint(Path("x"), "tf1", table, (state,) if slots else ())
    return list(pack(checkpoint, lambda dtype: True, reserved=("reserved",)).names)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((("w", "w"),), ["w"]),
        ((("w", "layer/w/.ATTRIBUTES/VARIABLE_VALUE"),), ["layer/w"]),
        ((("t", "t/.ATTRIBUTES/table-keys"),), ["t/.ATTRIBUTES/table-keys"]),
        ((("w", ""),), ["w"]),
        ((("a", "k"), ("b", "k"), ("c", "k")), ["k", "k#2", "k#3"]),
        ((("k", ""), ("b", "k")), ["k#2", "k"]),  # a stored key goes before a name
        ((("a", "k"), ("b", "k"), ("c", "k#2")), ["k", "k#2", "k#2#2"]),
        ((("a", "reserved"),), ["reserved#2"]),
        ((("", ""),), ["_"]),
        ((("a", "b\0c\udcff"),), ["b\\x00c\\udcff"]),
        ((("a", "../../etc/x"),), ["../../etc/x"]),  # a name inside a container, never a path
    ],
)
def test_names(given: tuple[tuple[str, str], ...], expected: list[str]) -> None:
    assert names(*given) == expected


def test_slots_without_a_key_are_spelled_out() -> None:
    assert names(("w", "w"), ("b", "b"), slots=(("w", ""), ("b", "b/Adam"))) == [
        "w",
        "b",
        "Adam/step",
        "Adam/m/w",
        "b/Adam",
    ]


def test_offsets_of_strings_need_a_name_too() -> None:
    assert names(("a", "s.offsets"), ("b", "s"), tensor=EMPTY) == ["s.offsets", "s#2"]


def test_a_name_longer_than_a_zip_archive_can_hold() -> None:
    first, second = names(("a", "é" * 40_000 + "1"), ("b", "é" * 40_000 + "2"))
    assert len(first) < 300
    assert first != second


def test_blobs_that_are_too_large_are_noted_and_left_out() -> None:
    blobs = {"pb": bytes(MAX_BLOB_BYTES), "more": b"1"}
    checkpoint = Checkpoint(Path("x"), "savedmodel", {}, structure=Structure(blobs=blobs))
    (issue,) = unholdable(checkpoint, "npz")
    assert (issue.kind, issue.severity) == ("unholdable", "note")
    assert pack(checkpoint, lambda dtype: True).checkpoint.structure.blobs == {}


@pytest.mark.parametrize("pack_it", [False, True])
def test_variants(variant: Checkpoint, pack_it: bool) -> None:
    if pack_it:
        packed = pack(variant, lambda dtype: True)
        assert list(packed.members) == ["w"]
        assert not packed.checkpoint.optimizers[0].slots
        return
    issues = unholdable(variant, "npz")
    assert [(i.name, i.severity) for i in issues] == [("it", "note"), ("v", "loss"), ("w:m", "loss")]


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "role"),
    [
        ("bn/moving_mean", FLOAT32, (8,), "bn_mean"),
        ("bn/moving_variance:0", FLOAT32, (8,), "bn_variance"),
        ("layer1.0.bn1.running_mean", FLOAT32, (8,), "bn_mean"),
        ("layer1.0.bn1.running_var", FLOAT32, (8,), "bn_variance"),
        ("layer1.0.bn1.num_batches_tracked", INT64, (), "counter"),
        ("global_step", INT64, (), "counter"),
        ("global_step", FLOAT32, (2, 2), "weight"),
        ("seed_generator_state", BY_NAME["uint32"], (2,), "rng"),
        ("vocabulary", STRING, (4,), "other"),
        ("dense/kernel", FLOAT32, (2, 2), "weight"),
    ],
)
def test_roles(name: str, dtype: object, shape: tuple[int, ...], role: str) -> None:
    assert role_of(name, dtype, shape) == role  # type: ignore[arg-type]
