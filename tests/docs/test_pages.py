"""README.md and docs/*.md are true: their files are written, their commands and scripts run, in the order of the page.

A console block says what `retell` writes; `...` alone on a line stands for any lines. A block with its name in the line
above (`my_models.py`, a colon behind it) is a file. Any other Python block is run, and prints the text block behind it.
`pytest tests/docs --accept` writes the transcripts anew; read the difference before you commit it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, Block, blocks, needs_frameworks, renewed, tells


def parameters() -> Iterator[object]:
    for path in PAGES:
        text = path.read_text("utf-8")
        marks = [pytest.mark.oracle] if needs_frameworks(text) else []
        if any(block.language in ("console", "python") for block in blocks(text)):
            yield pytest.param(path, marks=marks, id=path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("path", list(parameters()))
def test_page(path: Path, workplace: Path, retell: Callable[[str], str], request: pytest.FixtureRequest) -> None:
    text = path.read_text("utf-8")
    if needs_frameworks(text):
        pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")
    accepted = text
    for block, after in pairwise([*blocks(text), Block("", "", "")]):
        if block.file:
            (workplace / block.file).parent.mkdir(exist_ok=True)
            (workplace / block.file).write_text(block.text, "utf-8")
        elif block.language == "python":
            check_script(workplace / "script.py", block.text, after)
        elif block.language == "console":
            told = retell(block.text)
            if request.config.getoption("--accept") and not tells(block.text, told):
                accepted = accepted.replace(block.text, renewed(block.text, told))
            else:
                assert tells(block.text, told), told
    if accepted != text:
        path.write_text(accepted, "utf-8")


def check_script(path: Path, script: str, after: Block) -> None:
    """Runs it; what it prints is the text block behind it, without one nothing."""
    path.write_text(script, "utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (after.text if after.language == "text" else "", 0), done.stderr
