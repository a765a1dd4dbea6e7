"""Drafts of pairs whose mapping is known: nothing in them is wrong. The table of docs/draft-results.md is found here.

`pytest tests/drafts --accept` writes it anew. Every draft is loaded and run as any mapping is, and each variable that
it writes is compared with what is known, operations included.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest
from judging.adversaries import adversaries
from judging.case import MODES, Case
from judging.cases import cases
from judging.score import Score, score

from ckptmigrate.mapping.draft import draft
from ckptmigrate.table import Checkpoint

DOCS = Path(__file__).resolve().parents[2] / "docs" / "draft-results.md"
CASES = {f"{case.family}: {case.name}": case for case in chain(cases(), adversaries())}
MOST_SECONDS = 10  # for two checkpoints of 5,000 variables, without values, on an idle machine
SLOWER = 4  # this one is


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_wrong(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    case = CASES[name]
    found = {mode: score(case, mode, _text, tmp_path) for mode in case.modes}
    wrong = [f"{mode}: {line}" for mode, told in found.items() for line in told.wrong]
    assert not wrong, "\n".join(wrong)
    assert (
        max(told.seconds for mode, told in found.items() if mode != "values" or len(case.modes) == 1)
        < MOST_SECONDS * SLOWER
    )
    _tell(case, found, accept=request.config.getoption("--accept"))


def _text(source: Checkpoint, target: Checkpoint) -> str:
    return draft(source, target).text


def _tell(case: Case, found: dict[str, Score], *, accept: bool) -> None:
    """The case's line in the table, which is written anew where that is asked for."""
    line = _line(case, found)
    text = DOCS.read_text("utf-8")
    (shown,) = re.findall(rf"^\| {re.escape(case.name)} \|.*$", text, re.MULTILINE) or [""]
    if accept and _less_seconds(shown) != _less_seconds(line):
        heading = f"## {case.family}\n"
        start = text.index("|---|", text.index(heading))
        end = text.index("\n\n", start)
        rows = [row for row in text[start:end].split("\n")[1:] if row != shown]
        ruler = text[start:end].split("\n")[0]
        DOCS.write_text(text[:start] + "\n".join([ruler, *rows, line]) + text[end:], "utf-8")
    assert accept or _less_seconds(shown) == _less_seconds(line), "run it with --accept"


def _line(case: Case, found: dict[str, Score]) -> str:
    """| model | variables | right, abstained, wrong of each mode | lines | seconds |."""
    cells = [
        f"{told.right} / {told.abstained} / {len(told.wrong)}" if (told := found.get(mode)) else "" for mode in MODES
    ]
    lines = max(told.lines for told in found.values())
    seconds = max(told.seconds for told in found.values())
    return f"| {case.name} | {len(case.target.variables):,} | {' | '.join(cells)} | {lines} | {seconds:.1f} |"


def _less_seconds(line: str) -> str:
    return line.rstrip("|").rpartition("|")[0]
