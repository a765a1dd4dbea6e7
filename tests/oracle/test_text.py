"""BERT, ALBERT and GPT-2 of their TensorFlow 1 programs in transformers' PyTorch models: the same outputs, and back.

What the programs put out lies beside their checkpoints (fixtures/make/text.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, golden

import ckptmigrate

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch", reason="the transformers extra isn't installed")
transformers = pytest.importorskip("transformers", reason="the transformers extra isn't installed")

NAMES = Path(__file__).resolve().parents[1] / "mapping" / "transformers_names.json"
ATOL = 1e-5  # outputs are up to 4.2; measured: 2e-6

SIZES = {
    "vocab_size": 50, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 40, "type_vocab_size": 2,
    "max_position_embeddings": 20, "hidden_act": "gelu_new",
}  # fmt: skip
BERT = SIZES | {"num_hidden_layers": 2}
ALBERT = SIZES | {"num_hidden_layers": 4, "num_hidden_groups": 2, "embedding_size": 8}
GPT2 = {"vocab_size": 50, "n_positions": 20, "n_embd": 16, "n_layer": 2, "n_head": 4}


@dataclass(frozen=True)
class Case:
    """A checkpoint in one of transformers' classes: the program's outputs by the names they have there.

    `whole`: the class has a place for every weight. `mapping`: the one that reads what the class saves.
    """

    fixture: str
    model: str
    mapping: str
    settings: dict[str, Any]
    outputs: dict[str, str] = field(default_factory=dict)
    whole: bool = True

    def __str__(self) -> str:
        return self.model


ENCODED = {"sequence": "last_hidden_state", "pooled": "pooler_output"}
CASES = (
    Case("bert_pretraining", "BertForPreTraining", "text/bert", BERT,
         {"words": "prediction_logits", "next_sentence": "seq_relationship_logits"}),
    Case("bert_pretraining", "BertForMaskedLM", "text/bert", BERT, {"words": "logits"}, whole=False),
    Case("bert_pretraining", "BertModel", "text/bert_model", BERT, ENCODED, whole=False),
    Case("bert_classifier", "BertForSequenceClassification", "text/bert", BERT | {"num_labels": 3},
         {"logits": "logits"}),
    Case("bert_squad", "BertForQuestionAnswering", "text/bert", BERT,
         {"logits": "start_logits end_logits"}, whole=False),
    Case("albert_pretraining", "AlbertForPreTraining", "text/albert", ALBERT,
         {"words": "prediction_logits", "sentence_order": "sop_logits"}),
    Case("albert_pretraining", "AlbertModel", "text/albert_model", ALBERT, ENCODED, whole=False),
    Case("gpt2", "GPT2LMHeadModel", "text/gpt2", GPT2, {"logits": "logits"}),
    Case("gpt2", "GPT2Model", "text/gpt2_model", GPT2),
)  # fmt: skip
WHOLE = tuple(case for case in CASES if case.whole)

# A rule that leaves out a transpose (for GPT-2: adds one), where no shape tells.
WRONG = {
    "text/bert": "{from: 'bert/encoder/layer_{i:int}/attention/self/key/kernel',"
    " to: 'bert.encoder.layer.{i}.attention.self.key.weight'}",
    "text/albert": "{from: bert/pooler/dense/kernel, to: albert.pooler.weight}",
    "text/gpt2": "{from: 'model/h{i:int}/attn/c_proj/w', to: 'transformer.h.{i}.attn.c_proj.weight',"
    " do: [squeeze: 0, transpose: [1, 0]]}",
}


def convert(case: Case, folder: Path, mapping: str = "auto") -> Path:
    """Converts a fixture, as the documentation says, into a folder that transformers loads."""
    config = getattr(transformers, case.model).config_class(**case.settings)
    config.save_pretrained(folder)
    ckptmigrate.convert(
        str(ROOT / "tf1" / case.fixture), str(folder / "model.safetensors"), to="safetensors", mapping=mapping,
        optimizer="drop", drop=("global_step",) if "pretraining" in case.fixture else (),
    )  # fmt: skip
    return folder


def load(case: Case, folder: Path) -> tuple[Any, dict[str, Any]]:
    model, told = getattr(transformers, case.model).from_pretrained(folder, output_loading_info=True)
    return model.eval(), told


def outputs(case: Case, model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the program put out and what the model does, for each output."""
    given = np.load(ROOT / "tf1" / case.fixture / "assets" / "outputs.npz")
    names = {"ids": "input_ids", "mask": "attention_mask", "types": "token_type_ids"}
    inputs = {names[name]: torch.tensor(given[name]).long() for name in names if name in given}
    with torch.no_grad():
        made = model(**inputs)
    return [
        (given[ours], np.stack([made[name].numpy() for name in theirs.split()], -1).reshape(given[ours].shape))
        for ours, theirs in case.outputs.items()
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_puts_out_what_the_program_did(case: Case, tmp_path: Path) -> None:
    model, told = load(case, convert(case, tmp_path))
    assert told["missing_keys"] == set()
    assert told["mismatched_keys"] == set()
    assert not case.whole or told["unexpected_keys"] == set()
    for program, made in outputs(case, model):
        np.testing.assert_allclose(made, program, rtol=0, atol=ATOL)


@pytest.mark.parametrize("case", [case for case in WHOLE if case.outputs], ids=str)
def test_a_transpose_too_few_is_seen(case: Case, tmp_path: Path) -> None:
    rules = tmp_path / "wrong.yaml"
    separator = 'target: {separator: ".", safetensors: {format: pt}}'
    text = f"ckptmigrate: 1\ntitle: wrong\n{separator}\ninclude: [{case.mapping}]\nrules:\n  - {WRONG[case.mapping]}\n"
    rules.write_text(text, encoding="utf-8")
    model, told = load(case, convert(case, tmp_path, str(rules)))
    assert told["missing_keys"] == set()
    assert max(np.abs(program - made).max() for program, made in outputs(case, model)) > 1e-2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_transformers_saves_leads_back(
    case: Case, tmp_path: Path, tensors_of: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    """TensorFlow reads the program's own names and bytes, as far as the class holds them."""
    pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
    model, _ = load(case, convert(case, tmp_path))
    model.save_pretrained(tmp_path / "saved")
    ckptmigrate.convert(
        str(tmp_path / "saved" / "model.safetensors"), str(tmp_path / "back" / "model.ckpt"), to="tf1",
        mapping=case.mapping, reverse=True,
    )  # fmt: skip
    held = tensors_of(tmp_path / "back" / "model.ckpt")
    own = {name: t for name, t in golden(ROOT / "tf1" / case.fixture).items() if not is_state(name)}
    assert held
    assert {name: own.get(name) for name in held} == held
    assert not case.whole or held == own


def is_state(name: str) -> bool:
    return name == "global_step" or name.endswith(("/adam_m", "/adam_v"))


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_the_names_in_the_table_are_those_of_transformers(case: Case) -> None:
    """tests/test_text_mappings.py goes by that table where transformers isn't installed."""
    cls = getattr(transformers, case.model)
    model = cls(cls.config_class(**case.settings))
    expected: dict[str, list[int]] = json.loads(NAMES.read_text("utf-8"))[case.model]
    own = {name: list(parameter.shape) for name, parameter in model.named_parameters()}  # each tied one once
    assert own == expected
