"""docs/forward.md is true: its example is run, and says what is printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.oracle
pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

DOC = Path(__file__).resolve().parents[2] / "docs" / "forward.md"


def plain(text: str) -> str:
    """Without what rounding and time make of it."""
    text = re.sub(r"(no difference|largest difference [0-9.]+e-\d+ .*)$", "about nothing", text, flags=re.MULTILINE)
    text = re.sub(r"largest difference [^,\n]* \(.*\)", "largest difference", text)
    return re.sub(r"\b[0-9.]+(e-\d+)? s$", "0.1 s", text, flags=re.MULTILINE)


def test_the_example(workplace: Path, retell: Callable[[str], str], request: pytest.FixtureRequest) -> None:
    doc = DOC.read_text("utf-8")
    code = {name: re.findall(rf"^```{name}\n(.*?)^```$", doc, re.M | re.S) for name in ("python", "yaml", "console")}
    (workplace / "my_models.py").write_text(code["python"][0])
    rules = code["yaml"][0]
    (workplace / "rules.yaml").write_text(rules)
    for rule in re.findall(r"`(net/\S+: \S+)`", doc):
        rules = re.sub(rf"^  {re.escape(rule.split(':')[0])}: .*$", f"  {rule}", rules, flags=re.MULTILINE)
    assert rules != code["yaml"][0]
    (workplace / "crossed.yaml").write_text(rules)
    subprocess.run([sys.executable, "-c", "import my_models; my_models.train()"], capture_output=True, check=True)
    for shown in code["console"]:
        told = retell(shown)
        if request.config.getoption("--accept"):
            doc = doc.replace(shown, told)
            DOC.write_text(doc, "utf-8")
        else:
            assert plain(told) == plain(shown)
