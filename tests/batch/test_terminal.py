"""What a batch shows at a terminal while it runs, and what it leaves there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from .conftest import kept

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
LONG = "a folder with quite a long name, so that the lines of jobs that run have to be cut somewhere"
STRANGE = "重み\x1b[2J"
JOBS = ("run0", STRANGE, "run2")
MANIFEST = """\
ckptmigrate-batch: 1
defaults: {to: npz}
entries:
  - {from: '*/*/*.index', to: 'new/{parent}/model.npz'}
"""
WORDS = ("batch", "batch.yaml", "--jobs", "2")
SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"  # the cursor
STYLE = r"\x1b\[(?:[0-9;]*m|\?25[hl])"
REDRAWN = r"\r(?:\x1b\[1A|\x1b\[2K)+"
ALL = r"all (?:[━╸╺]+ )?\d of 3(?:, 0:00:\d\d left)?(?:, [\d.]+ k?B/s)?"
JOB = r"0:00:\d\d  .*/(run0|重み\\x1b\[2J|run2)/model\.ckpt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in JOBS:
        shutil.copytree(FIXTURES / "tf1" / "momentum", tmp_path / LONG / name)
    (tmp_path / "batch.yaml").write_text(MANIFEST)
    return tmp_path


@pytest.mark.parametrize("columns", [80, 40])
def test_a_line_for_all_and_one_for_each_that_runs(columns: int, folder: Path, terminal: Callable[..., Any]) -> None:
    with kept(folder):
        running = terminal(columns, folder, *WORDS)
        running.wait_for(rb" left, ")
    shown = running.end()
    *drawn, last = re.split(REDRAWN, re.sub(STYLE, "", shown))
    assert running.running.returncode == 0
    frames = [frame.strip("\r\n").split("\r\n") for frame in drawn if frame.strip()]
    for first, *jobs in frames:
        assert re.fullmatch(ALL, first)
        told = [re.fullmatch(JOB, job)[1] for job in jobs]
        assert len(set(told)) == len(told) <= 2
        assert max(map(cell_len, [first, *jobs])) <= columns - len("^C")
    assert any(" left, " in frame[0] and len(frame) == 3 for frame in frames)
    assert last.splitlines() == ["3 jobs: 3 done", "  ledger  batch.yaml.ledger.jsonl"]
    assert shown.rfind(SHOWN) > shown.rfind(HIDDEN) > -1


def test_an_interrupt_leaves_the_terminal_as_it_was(folder: Path, terminal: Callable[..., Any]) -> None:
    """While the workers start: what they would say of it is nobody's business."""
    with kept(folder):
        running = terminal(80, folder, *WORDS)
        running.wait_for(rb"run2")
        running.press(b"\x03")
        shown = running.end()
    *_, last = re.split(REDRAWN, re.sub(STYLE, "", shown))
    assert running.running.returncode == 130
    assert last.splitlines() == ["interrupted", "  hint:  the same command with --resume goes on"]
    assert shown.rfind(SHOWN) > shown.rfind(HIDDEN) > -1
    assert not list(folder.glob("new/*/.*"))


def test_a_terminal_that_is_closed_ends_it_and_leaves_nothing_half_written(
    folder: Path, terminal: Callable[..., Any]
) -> None:
    with kept(folder):
        running = terminal(80, folder, *WORDS)
        running.wait_for(rb"run2")
        running.hang_up()
    assert running.running.returncode == 129
    assert not list(folder.glob("new/*/.*"))


def test_elsewhere_only_the_summary(folder: Path, terminal: Callable[..., Any]) -> None:
    summary = ["3 jobs: 3 done", "  ledger  batch.yaml.ledger.jsonl"]
    assert terminal(80, folder, *WORDS, kind="dumb").end().splitlines() == summary
    again = [sys.executable, "-m", "ckptmigrate", *WORDS, "--resume"]
    piped = subprocess.run(again, cwd=folder, capture_output=True, check=True)
    assert piped.stdout.decode().splitlines() == [summary[0].replace("done", "skipped"), summary[1]]
    assert piped.stderr == b""
