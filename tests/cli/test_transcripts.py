"""Every transcript under transcripts/, run again: what the command line says, word for word, and how it exits.

A transcript is a text file of commands (`$ ckptmigrate ...`), each followed by its answer as `retell` writes it.
`pytest tests/cli --accept` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda p: p.stem)
def test_transcript(path: Path, retell: Callable[[str], str], request: pytest.FixtureRequest) -> None:
    told = retell(path.read_text("utf-8"))
    if request.config.getoption("--accept"):
        path.write_text(told, "utf-8")
    assert told == path.read_text("utf-8")
