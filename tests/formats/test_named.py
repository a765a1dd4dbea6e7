"""Slots of home-made optimizers, whose endings a mapping names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert, formats
from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.formats.named import with_slots
from ckptmigrate.verification import diff, verify
from ckptmigrate.wire.bundle_writer import BundleWriter

FLOAT, LONG = (BY_NAME[name].tf for name in ("float32", "int64"))
WEIGHTS = {"dense/kernel": (2, 3), "dense/bias": (3,)}
MAPPING = """ckptmigrate: 1
source: {slots: {adam_m: m, adam_v: v}}
rules:
  - {from: "dense/{leaf}", to: "out/{leaf}"}
  - {from: global_step, to: global_step}
optimizers:
  - {step: global_step}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """As BERT's AdamWeightDecayOptimizer stores its slots: https://github.com/google-research/bert/blob/eedf5716/optimization.py#L128"""
    writer = BundleWriter(tmp_path, "model.ckpt")
    names = sorted(f"{name}{end}" for name in WEIGHTS for end in ("", "/adam_m", "/adam_v"))
    for number, name in enumerate(names):
        shape = WEIGHTS["/".join(name.split("/")[:2])]
        writer.add_array(name, FLOAT, np.full(shape, number, np.float32))
    writer.add_array("global_step", LONG, np.array(3, np.int64))
    writer.finish()
    (tmp_path / "own.yaml").write_text(MAPPING, "utf-8")
    return tmp_path / "model.ckpt"


def test_endings_that_are_named_are_slots(source: Path) -> None:
    with formats.open_checkpoint(source) as plain:
        found = with_slots(plain, {"adam_m": "m", "adam_v": "v"})
        assert set(found.variables) == {*WEIGHTS, "global_step"}
        (state,) = found.optimizers
        assert (state.kind, {(k.variable, k.slot): s.key for k, s in state.slots.items()}) == (
            "adam",
            {(name, slot): f"{name}/adam_{slot}" for name in WEIGHTS for slot in "mv"},
        )
        assert sorted(e.key for e in found.rows()) == sorted(e.key for e in plain.rows())
        assert [i for i in found.issues if "own.yaml" in i.hint or "source: {slots" in i.hint] == []
        assert with_slots(plain, {}) is plain


@pytest.mark.parametrize(
    ("to", "name", "ends"), [("npz", "x.npz", "mv"), ("tf2", "x", "mv"), ("tf1", "x", ("adam_m", "adam_v"))]
)
def test_slots_follow_their_variables_through_the_mapping(
    source: Path, tmp_path: Path, to: str, name: str, ends: Sequence[str]
) -> None:
    """A target that goes by names, too, keeps the endings that its program looks for."""
    mapping, target = str(tmp_path / "own.yaml"), tmp_path / "out" / name
    report = convert(source, target, to=to, mapping=mapping)
    assert report.verdict == "verified", report.issues
    with formats.open_checkpoint(target) as written:
        slots = [slot for state in written.optimizers for slot in state.slots.items()]
        values = {(k.variable, k.slot): float(s.tensor.read().flat[0]) for k, s in slots}
    assert values == {
        ("out/bias", ends[0]): 1,
        ("out/bias", ends[1]): 2,
        ("out/kernel", ends[0]): 4,
        ("out/kernel", ends[1]): 5,
    }
    assert verify(source, target, mapping=mapping).verdict == "verified"
    assert diff(source, target, mapping=mapping).verdict == "verified"
    told = [issue for issue in report.issues if "source: {slots" in issue.hint]
    assert bool(told) == (to == "tf1")
