"""Manifests: read with every complaint at its line; patterns become jobs, each with an output of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptmigrate.batch.jobs import jobs_of
from ckptmigrate.batch.ledger import Ledger
from ckptmigrate.batch.manifest import Entry, read_manifest
from ckptmigrate.errors import OutputError, UsageError

LONE = "2019/lone/model.ckpt-1.data-00000-of-00001"
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
        ("", 1, "holds no keys"),
    ],
)
def test_complaints_name_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = manifest(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        read_manifest(file)
    assert caught.value.where.startswith(f"{file}:{line}")


@pytest.mark.parametrize(
    "text",
    [
        "defaults:\n\tto: tf2",
        "entries:\n  - from: */*.index",
        "entries: [{from: *.index, to: x}]",
        "entries: [{from: a, to: new/{stem}.npz}]",
        "defaults: &all {to: tf2}",
    ],
)
def test_what_yaml_makes_of_patterns_has_a_way_out(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(manifest(tmp_path, f"ckptmigrate-batch: 1\n{text}\n"))
    assert caught.value.hint.startswith("indent by spaces, and quote what holds * or {}")


def test_files_start_from_the_manifests_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    text = "ckptmigrate-batch: 1\ndefaults: {to: tf2, template: old/model, mapping: %s}\nentries: [{from: a, to: b}]\n"
    (own,) = read_manifest(manifest(tmp_path, text % "mine.yaml"))
    assert own.options == {"to": "tf2", "template": f"{tmp_path}/old/model", "mapping": f"{tmp_path}/mine.yaml"}
    (named,) = read_manifest(manifest(tmp_path, text % "auto"), {"template": "s3://b/model"})
    assert (named.options["template"], named.options["mapping"]) == ("s3://b/model", "auto")
    (long,) = read_manifest(manifest(tmp_path, text % ("x" * 300)))
    assert long.options["mapping"] == "x" * 300


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
        Entry("b.npz", "x", {"to": "npz", "optimizer": "kep"}, "m:6"),
    ]
    jobs, issues = jobs_of(entries, tmp_path)
    assert [Path(j.destination).name for j in jobs] == ["b.safetensors"]
    assert [i.where for i in issues] == ["m:2", "m:3", "m:5", "m:6", "m:1"]
    assert issues[-1].message.startswith("2 checkpoints would become this one: ")


def test_two_ways_to_one_output_are_none(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    entries = [
        Entry("*.npz", "{stem}.h5", {"to": "keras-h5"}, "m:1"),
        Entry("b.npz", "{stem}.h5", {"to": "keras-h5"}, "m:2"),
        Entry("a.npz", "{stem}.h5", {"to": "keras-h5", "optimizer": "drop"}, "m:3"),
    ]
    jobs, issues = jobs_of(entries, tmp_path)
    assert [Path(job.source).name for job in jobs] == ["b.npz"]
    assert [(issue.where, "in 2 ways" in issue.message) for issue in issues] == [("m:1, m:3", True)]


@pytest.mark.parametrize("spelled", ["./b.h5", "new/../b.h5", "link/b.h5", "{stem}.h5"])
def test_one_output_is_one_however_it_is_spelled(spelled: str, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).touch()
    (tmp_path / "new").mkdir()
    (tmp_path / "link").symlink_to(".")
    entries = [Entry("a.npz", "b.h5", {"to": "keras-h5"}), Entry("b.npz", spelled, {"to": "keras-h5"})]
    jobs, issues = jobs_of(entries, tmp_path)
    assert (jobs, len(issues)) == ([], 1)


def test_no_job_replaces_the_source_of_another(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz", "c.npz"):
        (tmp_path / name).touch()
    force = {"to": "npz", "force": True}
    entries = [Entry("a.npz", "./b.npz", force), Entry("b.npz", "a.npz", force), Entry("c.npz", "d.npz", force)]
    jobs, issues = jobs_of(entries, tmp_path)
    assert [Path(job.source).name for job in jobs] == ["c.npz"]
    assert all("is a source as well" in issue.message for issue in issues)
    assert len(issues) == 2


def test_what_became_of_a_job_is_on_disk_when_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for status, count in (("started", 0), ("skipped", 1), ("started", 1), ("done", 2), ("failed", 3)):
        ledger.append({"status": status, "src": "a", "dst": "b"})
        assert synced == [str(ledger.path)] * count
    assert len(ledger.read()) == 5


@pytest.mark.parametrize("text", ["my thesis", "my thesis\n", "[]\n"])
def test_a_file_that_is_no_ledger_stays(text: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.path.write_text(text)
    with pytest.raises(OutputError, match="no ledger"):
        ledger.read()
    assert ledger.path.read_text() == text


def test_a_ledger_that_cannot_be_made_says_where_it_lies(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't be written: No such file") as refused:
        Ledger(tmp_path / "no" / "ledger.jsonl").append({})
    assert refused.value.hint == "it lies beside the manifest, and without one in this folder"


def test_a_ledger_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ledger.jsonl")
    with pytest.raises(OutputError, match="a ledger is a file"):
        Ledger(tmp_path / "ledger.jsonl").read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An archive as years leave it."""
    for name in (
        "2019/run/model.ckpt-1.index",
        "2019/run/model.ckpt-1.data-00000-of-00001",
        "2019/run/model.ckpt-1.meta",
        "2019/run/model.ckpt-0.meta",
        "2019/lone/model.ckpt-1.data-00000-of-00001",
        "2020/export/saved_model.pb",
        "2020/export/fingerprint.pb",
        "2020/export/variables/variables.index",
        "2020/export/variables/variables.data-00000-of-00001",
        "2020/parts/model.safetensors.index.json",
        "2020/parts/model-00001-of-00002.safetensors",
        "2020/parts/model-00002-of-00002.safetensors",
        "2020/parts/m.weights.json",
        "2020/parts/m_00000.weights.h5",
        "2020/one/a.h5",
        "2020/.hidden/a.h5",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "2020" / "empty").mkdir()
    (tmp_path / "2020" / "one" / "gone.h5").symlink_to("nowhere")
    (tmp_path / "2020" / "one" / "circle.h5").symlink_to("circle.h5")
    (tmp_path / "2019" / "up").symlink_to("..")
    (tmp_path / "2020" / "up").symlink_to("..")
    (tmp_path / "2020" / "latest").symlink_to("../2019/run")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*/*/*.index", ["2019/run/model.ckpt-1", "2020/latest/model.ckpt-1"]),
        ("**/*.index", ["2019/run/model.ckpt-1", "2020/export/variables/variables"]),
        ("**/*.data*", [LONE, "2019/run/model.ckpt-1", "2020/export/variables/variables"]),
        ("**/*.meta", ["2019/run/model.ckpt-1"]),
        ("**/*.pb", ["2020/export"]),
        ("202*/o*", ["2020/one/a.h5"]),
        ("2020/[el]*", ["2020/empty", "2020/export", "2020/latest/model.ckpt-1"]),
        ("**/*.safetensors", ["2020/parts/model.safetensors.index.json"]),
        ("2020/**/*.h5", ["2020/one/a.h5", "2020/one/circle.h5", "2020/one/gone.h5", "2020/parts/m.weights.json"]),
        ("2020/.*/*.h5", ["2020/.hidden/a.h5"]),
        ("2020/[e]*/", ["2020/empty", "2020/export"]),
        ("20[1]9/**", [LONE, "2019/run/model.ckpt-1"]),
    ],
)
def test_what_patterns_find(tree: Path, pattern: str, found: list[str]) -> None:
    """Each checkpoint once; what is none is a job that will say so, unless it is a part of one, or leads to others."""
    jobs, issues = jobs_of([Entry(pattern, "new/{folder}/{name}.npz", {"to": "npz"})], tree)
    assert issues == []
    assert sorted(str(Path(job.source).relative_to(tree)) for job in jobs) == found


@pytest.mark.parametrize(
    ("source", "target", "made"),
    [
        ("20*/**/*.h5", "new/{folder}/{stem}.npz", "new/2020/one/a.npz"),
        ("2020/one/*.h5", "new/{folder}/{stem}.npz", "new/a.npz"),
        ("2020/one/a.h5", "new/{folder}/{stem}/", "new/a/"),
        ("2020/**/*.pb", "{folder}/{parent}/{name}", "2020/export"),
        ("2020/**/*.safetensors", "{stem}", "model"),
    ],
)
def test_holes(tree: Path, source: str, target: str, made: str) -> None:
    jobs, _ = jobs_of([Entry(source, target, {"to": "npz"})], tree)
    assert f"{tree}/{made}" in [job.destination for job in jobs]


def test_outputs_of_this_batch_are_no_sources_of_it(tree: Path) -> None:
    entry = Entry("2020/**/*.h5", "2020/{folder}/{stem}.weights.h5", {"to": "keras-v3"})
    (output,) = [job.destination for job in jobs_of([entry], tree)[0] if job.source.endswith("/a.h5")]
    Path(output).touch()
    jobs, issues = jobs_of([entry], tree, {output})
    assert output in [job.destination for job in jobs]
    assert output not in [job.source for job in jobs]
    assert issues == []


def test_a_folder_may_have_a_name_like_a_pattern(tmp_path: Path) -> None:
    base = tmp_path / "[old] models"
    base.mkdir()
    (base / "a.npz").touch()
    jobs, _ = jobs_of([Entry("*.npz", "{stem}.h5", {"to": "keras-h5"})], base)
    assert [job.source for job in jobs] == [f"{base}/a.npz"]


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
