"""The framework checks find what is wrong: a check that can't fail proves nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.formats import open_checkpoint
from ckptmigrate.framework import check, tf1, tf2
from ckptmigrate.objects import ObjectGraph
from ckptmigrate.table import Checkpoint, Tensor

pytestmark = pytest.mark.oracle
pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture
def adam():
    with open_checkpoint(FIXTURES / "tf1" / "adam" / "model.ckpt-3") as checkpoint:
        yield checkpoint


@pytest.fixture
def keras_adam():
    with open_checkpoint(FIXTURES / "tf2" / "keras_adam" / "ckpt-1") as checkpoint:
        yield checkpoint


def with_tensor(checkpoint, name, change):
    """The checkpoint as if we read other values for one variable."""
    variable = checkpoint.variables[name]
    values = change(variable.tensor.read().copy())
    other = replace(variable, tensor=Tensor.of(values, variable.tensor.dtype))
    return replace(checkpoint, variables={**checkpoint.variables, name: other})


def lowest_bit(values):
    flat = values.reshape(-1).view(np.uint32)
    flat[-1] ^= 1
    return values


def test_good_files_have_no_findings(adam, keras_adam):
    assert tf1.check(adam).issues == ()
    assert tf2.check(keras_adam).issues == ()


def test_one_bit_is_found(adam, keras_adam):
    (issue,) = tf1.check(with_tensor(adam, "conv/kernel", lowest_bit)).issues
    assert issue.name == "conv/kernel"
    assert issue.message.startswith("1 of 72 elements differ, the first at 71")
    name = "model/layer_with_weights-0/kernel"
    (issue,) = tf2.check(with_tensor(keras_adam, name, lowest_bit)).issues
    assert issue.name == f"{name}/.ATTRIBUTES/VARIABLE_VALUE"


def test_missing_and_extra_keys_are_found(adam):
    kept = dict(adam.variables)
    moved = kept.pop("conv/bias")
    kept["conv/other"] = replace(moved, name="conv/other", key="conv/other")
    found = {issue.name: issue.message for issue in tf1.check(replace(adam, variables=kept)).issues}
    assert set(found) == {"conv/bias", "conv/other"}
    assert "doesn't see" in found["conv/other"]


def test_an_object_the_file_lacks_is_found(keras_adam):
    """A graph that promises one edge more than the file has: TensorFlow's own assertion fails."""
    graph = keras_adam.structure.objects
    root = graph.nodes[0]
    spare = len(graph.nodes)
    copy = next(n for n in graph.nodes if n.attributes)
    edge = replace(root.children[0], name="more", node=spare)
    nodes = (replace(root, children=(*root.children, edge)), *graph.nodes[1:], copy)
    wrong = replace(keras_adam, structure=replace(keras_adam.structure, objects=ObjectGraph(nodes)))
    with pytest.raises(AssertionError):
        tf2.check(wrong)


def test_a_damaged_file_is_an_issue(tmp_path):
    for part in (FIXTURES / "tf1" / "momentum").iterdir():
        data = bytearray(part.read_bytes())
        if part.suffix == ".index":
            data[10] ^= 1
        (tmp_path / part.name).write_bytes(data)
    (issue,), details = check(Checkpoint(tmp_path / "model.ckpt", "tf1", {}))
    assert "DamagedError" in issue.message
    assert details == {"checked_by": "nothing"}


@pytest.mark.parametrize("name", ["tf1/rmsprop/model.ckpt", "tf2/gan/ckpt-1", "tf2/stateful/ckpt-1"])
def test_the_child_answers(name):
    with open_checkpoint(FIXTURES / name) as checkpoint:
        issues, details = check(checkpoint)
    assert [issue for issue in issues if issue.severity == "error"] == []
    assert details["checked_by"].startswith("tensorflow ")
    assert details["restored"] > 3
