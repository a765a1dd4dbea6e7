"""A disk that fills up or breaks, a kill, a signal: at every call that writes, an output is whole or it isn't there."""

from __future__ import annotations

import pytest

from ckptmigrate.cli.main import main
from ckptmigrate.page.frame import SIGN

# Each shape of output that there is: the command that writes it, and the file that makes it exist.
CASES = {
    "bundle": ("convert FIXTURES/tf1/adam/model.ckpt-3 OUT/ckpt --to tf2", "ckpt.index"),
    "folder": ("convert FIXTURES/tf2/keras_adam/ckpt-1 OUT/ --to tf2", "ckpt-0.index"),
    "shards": ("convert FIXTURES/tf1/sharded/model.ckpt OUT/m --to tf1 --max-shard-size 50", "m.index"),
    "saved": ("convert FIXTURES/tf2/module/ckpt-1 OUT/m --to savedmodel", "m/saved_model.pb"),
    "filled": (
        "convert FIXTURES/savedmodel/tf_keras_adam/model OUT/m --to savedmodel"
        " --template FIXTURES/savedmodel/tf_keras_adam/model",
        "m/saved_model.pb",
    ),
    "npz": ("convert FIXTURES/tf1/adam/model.ckpt-3 OUT/m.npz --to npz", "m.npz"),
    "safetensors": ("convert FIXTURES/tf1/adam/model.ckpt-3 OUT/m.safetensors --to safetensors", "m.safetensors"),
    "index": (
        "convert FIXTURES/tf1/adam/model.ckpt-3 OUT/m.safetensors --to safetensors --max-shard-size 400",
        "m.safetensors.index.json",
    ),
    "h5": ("convert FIXTURES/keras-h5/tfk_adam OUT/m.h5 --to keras-h5", "m.h5"),
    "keras": ("convert FIXTURES/keras-v3/keras3_adam OUT/m.keras --to keras-v3", "m.keras"),
    "weights": ("convert FIXTURES/keras-v3/keras3_adam OUT/m.weights.h5 --to keras-v3", "m.weights.h5"),
    "parts": (
        "convert FIXTURES/keras-v3/keras3_sharded/m.weights.json OUT/m.weights.json --to keras-v3 --max-shard-size 400",
        "m.weights.json",
    ),
    "mean": ("average FIXTURES/tf1/optimizers FIXTURES/tf1/optimizers_later OUT/mean", "mean.index"),
    "port": (
        "port-detection FIXTURES/od/ssd_mobilenet_v2_tf1/pipeline.config FIXTURES/od/ssd_mobilenet_v2_tf1 OUT/port",
        "port/ckpt-0.index",
    ),
}


@pytest.fixture
def case(request, fixtures):
    """A command's words and the file that makes its output exist."""
    words, commit = CASES[request.param]
    return words.replace("FIXTURES", str(fixtures)).split(), commit


@pytest.fixture
def old(case, fixtures, tmp_path):
    """A folder in which an older output, of another source, stands where the case's is to go."""
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


@each(*(name for name in CASES if name != "port"))
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
@each("folder", "npz", "saved")
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


@each("folder", "npz", "saved")
def test_the_run_after_a_killed_force(case, old, at_every_call, listing):
    """It finds the older output again, or the new one."""
    words, _ = case
    *killed, last = at_every_call([*words, "--force"], "SIGKILL", old=old, then=words)
    for run in killed:
        assert run.then["code"] == 7, run.then["said"]
        assert run.then["files"] in (listing(old), last.files)


@each()
def test_without_force_an_older_output_stays(case, tmp_path):
    words = [word.replace("OUT", str(tmp_path)) for word in case[0]]

    def standing():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}

    assert main(words) == 0
    before = standing()
    assert main(words) == 7
    assert standing() == before


def test_a_report(fixtures, tmp_path, at_every_call, listing):
    """It is whole, or the older one stands; and where it can't be written, the exit code says so."""
    words = f"convert {fixtures}/tf1/momentum/model.ckpt OUT/m.npz --to npz --report OUT/r.html".split()
    name, old = "r.html", tmp_path / "old"
    old.mkdir()
    (old / name).write_text(SIGN)
    older = listing(old)[name]
    *failed, last = at_every_call(words, "ENOSPC EIO SIGTERM", old=old)
    assert {*last.files} == {"m.npz", name}
    for number, run in enumerate(failed):
        assert run.code == (143 if number % 3 == 2 else 7), run.said
        assert set(run.files) <= {"m.npz", name}
        assert run.files[name] == older or run.code == 143
        assert "bug" not in run.said
    *killed, last = at_every_call(words, "SIGKILL", old=old, then=[*words, "--force"])
    for run in killed:
        assert run.then["code"] == 0, run.then["said"]
        assert set(run.then["files"]) == set(last.files)
