"""docs/detection.md is true: its commands are run, and say what is printed there; `...` stands for any lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

DOC = (Path(__file__).resolve().parents[2] / "docs" / "detection.md").read_text("utf-8")


def test_transcripts(retell: Callable[[str], str]) -> None:
    shown = re.findall(r"^```console\n(.*?)^```$", DOC, re.M | re.S)
    assert len(shown) == 3
    for text in shown:
        told = retell(text)
        pattern = re.escape(text).replace(re.escape("...\n"), "(?:.*\n)*?")
        assert re.fullmatch(pattern, told), told
