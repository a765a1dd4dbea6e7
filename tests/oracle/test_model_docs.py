"""docs/{forward,resume,doctor}.md are true: their examples are run, and say what is printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.oracle
pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"`([\w.]+)`:\n\n```(?:python|yaml)\n(.*?)^```$", re.M | re.S)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def plain(text: str) -> str:
    """Without what rounding and time make of it."""
    text = re.sub(r"(no difference|largest difference [0-9.]+e-\d+ .*)$", "about nothing", text, flags=re.MULTILINE)
    text = re.sub(r"largest difference [^,\n]* \(.*\)", "largest difference", text)
    text = re.sub(r"(?m)^(  \w+ +\d+ ) +[0-9. e-]+$", r"\1", text)  # a step of resume: its losses, how far apart
    return re.sub(r"\b[0-9.]+(e-\d+)? s$", "0.1 s", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["forward.md", "resume.md", "doctor.md"])
def test_the_example(name: str, workplace: Path, retell: Callable[[str], str], request: pytest.FixtureRequest) -> None:
    doc = (DOCS / name).read_text("utf-8")
    files = dict(BLOCK.findall(doc))
    module = next(file.removesuffix(".py") for file in files if file.endswith(".py"))
    if wrong := re.findall(r"`(net/\S+: \S+)`", doc):
        files["crossed.yaml"] = crossed(files["rules.yaml"], wrong)
    for file, text in files.items():
        (workplace / file).write_text(text)
    subprocess.run([sys.executable, "-c", f"import {module}; {module}.train()"], capture_output=True, check=True)
    for shown in CONSOLE.findall(doc):
        told = retell(shown)
        if request.config.getoption("--accept"):
            doc = doc.replace(shown, told)
            (DOCS / name).write_text(doc, "utf-8")
        else:
            assert plain(told) == plain(shown)


def crossed(rules: str, wrong: list[str]) -> str:
    """The rules with the wrong ones that the text speaks of."""
    found = rules
    for rule in wrong:
        found = re.sub(rf"^  {re.escape(rule.split(':')[0])}: .*$", f"  {rule}", found, flags=re.MULTILINE)
    assert found != rules
    return found
