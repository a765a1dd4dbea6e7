"""Every optimizer trains on in every dialect as if nothing had moved: the tables of docs/optimizers.md and README.md.

A small net is trained for six steps and saved in every form that its framework has; each is converted, restored by the
target's framework over other values, and trained for five more steps on the same batches. The tables say what is found
here; `pytest tests/oracle/test_resume_table.py --accept` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.oracle
pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

from resuming.cells import Cell, Family, Place  # noqa: E402 - they import the frameworks
from resuming.optimizers import CASES  # noqa: E402
from resuming.table import compact, long_form, same  # noqa: E402
from resuming.verdicts import ROUNDING, is_near, verdict  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DOCS, README = ROOT / "docs" / "optimizers.md", ROOT / "README.md"

Found = list[tuple[Place, Cell]]


@pytest.mark.parametrize("name", CASES)
def test_training_goes_on(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = list(Family(name, tmp_path).cells())
    judged = [(place, verdict(name, place, cell)) for place, cell in found]
    wrong = [f"{place}: {v.wrong}" for place, v in judged if v.wrong]
    assert not wrong, "\n".join(wrong)
    accept = request.config.getoption("--accept")
    for document, wanted, shown in (
        (DOCS, long_form(name, judged), section(name)),
        (README, compact(name, judged), row(name)),
    ):
        if accept:
            document.write_text(document.read_text("utf-8").replace(shown, wanted), "utf-8")
        else:
            assert same(shown, wanted), f"{document.name}: run it with --accept\n{wanted}"


def section(name: str) -> str:
    """What docs/optimizers.md says of an optimizer."""
    (found,) = re.findall(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def row(name: str) -> str:
    """The line of README's table that an optimizer has."""
    (found,) = re.findall(rf"^\| {re.escape(name)} \|.*\n", README.read_text("utf-8"), re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.lone])
def test_without_its_slots_none_would_pass(name: str, tmp_path: Path) -> None:
    """The control: the same files, converted with `--optimizer drop`, fail the check that the others pass."""
    family = Family(name, tmp_path)
    for source in family.sources:
        form = next(iter(source.paths))
        target = source.dialect if source.dialect in family.nets else "keras-legacy"
        cell = family.cell(Place(source, form, target, {"tf1": "tf1"}.get(target, "tf2")), optimizer="drop")
        assert (cell.refused, cell.failed) == ("", ""), source.title
        assert not is_near(cell, source), source.title
        assert cell.apart > 100 * ROUNDING, source.title
