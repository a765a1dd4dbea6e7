"""Real checkpoints: nothing is found in them but what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptmigrate.doctor import diagnose

ROOT = Path(__file__).resolve().parents[2] / "fixtures"
LISTINGS = sorted(path for path in ROOT.glob("*/*/listing.json"))

# Some were trained until they diverged, or filled with random numbers; in some the statistics were never updated.
THERE = {"nan", "batchnorm"}


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
def test_no_false_alarm(listing: Path) -> None:
    found = diagnose(listing.parent / json.loads(listing.read_text("utf-8"))["entry"]).findings
    assert {issue.kind for issue in found if issue.severity == "error"} <= THERE
    assert not [issue for issue in found if issue.kind in ("slot", "leftover", "mixed", "state")]
