"""BERT, ALBERT and GPT-2: the names and shapes that transformers has, and all bytes back. oracle/ runs its models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import ckptmigrate

ROOT = Path(__file__).resolve().parent
FIXTURES = ROOT.parent / "fixtures" / "tf1"
NAMES = json.loads((ROOT / "mapping" / "transformers_names.json").read_text("utf-8"))

CASES = {
    "bert_pretraining": ("text/bert", "BertForPreTraining"),
    "bert_classifier": ("text/bert", "BertForSequenceClassification"),
    "albert_pretraining": ("text/albert", "AlbertForPreTraining"),
    "gpt2": ("text/gpt2", "GPT2LMHeadModel"),
}


@pytest.mark.parametrize("fixture", CASES)
def test_the_names_and_shapes_of_transformers(fixture: str, tmp_path: Path) -> None:
    mapping, model = CASES[fixture]
    out = tmp_path / "model.safetensors"
    report = ckptmigrate.convert(str(FIXTURES / fixture), str(out), to="safetensors", mapping="auto", optimizer="drop")
    assert any(issue.kind == "mapping" and issue.name == mapping for issue in report.issues)
    with ckptmigrate.open(str(out)) as made:
        assert made.metadata["safetensors"]["format"] == "pt"
        shapes = {name: list(v.tensor.shape) for name, v in made.variables.items() if name != "global_step"}
    assert shapes == NAMES[model]


@pytest.mark.parametrize("fixture", [*CASES, "bert_squad"])
def test_there_and_back_with_the_optimizer(fixture: str, tmp_path: Path) -> None:
    """Every tensor that TensorFlow found in the fixture, slots and step among them, has its bytes again."""
    mapping = CASES.get(fixture, ("text/bert", ""))[0]
    there, back = tmp_path / "model.safetensors", tmp_path / "back" / "model.ckpt"
    ckptmigrate.convert(str(FIXTURES / fixture), str(there), to="safetensors", mapping=mapping)
    ckptmigrate.convert(str(there), str(back), to="tf1", mapping=mapping, reverse=True)
    expected = json.loads((FIXTURES / fixture / "listing.json").read_text("utf-8"))["tensors"]
    with ckptmigrate.open(str(back)) as restored:
        found = {entry.key: entry.tensor.read() for entry in restored.rows()}
    assert {key: digest(value) for key, value in found.items()} == {key: t["sha256"] for key, t in expected.items()}


def digest(value: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
