"""What people really have: half-copied, damaged and hostile files; each ends with its exit code and a hint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.cli.main import main

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


def sharded(folder: Path) -> str:
    shutil.copytree(FIXTURES / "tf1" / "sharded", folder / "sharded")
    (folder / "sharded" / "model.ckpt.data-00001-of-00003").unlink()
    return "sharded"


def pointer(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes(LFS)
    return "model.safetensors"


def truncated(folder: Path) -> str:
    (folder / "model.npz").write_bytes((FIXTURES / "npz" / "plain" / "model.npz").read_bytes()[:-30])
    return "model.npz"


def cut(folder: Path) -> str:
    index = (FIXTURES / "tf1" / "momentum" / "model.ckpt.index").read_bytes()
    (folder / "model.ckpt.index").write_bytes(index[: len(index) // 2])
    return "model.ckpt"


def flipped_index(folder: Path) -> str:
    shutil.copytree(FIXTURES / "tf1" / "momentum", folder / "momentum")
    index = bytearray((folder / "momentum" / "model.ckpt.index").read_bytes())
    index[40] ^= 16
    (folder / "momentum" / "model.ckpt.index").write_bytes(index)
    return "momentum/model.ckpt"


def flipped_data(folder: Path) -> str:
    shutil.copytree(FIXTURES / "tf1" / "momentum", folder / "momentum")
    data = bytearray((folder / "momentum" / "model.ckpt.data-00000-of-00001").read_bytes())
    data[40] ^= 16
    (folder / "momentum" / "model.ckpt.data-00000-of-00001").write_bytes(data)
    return "momentum/model.ckpt"


def empty(folder: Path) -> str:
    (folder / "model.ckpt.index").touch()
    return "model.ckpt.index"


def nothing(folder: Path) -> str:
    return "model.ckpt"


def lone_graph(folder: Path) -> str:
    shutil.copy(FIXTURES / "tf1" / "adam" / "model.ckpt-3.meta", folder / "model.ckpt.meta")
    return "model.ckpt.meta"


@pytest.mark.parametrize(
    ("make", "inspected", "converted"),
    [
        (nothing, 3, 3),
        (sharded, 1, 3),
        (pointer, 3, 3),
        (lone_graph, 3, 3),
        (truncated, 4, 4),
        (cut, 4, 4),
        (flipped_index, 4, 4),
        (flipped_data, 0, 4),  # only its values are damaged, and those aren't read
        (empty, 4, 4),
    ],
)
def test_exit_codes(
    *, make: Callable[[Path], str], inspected: int, converted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    source = make(tmp_path)
    assert main(["inspect", source]) == inspected
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    assert main(["convert", source, "out.npz", "--to", "npz"]) == converted
    told = capsys.readouterr()
    assert "error: " in told.out + told.err
    assert main(["convert", source, "out.npz", "--to", "npz", "--json"]) == converted
    assert any(issue["severity"] == "error" for issue in json.loads(capsys.readouterr().out)["issues"])
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"


def test_hostile_names_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a\x1b[31mred", "[red]x[/red]", "new\nline", "rtl\u202egnp", "n" * 300, "../../up"]
    np.savez(tmp_path / "evil.npz", **{name: np.ones(2) for name in names})
    assert main(["inspect", str(tmp_path / "evil.npz")]) == 0
    assert main(["convert", str(tmp_path / "evil.npz"), str(tmp_path / "evil"), "--to", "tf1"]) == 0
    assert main(["inspect", str(tmp_path / "evil"), "--json"]) == 0
    told = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in told.out + told.err)
    assert "[red]x[/red]" in told.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.data-00000-of-00001", "evil.index", "evil.npz"]
