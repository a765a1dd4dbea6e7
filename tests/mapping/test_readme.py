"""The rule language's README: every YAML example is loaded, checked and run."""

import re
from pathlib import Path

import pytest

from ckptmigrate.mapping import compile, load
from ckptmigrate.mapping.check import check
from ckptmigrate.mapping.operations import OPERATIONS
from ckptmigrate.mapping.rules import Mapping

README = (Path(__file__).resolve().parents[2] / "mappings" / "README.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NOT_CLEAN = {"Who wins"}  # shows two rules that meet, of which the first decides


def section(title):
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


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
    rows = re.findall(r"^\| ([a-z_, ]+) \| `", section("Operations"), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == set(OPERATIONS)


def test_every_key_is_told():
    told = set()
    for where, keys in re.findall(r"^\| ([a-z, ]+) \| (`[^|]*) \|", section("Every key"), re.MULTILINE):
        for place in where.removeprefix("rule with ").split(", "):
            told |= {("rule with " * where.startswith("rule") + place, key) for key in re.findall(r"`(\w+)`", keys)}
    places = {"top": load.KEYS, **load.SIDE_KEYS, "include": load.INCLUDE_KEYS, "optimizers": load.OPTIMIZER_KEYS}
    places |= {f"rule with {kind}": keys for kind, keys in compile.KEYS.items()}
    assert told == {(place, key) for place, keys in places.items() for key in keys}


def test_every_parameter_is_told():
    def parameter(spec, key):
        bold = "**" if key == spec.bare else ""
        return f"{bold}`{key}`{bold}{'' if spec.fields[key].required else ' (optional)'}"

    rows = [
        f"| `{name}` | {', '.join(parameter(spec, key) for key in spec.fields) or '-'}"
        f"{', sizes by their names' if spec.free else ''} |"
        for name, spec in OPERATIONS.items()
    ]
    assert [line for line in section("Every key").splitlines() if line.startswith("| `")] == rows
