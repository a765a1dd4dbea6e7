"""A disk that fills up or breaks, a kill, a signal: at every call that writes, an output is whole or it isn't there."""

from __future__ import annotations

import pytest

from ckptmigrate.cli.main import main

# What is converted, where to: each shape of output that there is.
CASES = {
    "bundle": (["convert", "tf1/adam/model.ckpt-3", "OUT/ckpt", "--to", "tf2"], "ckpt.index"),
    "folder": (["convert", "tf2/keras_adam/ckpt-1", "OUT/", "--to", "tf2"], "ckpt-0.index"),
    "shards": (["convert", "tf1/sharded/model.ckpt", "OUT/m", "--to", "tf1", "--max-shard-size", "50"], "m.index"),
    "saved": (["convert", "tf2/module/ckpt-1", "OUT/m", "--to", "savedmodel"], "m/saved_model.pb"),
    "npz": (["convert", "tf1/adam/model.ckpt-3", "OUT/m.npz", "--to", "npz"], "m.npz"),
    "safetensors": (["convert", "tf1/adam/model.ckpt-3", "OUT/m.safetensors", "--to", "safetensors"], "m.safetensors"),
    "index": (
        ["convert", "tf1/adam/model.ckpt-3", "OUT/m.safetensors", "--to", "safetensors", "--max-shard-size", "400"],
        "m.safetensors.index.json",
    ),
}


@pytest.fixture
def case(request, fixtures):
    """A command's words and the file that makes its output exist."""
    words, commit = CASES[request.param]
    return [words[0], str(fixtures / words[1]), *words[2:]], commit


@pytest.fixture
def old(case, fixtures, tmp_path):
    """A folder in which an older output stands where the case's is to go."""
    words, _ = case
    folder = tmp_path / "old"
    folder.mkdir()
    assert main([words[0], str(fixtures / "tf1/rmsprop"), words[2].replace("OUT", str(folder)), *words[3:]]) == 0
    return folder


def each(*names: str):
    """Only some cases: every run costs milliseconds, and there are many."""
    return pytest.mark.parametrize("case", names or CASES, indirect=True)


@each()
def test_a_disk_that_fails(case, at_every_call):
    words, commit = case
    *failed, last = at_every_call(words, "ENOSPC EIO")
    assert last.code == 0, last.said
    assert commit in last.files
    assert len(failed) > 8
    for run in failed:
        assert (run.code, run.files) == (7, {}), run.said
        assert run.said.startswith("error: "), run.said
        assert "bug" not in run.said


def test_a_disk_that_fails_below_a_new_folder(fixtures, at_every_call):
    words = ["convert", str(fixtures / "tf1/momentum/model.ckpt"), "OUT/a/b/m.npz", "--to", "npz"]
    *failed, last = at_every_call(words, "EIO ENOSPC")
    assert (last.code, {(run.code, *run.files) for run in failed}) == (0, {(7,)})


@each()
def test_a_system_that_writes_little_at_a_time(case, at_every_call):
    words, _ = case
    (run,) = at_every_call(words, "SHORT")
    assert run.code == 0, run.said


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@each("folder", "saved")
def test_a_signal(case, after, at_every_call):
    words, _ = case
    *ended, last = at_every_call(words, "SIGINT SIGTERM", after=after)
    for number, run in enumerate(ended):
        assert run.code == (143 if number % 2 else 130), run.said
        assert "bug" not in run.said
        assert "Traceback" not in run.said
        assert run.files in ({}, last.files)


@each("folder", "saved")
def test_a_kill(case, at_every_call):
    words, commit = case
    *killed, last = at_every_call(words, "SIGKILL", then=words)
    assert last.code == 0
    for run in killed:
        assert run.code == -9
        assert commit not in run.files or last.files.items() <= run.files.items()
        if run.then:
            assert run.then["code"] == (7 if commit in run.files else 0), run.then["said"]
            assert run.then["files"] == last.files


@pytest.mark.parametrize("fault", ["ENOSPC EIO", "SIGTERM", "SIGKILL"])
@each("folder")
def test_force_over_an_older_output(case, old, fault, at_every_call, listing):
    """The older one stands, or nothing, or the new one: never parts of both."""
    words, commit = case
    *failed, last = at_every_call([*words, "--force"], fault, old=old)
    before, after = listing(old), last.files
    assert last.code == 0, last.said
    for run in failed:
        standing = {name: digest for name, digest in run.files.items() if name in after}
        assert standing in (before, after) or (fault == "SIGKILL" and commit not in standing)
        if fault != "SIGKILL":
            assert run.files in (before, after)


@each("folder")
def test_the_run_after_a_killed_force(case, old, at_every_call, listing):
    """It finds the older output again, or the new one."""
    words, _ = case
    *killed, last = at_every_call([*words, "--force"], "SIGKILL", old=old, then=words)
    for run in killed:
        assert run.then["code"] == 7, run.then["said"]
        assert run.then["files"] in (listing(old), last.files)


@each()
def test_without_force_an_older_output_stays(case, old):
    words, _ = case
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in old.iterdir()}
    assert main([words[0], words[1], words[2].replace("OUT", str(old)), *words[3:]]) == 7
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in old.iterdir()} == before
