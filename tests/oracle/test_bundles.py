"""Bundles that we wrote, read by TensorFlow: every key, shape, dtype and bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ckptmigrate import convert
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.framework.child import judge

pytestmark = pytest.mark.oracle
pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def errors(path, to):
    return [issue for issue in judge(str(path), to).issues if issue.severity == "error"]


def test_tf1_output_holds_what_the_source_held(tf1_fixture, write, tensors_of):
    path, said = tf1_fixture
    with open_checkpoint(path) as source:
        written = write(source, "tf1")
    assert tensors_of(written) == said
    assert errors(written, "tf1") == []


def test_tf2_output_holds_what_the_source_held(tf2_fixture, write, tensors_of):
    path, said = tf2_fixture
    with open_checkpoint(path) as source:
        written = write(source, "tf2")
    read = tensors_of(written)
    counter = {"save_counter/.ATTRIBUTES/VARIABLE_VALUE": read["save_counter/.ATTRIBUTES/VARIABLE_VALUE"]}
    assert read == counter | said
    assert errors(written, "tf2") == []


@pytest.mark.parametrize("largest", [64, 200])
def test_output_in_small_shards(largest, write, tensors_of):
    adam = FIXTURES / "tf1" / "adam"
    with open_checkpoint(adam / "model.ckpt-3") as source:
        written = write(source, "tf1", max_shard_bytes=largest)
    assert len(list(written.parent.glob("out.data-*"))) > 1
    assert tensors_of(written) == json.loads((adam / "listing.json").read_text())["tensors"]
    assert errors(written, "tf1") == []


def test_tensors_made_in_memory(write, tensors_of):
    """No extents: nothing to clone, every dtype written by value."""
    folder = FIXTURES / "tf1" / "dtypes21"
    with open_checkpoint(folder / "dtypes") as source:
        loose = {n: replace(v, tensor=replace(v.tensor, extents=())) for n, v in source.variables.items()}
        written = write(replace(source, variables=loose), "tf1")
    assert tensors_of(written) == json.loads((folder / "listing.json").read_text())["tensors"]


def judged(path, to, target):
    """Converts with what the source has; TensorFlow must read whatever was not refused."""
    report = convert(path, target, to=to, hyper={"learning_rate": 0.01}, verify="none")  # judged below, by TensorFlow
    if report.exit_code == 6:
        pytest.skip("refused: " + "; ".join(issue.message for issue in report.issues if issue.severity != "note"))
    assert report.exit_code == 0
    assert errors(target, to) == []


def test_tf1_becomes_tf2(tf1_fixture, tmp_path):
    judged(tf1_fixture[0], "tf2", tmp_path / "ckpt")


def test_tf2_becomes_tf1(tf2_fixture, tmp_path):
    judged(tf2_fixture[0], "tf1", tmp_path / "model.ckpt")
