"""Ports that rename, drop and reshape by a mapping, and real checkpoints as they are: TensorFlow reads the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SHARED = Path(__file__).resolve().parents[3] / "shared"
CORPUS = sorted(SHARED.glob("corpus/*/*.index"))
SAMPLE = SHARED / "od_samples" / "ssd_mobilenet_v2_small"
PAIRS = SHARED / "od_manifests" / "pairs" / "ssd_mobilenet_v2_025_min8.json"

RENAMED = """\
ckptmigrate: 1
title: a test
tables:
  leaf: {kernel: weights, bias: biases}
rename:
  conv/{leaf}: block/{leaf}
  conv/BatchNorm/{x}: block/norm/{x}
rules: []
"""
RESHAPED = """\
ckptmigrate: 1
title: a test
rules:
  - {from: conv/kernel, to: kernel, do: [transpose: [3, 2, 0, 1]]}
  - {from: conv/bias, to: bias}
  - {drop: "conv/BatchNorm/{x}", why: no norm there}
"""


@pytest.fixture
def port(tmp_path):
    """Converts a fixture by a mapping's text and gives both sides as TensorFlow reads them."""

    def run(name, text, **options):
        (tmp_path / "mapping.yaml").write_text(text)
        target = tmp_path / "model.ckpt"
        report = convert(FIXTURES / name, target, to="tf1", mapping=tmp_path / "mapping.yaml", **options)
        assert report.exit_code == 0, report.issues
        return report, tf.train.load_checkpoint(str(FIXTURES / name)), tf.train.load_checkpoint(str(target))

    return run


def test_renaming_moves_no_data(port):
    report, source, target = port("tf1/adam/model.ckpt-3", RENAMED)
    named = {"block/weights": "conv/kernel", "block/biases": "conv/bias", "block/norm/beta": "conv/BatchNorm/beta"}
    for new, old in named.items():
        for suffix in ("", "/Adam", "/Adam_1"):
            np.testing.assert_array_equal(target.get_tensor(new + suffix), source.get_tensor(old + suffix))
    assert len(target.get_variable_to_shape_map()) == len(source.get_variable_to_shape_map())
    assert report.details["bytes_moved"] == 0


def test_slots_are_reshaped_with_their_variable(port):
    _, source, target = port("tf1/rmsprop_centered/model.ckpt", RESHAPED)
    for suffix in ("", "/RMSProp", "/RMSProp_1", "/RMSProp_2"):
        expected = source.get_tensor("conv/kernel" + suffix).transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(target.get_tensor("kernel" + suffix), expected)
        np.testing.assert_array_equal(target.get_tensor("bias" + suffix), source.get_tensor("conv/bias" + suffix))
    assert not any("BatchNorm" in key for key in target.get_variable_to_shape_map())


def test_partitioned_variables_go_by_value(port):
    text = 'ckptmigrate: 1\ntitle: a test\nrename:\n  "{x}/w": "{x}/v"\n  "{x}/u": "{x}/u"\n  b: b\n'
    _, source, target = port("tf1/partitioned/model.ckpt", text)
    np.testing.assert_array_equal(target.get_tensor("p/v"), source.get_tensor("p/w"))
    np.testing.assert_array_equal(target.get_tensor("p/v/Adam_1"), source.get_tensor("p/w/Adam_1"))


@pytest.mark.skipif(not CORPUS, reason="no corpus at ../shared/corpus")
@pytest.mark.parametrize("index", CORPUS, ids=[p.parent.name for p in CORPUS])
def test_real_checkpoints_are_written_again(index, tmp_path, tensors_of):
    prefix = index.with_suffix("")
    kind = "tf2" if index.parent.name.startswith("obj") else "tf1"
    assert convert(prefix, tmp_path / "out", to=kind).exit_code == 0
    written, said = tensors_of(tmp_path / "out"), tensors_of(prefix)
    if kind == "tf2":
        said = {"save_counter/.ATTRIBUTES/VARIABLE_VALUE": written["save_counter/.ATTRIBUTES/VARIABLE_VALUE"]} | said
    assert written == said


@pytest.mark.skipif(not SAMPLE.exists(), reason="no detection sample at ../shared/od_samples")
def test_a_model_of_the_real_api_is_ported(tmp_path):
    template = SAMPLE / "tf2_other_values" / "ckpt-1"
    options = {"mapping": "auto", "template": template, "averages": "drop", "optimizer": "drop"}
    report = convert(SAMPLE / "tf1" / "model.ckpt", tmp_path / "ckpt", to="tf2", **options)
    assert report.exit_code == 0, report.issues
    source = tf.train.load_checkpoint(str(SAMPLE / "tf1" / "model.ckpt"))
    target = tf.train.load_checkpoint(str(tmp_path / "ckpt"))
    pairs = json.loads(PAIRS.read_text())
    assert len(pairs) == 324
    for old, new in pairs.items():
        np.testing.assert_array_equal(target.get_tensor(new["tf2"]), source.get_tensor(old), err_msg=old)
