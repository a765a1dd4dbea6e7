"""2,000 changed files of each reader: each is read or refused with our error, in time and in bounded memory."""

from __future__ import annotations

from pathlib import Path

import cases
import pytest
from readers import READERS

COUNT = 2000
GROWN = 512  # MiB


@pytest.mark.fuzz
@pytest.mark.parametrize("reader", READERS)
def test_changed_files(reader):
    found = cases.run(reader, 0, COUNT)
    assert found.failures == []
    assert found.outcomes.total() == COUNT
    assert len(found.outcomes) > 1 or reader in LENIENT, (
        "all are met in one way: the changes don't get past a first check"
    )
    assert found.grown < GROWN


# A state file that can't be read is passed over, and so are lines of a ledger: what can't be damaged isn't told.
LENIENT = {"state", "ledger"}

ENDS = """
import json, os, sys, time
first, count = int(sys.argv[2]), int(sys.argv[3])
for case in range(first, first + count):
    if case == 2:
        os.abort()
    if case == 4:
        time.sleep(60)
    print(json.dumps([case, "read", "", 0.0, case]), flush=True)
"""


def test_children_that_die_or_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither stops the others, and each is a failure that names its case."""
    child = tmp_path / "child.py"
    child.write_text(ENDS)
    monkeypatch.setattr(cases, "CHILD", child)
    monkeypatch.setattr(cases, "SECONDS", 1)
    found = cases.run("x", 0, 6)
    assert (found.outcomes["read"], found.outcomes.total(), found.grown) == (4, 6, 5)
    assert [failure.partition(": ")[0] for failure in found.failures] == ["x 2", "x 4"]
    assert "died with -6" in found.failures[0]
    assert "hung" in found.failures[1]
