"""TensorFlow 1's recurrent cells in Keras 3 and tf_keras: the same outputs over all steps, and back.

What the cells put out lies beside their checkpoint (fixtures/make/rnn.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, golden

import ckptmigrate

pytestmark = pytest.mark.oracle
pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
keras = pytest.importorskip("keras", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

CELLS = ROOT / "tf1" / "rnn_cells"
ATOL = 1e-6  # outputs are below 1; measured: 2e-7
LSTM = ("basic_lstm", "lstm", "lstm_block", "no_forget_bias", "cudnn_lstm")
GRU = ("gru", "gru_block")

# The cell's scope in TF1 -> the rules it takes, and its place in the model below.
RULES = {
    "basic_lstm/rnn/basic_lstm_cell": ("rnn/lstm", "basic_lstm/cell"),
    "lstm/rnn/lstm_cell": ("rnn/lstm", "lstm/cell"),
    "lstm_block/rnn/lstm_cell": ("rnn/lstm", "lstm_block/cell"),
    "no_forget_bias/rnn/lstm_cell": ("rnn/lstm_forget_bias_0", "no_forget_bias/cell"),
    "cudnn_lstm/rnn/cudnn_compatible_lstm_cell": ("rnn/lstm_forget_bias_0", "cudnn_lstm/cell"),
    "gru/rnn/gru_cell": ("rnn/gru", "gru/cell"),
    "gru_block/rnn/gru_cell": ("rnn/gru", "gru_block/cell"),
    "stack/rnn/multi_rnn_cell/cell_0/lstm_cell": ("rnn/lstm", "stack_0/cell"),
    "stack/rnn/multi_rnn_cell/cell_1/lstm_cell": ("rnn/lstm", "stack_1/cell"),
    "both_ways/bidirectional_rnn/fw/lstm_cell": ("rnn/lstm", "both_ways/forward_layer/cell"),
    "both_ways/bidirectional_rnn/bw/lstm_cell": ("rnn/lstm", "both_ways/backward_layer/cell"),
}
UNHELD = ("peepholes", "projection", "cudnn_gru")  # Keras' layers have no place for what these hold


def model(library: ModuleType) -> Any:
    layers = library.layers
    x = library.Input((5, 3))
    made = {name: layers.LSTM(4, return_sequences=True, name=name)(x) for name in LSTM}
    made |= {name: layers.GRU(4, return_sequences=True, reset_after=False, name=name)(x) for name in GRU}
    first = layers.LSTM(4, return_sequences=True, name="stack_0")(x)
    made["stack"] = layers.LSTM(6, return_sequences=True, name="stack_1")(first)
    made["both_ways"] = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both_ways")(x)
    return library.Model(x, made)


def rules(folder: Path, more: str = "", **changed: str) -> str:
    """The mapping file that a person writes for this model; `changed`: other rules for a cell."""
    lines = [
        f"  - {{file: {changed.get(place.split('/')[0], file)}, source: {cell}/, target: {place}/}}"
        for cell, (file, place) in RULES.items()
    ]
    path = folder / "cells.yaml"
    path.write_text("\n".join(["ckptmigrate: 1", "title: cells", "include:", *lines]) + "\n" + more, encoding="utf-8")
    return str(path)


def convert(library: ModuleType, mapping: str, folder: Path) -> Any:
    """The cells' model, with the weights of TF1 in it."""
    made = model(library)
    made.save(folder / "fresh.keras")
    target = folder / "cells.weights.h5"
    ckptmigrate.convert(
        str(CELLS), str(target), to="keras-v3", mapping=mapping, template=str(folder / "fresh.keras"),
        drop=tuple(f"{scope}/{{x:path}}" for scope in UNHELD),
    )  # fmt: skip
    made.load_weights(target)
    return made


def differences(made: Any) -> dict[str, float]:
    expected = np.load(CELLS / "assets" / "outputs.npz")
    return {name: float(np.abs(y - expected[name]).max()) for name, y in made.predict(expected["x"], verbose=0).items()}


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_the_layers_put_out_what_the_cells_did(library: ModuleType, tmp_path: Path) -> None:
    found = differences(convert(library, rules(tmp_path), tmp_path))
    assert set(found) == {*LSTM, *GRU, "stack", "both_ways"}
    assert max(found.values()) < ATOL, found


def test_other_rules_are_seen(tmp_path: Path) -> None:
    """A forget bias too few and too many, and gates in their old order: each shows in its layer and nowhere else."""
    old_order = (
        "rules:\n"
        "  - from: [gru/rnn/gru_cell/gates/kernel, gru/rnn/gru_cell/candidate/kernel]\n"
        "    to: [gru/cell/kernel, gru/cell/recurrent_kernel]\n"
        "    do: [concat: {axis: 1, sizes: [rest, dim1/3]}, split: {axis: 0, sizes: [rest, dim1/3]}]\n"
    )
    mapping = rules(tmp_path, old_order, lstm="rnn/lstm_forget_bias_0", cudnn_lstm="rnn/lstm")
    found = differences(convert(keras, mapping, tmp_path))
    assert {name for name, most in found.items() if most > ATOL} == {"lstm", "cudnn_lstm", "gru"}
    assert min(found[name] for name in ("lstm", "cudnn_lstm", "gru")) > 1e-2


def test_what_keras_cannot_hold_is_refused(tmp_path: Path) -> None:
    report = ckptmigrate.convert(str(CELLS), str(tmp_path / "cells.npz"), to="npz", mapping=rules(tmp_path))
    assert report.verdict == "refused"
    refused = {issue.name for issue in report.issues if issue.severity == "error"}
    assert "peepholes/rnn/lstm_cell/w_f_diag" in refused
    assert "projection/rnn/lstm_cell/projection/kernel" in refused
    assert {name.split("/")[0] for name in refused} == set(UNHELD)


def test_back_to_the_cells(tmp_path: Path, tensors_of: Callable[[Path], dict[str, dict[str, Any]]]) -> None:
    """Names, shapes and bytes of TF1; but a forget bias that was added and taken away again is rounded."""
    mapping = rules(tmp_path)
    convert(keras, mapping, tmp_path).save_weights(tmp_path / "trained.weights.h5")
    back = tmp_path / "back" / "model.ckpt"
    ckptmigrate.convert(str(tmp_path / "trained.weights.h5"), str(back), to="tf1", mapping=mapping, reverse=True)
    found = tensors_of(back)
    own = {name: told for name, told in golden(CELLS).items() if name.split("/")[0] not in UNHELD}
    assert set(found) == set(own)
    for name, told in own.items():
        cell, leaf = name.rsplit("/", 1)
        if leaf == "bias" and RULES.get(cell, ("", ""))[0] == "rnn/lstm":
            assert found[name]["shape"] == told["shape"]
            np.testing.assert_allclose(tensor(back, name), tensor(CELLS, name), rtol=0, atol=1e-7)
        else:
            assert found[name] == told


def tensor(path: Path, name: str) -> np.ndarray:
    with ckptmigrate.open(str(path)) as checkpoint:
        return checkpoint.variables[name].tensor.read()
