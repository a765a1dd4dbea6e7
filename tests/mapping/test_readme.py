"""The rule language's README: every YAML example is loaded, checked and run."""

import re
from pathlib import Path

import pytest

from ckptmigrate.mapping.check import check
from ckptmigrate.mapping.operations import OPERATIONS
from ckptmigrate.mapping.rules import Mapping

README = (Path(__file__).resolve().parents[2] / "mappings" / "README.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NOT_CLEAN = {"Who wins"}  # shows two rules that meet, of which the first decides


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.splitlines()[1].removeprefix("title: "))
def test_examples(tmp_path, text):
    path = tmp_path / "example.yaml"
    path.write_text(text)
    mapping = Mapping.load(path)
    assert mapping.rules
    findings = check(mapping).findings
    assert not findings or mapping.title in NOT_CLEAN
    assert not any(issue.severity == "error" for issue in findings)


def test_every_operation_is_in_the_table():
    rows = re.findall(r"^\| ([a-z_, ]+) \| `", README, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == set(OPERATIONS)
