"""The command line against a server that speaks S3."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .stores import FIXTURES, files_of, objects_of, upload


def ran(*words: str, code: int = 0) -> Any:
    """A command's JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "ckptmigrate", *words, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)


def test_a_detector_is_ported_within_a_bucket(s3: Any, tmp_path: Path) -> None:
    upload(s3, FIXTURES / "od" / "ssd_mobilenet_v2_tf1", "models/old")
    told = ran("inspect", "s3://models/old")
    assert told["path"] == "s3://models/old/model.ckpt"
    assert "ckptmigrate-remote" not in json.dumps(told)
    report = ran("convert", "s3://models/old", "s3://models/new/", "--to", "tf2", "--mapping", "auto")
    assert report["verdict"] == "verified"
    assert "ckptmigrate-remote" not in json.dumps(report)
    assert ran("verify", "s3://models/old/model.ckpt", "s3://models/new/ckpt-0")["verdict"] == "verified"
    ran(
        "convert", str(FIXTURES / "od" / "ssd_mobilenet_v2_tf1"), f"{tmp_path}/new/", "--to", "tf2", "--mapping", "auto"
    )
    assert objects_of(s3, "models/new") == files_of(tmp_path / "new")


def test_ranges_are_read(s3: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{f"layer_{i}/kernel": np.full((1 << 19,), i, np.float32) for i in range(4)})
    ran("convert", str(tmp_path / "a.npz"), "s3://models/m.safetensors", "--to", "safetensors")
    ran("convert", "s3://models/m.safetensors", "s3://models/back.npz", "--to", "npz")
    with np.load(tmp_path / "a.npz") as ours:
        s3.get_file("models/back.npz", str(tmp_path / "back.npz"))
        with np.load(tmp_path / "back.npz") as theirs:
            assert {k: v.tobytes() for k, v in ours.items()} == {k: theirs[k].tobytes() for k in ours}


def test_a_batch_goes_on_where_it_was(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        upload(s3, FIXTURES / "tf1" / "adam", f"models/archive/run{number}")
    s3.pipe_file("models/archive/bad/model.index", b"nothing")
    command = ["--glob", "s3://models/archive/*/*.index", "--out", "s3://models/out/{parent}/", "--to", "tf2"]
    first = ran("batch", *command, "--names", "key", code=1)
    assert first["counts"] == {"done": 3, "skipped": 0, "failed": 1}
    written = objects_of(s3, "models/out")
    s3.rm("models/archive/bad", recursive=True)
    again = ran("batch", *command, "--names", "key", "--resume")
    assert again["counts"] == {"done": 0, "skipped": 3, "failed": 0}
    assert objects_of(s3, "models/out") == written


@pytest.mark.parametrize("url", ["s3://no-such-bucket/model.h5", "s3://models/none.h5"])
def test_what_isnt_there_is_said(url: str, s3: Any) -> None:
    told = ran("inspect", url, code=3)
    assert url in json.dumps(told)


def test_without_credentials_nothing_is_guessed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    told = ran("inspect", "s3://models/none.h5", code=3)
    assert told["issues"][0]["hint"]
