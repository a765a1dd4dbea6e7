"""README.md is true: its tables are generated, its first commands are what is run. tests/docs runs its transcripts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ckptmigrate.cli.main import EXIT_CODES
from ckptmigrate.formats import FORMATS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def code(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def table(title: str) -> list[str]:
    section = README.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def test_formats_table() -> None:
    rows = [f"| `{f.name}` | yes | {'yes' if f.writer else '-'} | {f.title} |" for f in FORMATS]
    assert table("Formats") == rows


def test_exit_codes_table() -> None:
    lines = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in EXIT_CODES.splitlines()[2:]]
    assert table("Exit codes") == [f"| {number} | {meaning} |" for number, meaning in lines]


def test_first_command_is_the_transcript(workplace: Path) -> None:
    """Set-up aside: the command after the last `&&` of the first block runs as it stands."""
    command = code("sh")[0].rsplit("&&", 1)[1].strip().removeprefix(".venv/bin/ckptmigrate ")
    for _ in range(2):  # pasted twice, it works twice
        done = subprocess.run(
            [sys.executable, "-m", "ckptmigrate", *command.split()], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("verified: 939 of 939 tensors equal")


def test_second_command_is_what_is_run_on_every_change() -> None:
    run = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "--editable '.[test]'" in code("sh")[1]
    assert "--editable '.[test]'" in run
    assert "pytest --numprocesses 2" in code("sh")[1]
    assert "pytest --numprocesses 2" in run
