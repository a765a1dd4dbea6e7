"""Reading and writing a store: the same as on a disk, by the ranges that are needed, whole or not at all."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptmigrate import convert, diff, verify
from ckptmigrate.averaging import average
from ckptmigrate.batch import Entry
from ckptmigrate.batch.jobs import jobs_of
from ckptmigrate.cli.main import main
from ckptmigrate.destination import destination_of
from ckptmigrate.detection.port import PortOptions, port_detection
from ckptmigrate.doctor import diagnose
from ckptmigrate.errors import CkptMigrateError, OutputError, SourceError, UsageError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.listing import inspect_json
from ckptmigrate.urls import ROOTS
from ckptmigrate.wire import remote

from .stores import FIXTURES, files_of, objects_of, upload

SMALL = 60_000  # bytes
LISTINGS = sorted(FIXTURES.glob("*/*/listing.json"))
FOLDERS = [p.parent for p in LISTINGS if sum(f.stat().st_size for f in p.parent.rglob("*") if f.is_file()) < SMALL]
DETECTOR = FIXTURES / "od" / "ssd_mobilenet_v2_tf1"

# What writes into each format, and the name of the output
OUTPUTS = {"tf1": "out/model", "tf2": "out/", "safetensors": "m.safetensors", "npz": "m.npz", "keras-h5": "m.h5"}


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_store_reads_as_the_disk_does(folder: Path, memory: Any) -> None:
    upload(memory, folder, "/bucket/here")
    entry = json.loads((folder / "listing.json").read_text())["entry"]
    with open_checkpoint(folder / entry) as local, open_checkpoint(f"memory://bucket/here/{entry}") as far:
        ours, theirs = list(local.rows()), list(far.rows())
        assert [row.key for row in theirs] == [row.key for row in ours]
        assert str(far.metadata["used"]).startswith("memory://bucket/here")
        for one, other in zip(ours, theirs, strict=True):
            if one.tensor.dtype.name != "variant":
                np.testing.assert_array_equal(other.tensor.read(), one.tensor.read(), one.key)
    assert not remote._IMAGES, "images stay when nobody reads them"


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("format_", OUTPUTS)
def test_a_store_gets_what_the_disk_would_get(format_: str, memory: Any, tmp_path: Path) -> None:
    source = FIXTURES / "tf1" / "adam"
    upload(memory, source, "/bucket/old")
    local = convert(source, f"{tmp_path}/new/{OUTPUTS[format_]}", to=format_, allow_loss=True)
    far = convert("memory://bucket/old", f"memory://bucket/new/{OUTPUTS[format_]}", to=format_, allow_loss=True)
    assert (far.verdict, far.counts) == (local.verdict, local.counts)
    assert local.verdict == "verified"
    assert objects_of(memory, "/bucket/new") == files_of(tmp_path / "new")
    again = verify("memory://bucket/old", f"memory://bucket/new/{OUTPUTS[format_]}")
    assert again.exit_code == 0


def test_a_file_that_stands_for_its_folder_leaves_nothing_of_that(memory: Any) -> None:
    upload(memory, FIXTURES / "savedmodel" / "keras3_saved" / "model", "/bucket/old")
    with open_checkpoint("memory://bucket/old/saved_model.pb") as checkpoint:
        assert all(row.tensor.read().shape == row.tensor.shape for row in checkpoint.rows())
    assert not remote._IMAGES


@pytest.mark.usefixtures("tiny_blocks")
def test_a_saved_model_goes_and_comes(memory: Any, tmp_path: Path) -> None:
    source = FIXTURES / "savedmodel" / "keras3_saved" / "model"
    upload(memory, source, "/bucket/old")
    convert(source, tmp_path / "new", to="savedmodel", template=str(source))
    report = convert("memory://bucket/old", "memory://bucket/new", to="savedmodel", template="memory://bucket/old")
    assert report.verdict == "verified", report.issues
    assert objects_of(memory, "/bucket/new") == files_of(tmp_path / "new")


def test_what_lies_beside_a_saved_model_stays(memory: Any) -> None:
    """Under the names of its parts."""
    source = FIXTURES / "savedmodel" / "keras3_saved" / "model"
    beside = ["/bucket/variables/mine", "/bucket/assets/mine", "/bucket/saved_model.pb"]
    for name in beside:
        memory.pipe_file(name, b"mine")
    for force in (False, True):
        report = convert(source, "memory://bucket/new", to="savedmodel", template=str(source), force=force)
        assert report.verdict == "verified", report.issues
    assert [memory.cat_file(name) for name in beside] == [b"mine"] * 3


class Counting:
    """Counts what is asked of a store."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests, self.bytes, read = 0, 0, store.cat_file

        def cat_file(path: str, start: int | None = None, end: int | None = None, **rest: Any) -> bytes:
            found: bytes = read(path, start=start, end=end, **rest)
            self.requests, self.bytes = self.requests + 1, self.bytes + len(found)
            return found

        monkeypatch.setattr(store, "cat_file", cat_file)


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "weights.h5"])
def test_only_what_is_wanted_is_fetched(
    suffix: str, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", **{f"layer_{i}/kernel": np.full((1 << 20,), i, np.float32) for i in range(6)})
    made = tmp_path / f"model.{suffix}"
    if suffix == "weights.h5":
        with h5py.File(made, "w") as file:
            for i in range(6):
                file[f"layers/layer_{i}/vars/0"] = np.full((1 << 20,), i, np.float32)
    else:
        convert(tmp_path / "a.npz", made, to=suffix)
    memory.pipe_file(f"/bucket/model.{suffix}", made.read_bytes())
    counted = Counting(memory, monkeypatch)
    with open_checkpoint(f"memory://bucket/model.{suffix}") as checkpoint:
        assert len(checkpoint.variables) == 6
        assert counted.bytes <= 10 * remote.BLOCK, "headers only: npz and HDF5 have one for each array, beside it"
        before = counted.bytes
        name, variable = list(checkpoint.variables.items())[3]
        assert set(variable.tensor.read().tolist()) == {3.0}, name
        assert counted.bytes - before <= (4 << 20) + 2 * remote.BLOCK


def test_many_small_variables_are_few_requests(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", **{f"layer_{i}/bias": np.full((8,), i, np.float32) for i in range(3000)})
    convert(tmp_path / "a.npz", tmp_path / "model", to="tf1")
    upload(memory, tmp_path, "/bucket")
    counted = Counting(memory, monkeypatch)
    assert convert("memory://bucket/model", "memory://bucket/model.safetensors", to="safetensors").verdict == "verified"
    assert counted.requests <= 8


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize(
    "name", ["m.safetensors", "run.ckpt-7", "run.ckpt-7.index", "run.ckpt-7.data-00000-of-00001", "v1-?????-of-00002"]
)
def test_of_thousands_beside_it_only_its_own_files_are_looked_at(name: str, memory: Any) -> None:
    own = (
        "run.ckpt-7.index",
        "run.ckpt-7.data-00000-of-00001",
        "m.safetensors",
        "v1-00000-of-00002",
        "v1-00001-of-00002",
    )
    for file in (*own, *(f"other-{number}.npz" for number in range(300))):
        memory.pipe_file(f"/bucket/flat/{file}", b"x")
    with remote.held(f"memory://bucket/flat/{name}") as path:
        assert {file.name for file in path.parent.iterdir()} < set(own)
    with remote.held("memory://bucket/flat/none.h5") as path:
        assert len(list(path.parent.iterdir())) == 100


def test_a_destination_is_looked_at_once_while_it_is_held(memory: Any) -> None:
    with remote.held("memory://bucket/new/m.npz"):
        memory.pipe_file("/bucket/new/m.npz", b"x")
        assert not destination_of("memory://bucket/new/m.npz", "").path.exists()
    assert destination_of("memory://bucket/new/m.npz", "").path.exists()
    remote.forget(destination_of("memory://bucket/new/m.npz", "").path)


def test_a_file_that_changes_meanwhile_is_noticed(memory: Any) -> None:
    upload(memory, DETECTOR, "/bucket/old")
    with open_checkpoint("memory://bucket/old") as checkpoint:
        data = next(name for name in memory.find("/bucket/old") if ".data-" in name)
        memory.pipe_file(data, memory.cat_file(data)[:-1])
        with pytest.raises(SourceError, match="changed while it was read"):
            [row.tensor.read() for row in checkpoint.rows()]


@pytest.mark.usefixtures("tiny_blocks")
def test_tensors_are_read_though_nobody_keeps_their_checkpoint(memory: Any) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    checkpoint = open_checkpoint("memory://bucket/old")
    folder, variables = checkpoint.path.parent, dict(checkpoint.variables)
    with open_checkpoint(FIXTURES / "tf1" / "adam") as local:
        expected = {name: variable.tensor.read() for name, variable in local.variables.items()}
    del checkpoint
    gc.collect()
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable.tensor.read(), expected[name])
    remote.release(folder)


def _fails_at(memory: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    put, calls = memory.put_file, [0]

    def put_file(*args: Any, **rest: Any) -> None:
        calls[0] += 1
        if calls[0] == number:
            raise OSError("connection reset")
        put(*args, **rest)

    monkeypatch.setattr(memory, "put_file", put_file)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_output_that_cannot_be_sent_leaves_nothing(
    number: int, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(memory, DETECTOR, "/bucket/old")
    _fails_at(memory, monkeypatch, number)
    with pytest.raises(OutputError, match="connection reset"):
        convert("memory://bucket/old", "memory://bucket/new/", to="tf2", mapping="auto")
    assert objects_of(memory, "/bucket/new") == {}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_older_output_outlives_a_failure(number: int, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(memory, DETECTOR, "/bucket/old")
    convert("memory://bucket/old", "memory://bucket/new/", to="tf2", mapping="auto")
    before = objects_of(memory, "/bucket/new")
    with pytest.MonkeyPatch.context() as patch:
        _fails_at(memory, patch, number)
        with pytest.raises(OutputError, match="connection reset"):
            convert(
                "memory://bucket/old", "memory://bucket/new/", to="tf2", optimizer="drop", mapping="auto", force=True
            )
    assert objects_of(memory, "/bucket/new") == before
    convert("memory://bucket/old", "memory://bucket/new/", to="tf2", optimizer="drop", mapping="auto", force=True)
    after = objects_of(memory, "/bucket/new")
    assert set(after) == {"checkpoint", "ckpt-0.index", "ckpt-0.data-00000-of-00001"} or after != before
    assert verify("memory://bucket/old", "memory://bucket/new/").exit_code == 0


def test_an_output_is_complete_though_its_stage_stays(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    remove = memory.rm

    def rm(path: str, **rest: Any) -> None:
        if ".ckptmigrate-" in path:
            raise OSError("connection reset")
        remove(path, **rest)

    monkeypatch.setattr(memory, "rm", rm)
    report = convert("memory://bucket/old", "memory://bucket/new.npz", to="npz", optimizer="drop", force=True)
    assert report.verdict == "verified"
    assert verify("memory://bucket/old", "memory://bucket/new.npz").exit_code == 0


def test_what_another_has_written_meanwhile_stays(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    put = memory.put_file

    def put_file(local: str, path: str, **rest: Any) -> None:
        memory.pipe_file("/bucket/new.npz", b"another's")
        put(local, path, **rest)

    monkeypatch.setattr(memory, "put_file", put_file)
    with pytest.raises(OutputError, match="exists"):
        convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    assert memory.cat_file("/bucket/new.npz") == b"another's"


def test_an_output_that_exists_is_refused_and_a_source_is_never_written(memory: Any) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    report = convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    assert report.exit_code == 7
    before = objects_of(memory, "/bucket")
    with pytest.raises(OutputError, match="the destination is the source"):
        convert("memory://bucket/new.npz", "memory://bucket/new.npz", to="npz", force=True)
    assert objects_of(memory, "/bucket") == before


def test_averages_and_diagnoses_take_urls(memory: Any, tmp_path: Path) -> None:
    for step in (9, 10):
        np.savez(tmp_path / f"ckpt-{step}.npz", **{"layer/kernel": np.full((4, 4), step, np.float32)})
    upload(memory, tmp_path, "/bucket/run")
    report = average(["memory://bucket/run/ckpt-*.npz"], "memory://bucket/mean.npz")
    assert report.exit_code == 0
    with open_checkpoint("memory://bucket/mean.npz") as mean:
        assert set(mean.variables["layer/kernel"].tensor.read().ravel().tolist()) == {9.5}
    assert diagnose("memory://bucket/mean.npz").format == "npz"


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("config", ["", "/pipeline.config"])
def test_a_detector_is_ported_with_its_configuration_in_the_store(config: str, memory: Any, tmp_path: Path) -> None:
    upload(memory, DETECTOR, "/bucket/old")
    labels = (DETECTOR / "label_map.pbtxt").read_bytes()
    memory.pipe_file("/bucket/new_labels.pbtxt", labels)
    asked = {"options": PortOptions(classes=f"{DETECTOR}/label_map.pbtxt")}
    port_detection(DETECTOR, DETECTOR, tmp_path / "new", **asked)
    asked = {"options": PortOptions(classes="memory://bucket/new_labels.pbtxt")}
    report = port_detection(f"memory://bucket/old{config}", "memory://bucket/old", "memory://bucket/new/", **asked)
    assert (report.verdict, report.exit_code) == ("verified", 0)
    far, near = objects_of(memory, "/bucket/new"), files_of(tmp_path / "new")
    assert far.keys() == near.keys()
    assert far["ckpt-0.data-00000-of-00001"] == near["ckpt-0.data-00000-of-00001"]
    assert b"memory://bucket/new" in far["pipeline.config"]
    found = diagnose("memory://bucket/old", pipeline_config="memory://bucket/old/pipeline.config")
    assert all(root not in json.dumps(found.to_json()) for root in ROOTS.values())
    assert not remote._IMAGES


def test_python_is_told_urls(memory: Any) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    done = convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    assert done.source["path"] == "memory://bucket/old/model.ckpt-3"
    assert done.target == {"path": "memory://bucket/new.npz", "format": "npz", "files": ["memory://bucket/new.npz"]}
    refused = convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    assert [issue.where for issue in refused.issues if issue.kind == "exists"] == ["memory://bucket/new.npz"]
    with open_checkpoint("memory://bucket/old") as checkpoint:
        document = inspect_json(checkpoint)
    assert "memory://bucket/old/model.ckpt-3.index" in document["files"]
    told = [done.to_json(), refused.to_json(), verify("memory://bucket/old", "memory://bucket/new.npz").to_json()]
    told += [diff("memory://bucket/old", "memory://bucket/new.npz").to_json(), document]
    told += [diagnose("memory://bucket/old").to_json()]
    assert all(root not in json.dumps(told) for root in ROOTS.values())


COMMANDS = {
    "inspect": "inspect memory://bucket/old --stats",
    "diff": "diff memory://bucket/old memory://bucket/new.npz",
    "verify": "verify memory://bucket/old memory://bucket/new.npz",
    "refused": "convert memory://bucket/old memory://bucket/new.npz --to npz --report {0}/report.json",
    "converted": "convert memory://bucket/old memory://bucket/2/ --to tf2 --allow-loss --report {0}/report.html",
    "average": "average memory://bucket/old memory://bucket/new.npz memory://bucket/mean.npz",
    "doctor": "doctor memory://bucket/old --against memory://bucket/new.npz",
    "draft": "mapping draft memory://bucket/old memory://bucket/new.npz",
    "missing": "inspect memory://bucket/none.h5",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_tells_urls(
    command: str, memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    convert("memory://bucket/old", "memory://bucket/new.npz", to="npz")
    main(COMMANDS[command].format(tmp_path).split())
    out, err = capsys.readouterr()
    told = out + err + "".join(file.read_text() for file in tmp_path.iterdir())
    assert "bucket/" in told or command == "draft"  # which says names without their folders
    assert "No such option" not in told
    assert all(root not in told for root in ROOTS.values())


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_reports_are_written_to_the_store(name: str, memory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    upload(memory, FIXTURES / "tf1" / "momentum", "/bucket/old")
    words = ["memory://bucket/old", "memory://bucket/m.npz", "--to", "npz", "--json"]
    assert main(["convert", *words, "--report", f"memory://bucket/reports/{name}"]) == 0
    report = memory.cat_file(f"/bucket/reports/{name}").decode()
    if name.endswith(".json"):
        assert report == capsys.readouterr().out
    else:
        assert "memory://bucket/m.npz" in report


def test_an_error_names_the_url(memory: Any) -> None:
    upload(memory, FIXTURES / "tf1" / "adam", "/bucket/old")
    index = next(name for name in memory.find("/bucket/old") if name.endswith(".index"))
    memory.pipe_file(index, memory.cat_file(index)[:-60] + bytes(60))
    with pytest.raises(CkptMigrateError) as caught:
        verify("memory://bucket/old", "memory://bucket/old")
    assert "memory://bucket/old/model.ckpt" in str(caught.value)
    assert all(root not in f"{caught.value} {caught.value.args} {caught.value.hint}" for root in ROOTS.values())


def test_a_stranger_is_not_fetched_whole(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe_file("/bucket/film.mp4", b"\0\0\0\x18ftypmp42" + bytes(8 << 20))
    counted = Counting(memory, monkeypatch)
    with pytest.raises(SourceError, match="not a checkpoint"):
        open_checkpoint("memory://bucket/film.mp4")
    assert counted.bytes <= 2 * remote.BLOCK


BAD: dict[str, tuple[str, type[CkptMigrateError], str]] = {
    "nothing there": ("memory://bucket/none/model.ckpt", SourceError, "no such checkpoint"),
    "no such store": ("nonsense://bucket/model.h5", UsageError, "nonsense"),
    "of this machine": ("file:///tmp/model.h5", UsageError, "of this machine"),
    "leads out": ("memory://bucket/../model.h5", UsageError, "dots"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_urls_are_told(case: str, memory: Any) -> None:
    url, kind, message = BAD[case]
    with pytest.raises(kind, match=message) as caught:
        open_checkpoint(url)
    assert url.partition("/..")[0] in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        ("old/**", ["export", "m", "run/model.ckpt-1", "w"]),
        ("old/**/*.safetensors", ["m"]),
        ("old/**/*.pb", ["export"]),
        ("old/*/*.index", ["run/model.ckpt-1"]),
        ("old/r*", ["run"]),
    ],
)
def test_patterns_of_urls_take_each_checkpoint_once(pattern: str, made: list[str], memory: Any) -> None:
    for name in (
        "run/model.ckpt-1.index",
        "run/model.ckpt-1.data-00000-of-00001",
        "run/checkpoint",
        "export/saved_model.pb",
        "export/variables/variables.index",
        "m-00001-of-00002.safetensors",
        "m-00002-of-00002.safetensors",
        "m.safetensors.index.json",
        "w.weights.json",
        "w_00000.weights.h5",
    ):
        memory.pipe_file(f"/bucket/old/{name}", b"")
    jobs, issues = jobs_of(
        [Entry(f"memory://bucket/{pattern}", "memory://bucket/new/{folder}/{stem}", {"to": "tf1"})], Path()
    )
    assert issues == []
    assert sorted(job.destination for job in jobs) == [f"memory://bucket/new/{name}" for name in made]
