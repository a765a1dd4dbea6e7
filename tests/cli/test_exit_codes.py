"""Every exit code that `--help` and README.md list, by the shortest command that ends with it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ckptmigrate.cli.main import EXIT_CODES, main

COMMANDS = {
    0: "convert fixtures/tf1/adam new/ --to tf2 --hyper learning_rate=0.01",
    1: "diff fixtures/tf1/adam fixtures/tf1/ema",
    2: "convert fixtures/tf1/adam new/",
    3: "inspect nowhere/",
    4: "inspect damaged.npz",
    5: "convert fixtures/tf1/adam new/ --to tf2 --mapping damaged.npz",
    6: "convert fixtures/tf1/momentum new/ --to tf2",
    7: "convert fixtures/tf1/adam damaged.npz --to npz",
}


@pytest.mark.parametrize("code", COMMANDS)
def test_exit_code(code: int, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "damaged.npz").write_bytes(b"PK\x03\x04")
    words = shlex.split(COMMANDS[code])
    assert main(words) == code
    said = capsys.readouterr()
    assert code == 0 or "error: " in said.out + said.err or "differs" in said.out
    if words[0] == "convert":
        assert (workplace / "new").exists() == (code == 0)


def test_all_are_shown() -> None:
    listed = re.findall(r"^  (\d)  ", EXIT_CODES, re.MULTILINE)
    assert [int(code) for code in listed] == list(COMMANDS)
