"""What `--help` says: whole sentences, words for values, an example; and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ckptmigrate.cli.main import COMMANDS, main

MAPPING = ("list", "show", "check", "explain", "draft")
ALL = [(name,) for name in COMMANDS] + [("mapping", name) for name in MAPPING]
WITHOUT_EXAMPLE = {("formats",), ("mapping",), ("mapping", "list"), ("mapping", "show")}


@pytest.mark.parametrize("words", [(), *ALL], ids=" ".join)
def test_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    lines = [line.rstrip() for line in said.splitlines()]
    assert "range>" not in said, "a value without a word for it"
    listed = lines[lines.index("Commands:") :] if "Commands:" in lines else []
    assert not any(line.endswith("...") for line in listed), "the first sentence doesn't fit its line"
    if words and words not in WITHOUT_EXAMPLE:
        assert any(line.startswith(f"    ckptmigrate {' '.join(words)} ") for line in lines)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ckptmigrate conv", ["convert"]),
        ("ckptmigrate mapping dr", ["draft"]),
        ("ckptmigrate convert --averages ", ["keep", "use", "drop"]),
        ("ckptmigrate verify --lev", ["--level"]),
    ],
)
def test_completion(typed: str, offered: list[str]) -> None:
    asked = {"_CKPTMIGRATE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "ckptmigrate"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered
