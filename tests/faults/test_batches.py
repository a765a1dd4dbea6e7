"""A disk that fails, or a kill, at every call that a batch makes itself: its ledger and its summary."""

from __future__ import annotations

import re

import pytest

from ckptmigrate.cli.main import main

SOURCES = ("adam", "momentum")


@pytest.fixture
def asked(fixtures, tmp_path):
    """A folder with a manifest, and the words that run it."""
    folder = tmp_path / "asked"
    folder.mkdir()
    lines = [f"  - {{from: {fixtures}/tf1/{name}, to: new/{name}.npz}}" for name in SOURCES]
    (folder / "batch.yaml").write_text("\n".join(["ckptmigrate-batch: 1", "defaults: {to: npz}", "entries:", *lines]))
    return folder, ["batch", "OUT/batch.yaml", "--jobs", "1", "--report", "OUT/summary.json"]


@pytest.mark.parametrize("fault", ["ENOSPC EIO", "SIGKILL", "SIGINT SIGTERM"])
def test_a_batch_goes_on_after_it(fault, asked, at_every_call):
    """Outputs are whole or not there, and the next run takes those that are for done."""
    folder, words = asked
    *failed, last = at_every_call(words, fault, old=folder, then=[*words, "--resume"])
    outputs = written(last.files)
    assert (last.code, sorted(outputs)) == (0, [f"new/{name}.npz" for name in SOURCES]), last.said
    assert len(failed) > 15
    codes = {"ENOSPC EIO": (7, 7), "SIGKILL": (-9, -9), "SIGINT SIGTERM": (130, 143)}[fault]
    for number, run in enumerate(failed):
        assert run.code == codes[number % 2], run.said
        assert "Traceback" not in run.said
        assert written(run.files).items() <= outputs.items()
        assert run.then["code"] == 0, run.then["said"]
        assert written(run.then["files"]) == outputs
        (skipped,) = re.findall(r"(\d) skipped", run.then["said"]) or ["0"]
        assert int(skipped) >= len(written(run.files)), run.then["said"]
    if fault == "ENOSPC EIO":
        assert all(re.search("^error: ", run.said, re.MULTILINE) for run in failed)


def written(files):
    """The outputs among files; a killed run may leave a stage beside them."""
    return {name: digest for name, digest in files.items() if re.fullmatch(r"new/\w+\.npz", name)}


def test_a_ledger_that_is_none(asked, capsys):
    folder, words = asked
    ledger = folder / "batch.yaml.ledger.jsonl"
    ledger.mkdir()
    assert main([word.replace("OUT", str(folder)) for word in words]) == 7
    assert f"where: {ledger}" in capsys.readouterr().err
    assert not (folder / "new").exists()
