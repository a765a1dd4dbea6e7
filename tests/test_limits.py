"""docs/limits.md names the constants that bound what a file may ask for, with their values."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/limits.md"
ROWS = re.findall(r"^\| `(\S+)\.(\w+)` \| (.+?) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)


def value(text: str) -> float:
    """A number as source code has it: sums, products, shifts."""
    assert re.fullmatch(r"[\d_e.+* <]+", text)
    return float(eval(text))  # numbers and signs only


def test_the_page_has_rows():
    assert len(ROWS) == PAGE.read_text("utf-8").count("| `") > 50


@pytest.mark.parametrize(("module", "name", "told", "what"), ROWS, ids=[f"{row[0]}.{row[1]}" for row in ROWS])
def test_limits_are_what_the_page_says(module, name, told, what):
    assert getattr(import_module(f"ckptmigrate.{module}"), name) == value(told)
    assert what
