"""Manifests: read with every complaint at its line; patterns become jobs, each with an output of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptmigrate.batch.jobs import jobs_of
from ckptmigrate.batch.ledger import Ledger
from ckptmigrate.batch.manifest import Entry, read_manifest
from ckptmigrate.errors import UsageError

WHOLE = """\
ckptmigrate-batch: 1
defaults: {to: tf2, mapping: auto, hyper: {learning_rate: 0.01}}
entries:
  - {from: 'models/*/model.ckpt', to: 'new/{parent}/'}
  - {from: a.h5, to: 'b.keras', format: keras-v3, drop: [x, y], allow-loss: true, max-shard-size: 5GB}
"""


def manifest(folder: Path, text: str) -> Path:
    file = folder / "b.yaml"
    file.write_text(text)
    return file


def test_entries_have_the_defaults_and_their_own(tmp_path: Path) -> None:
    file = manifest(tmp_path, WHOLE)
    common = {"to": "tf2", "mapping": "auto", "hyper": {"learning_rate": 0.01}}
    own = {"to": "keras-v3", "drop": ("x", "y"), "allow_loss": True, "max_shard_bytes": 5_000_000_000}
    assert read_manifest(file) == [
        Entry("models/*/model.ckpt", "new/{parent}/", common, f"{file}:4"),
        Entry("a.h5", "b.keras", {**common, **own}, f"{file}:5"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("defaults: {}\n", 1, "expected `ckptmigrate-batch: 1` first"),
        ("ckptmigrate-batch: 2\n", 1, "expected `ckptmigrate-batch: 1` first"),
        ("ckptmigrate-batch: 1\nentries: []\n", 2, "takes a list"),
        ("ckptmigrate-batch: 1\nentries:\n  - {from: a, to: b}\n", 3, "no format"),
        ("ckptmigrate-batch: 1\ndefaults: {to: tf2}\nentries:\n  - {to: b}\n", 4, "needs `from`"),
        ("ckptmigrate-batch: 1\ndefaults: {to: tf2, maping: x}\nentries:\n  - {from: a, to: b}\n", 2, "unknown option"),
        ("ckptmigrate-batch: 1\ndefaults: {to: tf2, force: yes}\nentries:\n  - {from: a, to: b}\n", 2, "true or false"),
        ("ckptmigrate-batch: 1\nentires:\n  - {from: a, to: b}\n", 2, "unknown key 'entires'"),
        ("ckptmigrate-batch: 1\nentries: [\n", 3, "YAML|expected"),
    ],
)
def test_complaints_name_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = manifest(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        read_manifest(file)
    assert caught.value.where.startswith(f"{file}:{line}")


def test_a_pattern_takes_each_checkpoint_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in ("model.ckpt-10.index", "model.ckpt-10.data-00000-of-00001", "model.ckpt-10.meta", "checkpoint"):
            (tmp_path / name / file).write_bytes(b"")
    jobs, issues = jobs_of([Entry("*/*", "new/{parent}-{stem}", {"to": "npz"})], tmp_path)
    assert issues == []
    assert [(Path(j.source).name, Path(j.destination).name) for j in jobs] == [
        ("model.ckpt-10", "a-model.ckpt-10"),
        ("model.ckpt-10", "b-model.ckpt-10"),
    ]


def test_entries_that_go_wrong_leave_the_others_alone(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    entries = [
        Entry("*.npz", "same.npz", {"to": "npz"}, "m:1"),
        Entry("none-*.npz", "{stem}", {"to": "npz"}, "m:2"),
        Entry("a.npz", "{steam}", {"to": "npz"}, "m:3"),
        Entry("b.npz", "{stem}.safetensors", {"to": "safetensors"}, "m:4"),
        Entry("b.npz", "x", {"to": "onnx"}, "m:5"),
    ]
    jobs, issues = jobs_of(entries, tmp_path)
    assert [Path(j.destination).name for j in jobs] == ["same.npz", "b.safetensors"]
    assert [i.where for i in issues] == ["m:1", "m:2", "m:3", "m:5"]
    assert "would both become" in issues[0].message


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.read() == []
    records = [{"status": "started", "src": "a", "dst": "b"}, {"status": "done", "src": "a", "dst": "b", "digest": "x"}]
    for record in records:
        ledger.append(record)
    whole = ledger.path.read_bytes()
    for end in range(1, len(whole)):
        ledger.path.write_bytes(whole[:end])
        read = ledger.read()
        assert read == records[: whole[:end].count(b"\n")]
        assert ledger.path.read_bytes() == whole[: whole.rfind(b"\n", 0, end) + 1]
    ledger.path.write_bytes(b"not json\n[1]\n" + whole)
    assert ledger.read() == records


def test_options_of_the_command_line_hold_for_every_entry(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text(
        "ckptmigrate-batch: 1\nentries:\n  - {from: a.h5, to: a.npz, dtype: float32}\n  - {from: b.h5, to: b.npz}\n"
    )
    entries = read_manifest(tmp_path / "batch.yaml", {"to": "npz", "dtype": "float16"})
    assert [entry.options for entry in entries] == [{"to": "npz", "dtype": "float16"}] * 2
