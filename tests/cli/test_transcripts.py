"""Every transcript under transcripts/, run again: what the command line says, word for word, and how it exits.

A transcript is a text file of commands (`$ ckptmigrate ...`), each followed by its output, lines of stderr marked
`! `, and `[exit N]` where that isn't 0. Commands run in an empty folder in which `fixtures` and `mappings` are the
repository's. `pytest tests/cli --accept` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptmigrate.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
PROMPT = "$ ckptmigrate"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("fixtures", "mappings"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(command or "" for text before the first one, what follows it)."""
    for part in re.split(rf"^(?={re.escape(PROMPT)})", text, flags=re.MULTILINE):
        line, _, rest = part.partition("\n")
        yield (line, rest) if line.startswith(PROMPT) else ("", part)


def answer(command: str, capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """What the command prints, with what differs from run to run made the same."""
    code = main(shlex.split(command)[2:])
    captured = capsys.readouterr()
    said = captured.out + "".join(f"! {line}\n" for line in captured.err.splitlines())
    said += f"[exit {code}]\n" if code else ""
    said = said.replace(f"{folder}/", "").replace(f"{ROOT}/", "")
    return re.sub(r"\b[0-9.]+(e-\d+)? s$", "0.1 s", said, flags=re.MULTILINE)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda p: p.stem)
def test_transcript(
    path: Path, workplace: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    found = ""
    for command, rest in blocks(path.read_text("utf-8")):
        found += f"{command}\n{answer(command, capsys, workplace)}\n" if command else rest
    found = found.rstrip("\n") + "\n"
    if request.config.getoption("--accept"):
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")
