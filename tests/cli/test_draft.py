"""`ckptmigrate mapping draft`: its document, and what it never writes over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate.cli.main import main
from ckptmigrate.mapping.rules import Mapping


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, Path]:
    sides = {
        "old.npz": {"a/kernel": (3, 4), "b/x": (7,), "c/kernel": (2, 9)},
        "new.npz": {"net/a/kernel": (3, 4), "b/y": (5,), "net/c/kernel": (2, 9)},
    }
    for name, shapes in sides.items():
        arrays: dict[str, Any] = {variable: np.zeros(shape) for variable, shape in shapes.items()}
        np.savez(tmp_path / name, **arrays)
    return str(tmp_path / "old.npz"), str(tmp_path / "new.npz"), tmp_path / "map.yaml"


def test_document(files: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new, out = files
    assert main(["mapping", "draft", old, new, "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {pair["source"]: (pair["target"], pair["operations"]) for pair in told["pairs"]} == {
        "a/kernel": ("net/a/kernel", []),
        "c/kernel": ("net/c/kernel", []),
    }
    assert told["unsure"] == [{"source": "b/x", "candidates": []}]
    assert told["unfilled"] == ["b/y"]
    assert told["file"] == str(out)
    assert told["text"] == out.read_text()
    assert Mapping.load(out).rules


def test_without_a_file_the_mapping_is_printed(
    files: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, out = files
    assert main(["mapping", "draft", old, new]) == 0
    text = capsys.readouterr().out
    assert main(["mapping", "draft", old, new, "-o", str(out)]) == 0
    assert out.read_text() == text
    assert main(["mapping", "draft", old, new, "-o", "-"]) == 0
    assert capsys.readouterr().out.endswith(text)
    assert not Path("-").exists()


def test_what_it_does_not_write_over(files: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new, out = files
    out.write_text("mine")
    before = Path(old).read_bytes()
    for place, options in ((str(out), []), (old, ["--force"]), (new, ["--force"]), (str(out.parent), ["--force"])):
        assert main(["mapping", "draft", old, new, "-o", place, *options]) == 7
        assert "error" in capsys.readouterr().err
    assert (out.read_text(), Path(old).read_bytes()) == ("mine", before)
    assert main(["mapping", "draft", old, new, "-o", str(out), "--force"]) == 0
    assert out.read_text().startswith("# Drafted")
    assert sorted(path.name for path in out.parent.iterdir()) == ["map.yaml", "new.npz", "old.npz"]


def test_no_checkpoint(files: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, _, out = files
    assert main(["mapping", "draft", old, "nowhere", "-o", str(out)]) == 3
    assert not out.exists()
