"""Which files a V1 checkpoint consists of, and the ways to name one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats.tf1_v1.reader import identify, read

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A copy of the checkpoint in three shards; its prefix."""
    return Path(shutil.copytree(FIXTURES / "tf1-v1" / "sharded", tmp_path / "v1")) / "model.ckpt"


@pytest.mark.parametrize("ending", ["", "-?????-of-00003", "-00000-of-00003", "-00002-of-00003"])
def test_every_way_to_name_shards(sharded: Path, ending: str) -> None:
    path = sharded.with_name(sharded.name + ending)
    assert identify(path)
    checkpoint = read(path)
    assert list(checkpoint.variables) == ["tower_0/w", "tower_1/w", "tower_2/w"]
    assert [slot.variable for slot in checkpoint.optimizers[0].slots] == list(checkpoint.variables)
    assert len(checkpoint.files) == 3


def test_a_missing_shard_is_an_issue(sharded: Path) -> None:
    sharded.with_name("model.ckpt-00001-of-00003").unlink()
    checkpoint = read(sharded)
    (issue,) = checkpoint.issues
    assert (issue.kind, issue.severity) == ("missing", "error")
    assert issue.where.endswith("model.ckpt-00001-of-00003")
    assert list(checkpoint.variables) == ["tower_0/w", "tower_2/w"]


def test_two_sets_of_shards_are_not_chosen_from(sharded: Path) -> None:
    shutil.copy(sharded.with_name("model.ckpt-00000-of-00003"), sharded.with_name("model.ckpt-00000-of-00001"))
    assert not identify(sharded)
    with pytest.raises(SourceError, match="shards of 2 checkpoints") as caught:
        read(sharded)
    assert "-?????-of-00001" in caught.value.hint


def test_optimizers_are_found_by_name() -> None:
    (state,) = read(FIXTURES / "tf1-v1" / "adam" / "model.ckpt").optimizers
    assert (state.kind, state.dialect, state.step) == ("adam", "tf1", 3)
    assert {key.slot for key in state.slots} == {"m", "v"}


def test_values_are_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    shutil.copy(FIXTURES / "tf1-v1" / "partitioned" / "model.ckpt", path)
    checkpoint = read(path)
    path.write_bytes(b"")
    with pytest.raises(DamagedError):
        checkpoint.variables["p/w"].tensor.read()


@pytest.mark.parametrize(
    "path",
    [
        "tf1/adam/model.ckpt-3",
        "tf1/adam/model.ckpt-3.index",
        "tf1/adam/model.ckpt-3.data-00000-of-00001",
        "tf1-v1/adam/checkpoint",
        "tf1-v1/adam",
        "tf1-v1/none",
        "nowhere/none",
    ],
)
def test_what_it_is_not(path: str) -> None:
    assert not identify(FIXTURES / path)


def test_truncated_and_absent_files(tmp_path: Path) -> None:
    whole = (FIXTURES / "tf1-v1" / "adam" / "model.ckpt").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-1])
    assert not identify(tmp_path / "cut")
    with pytest.raises(DamagedError, match="magic"):
        read(tmp_path / "cut")
    with pytest.raises(SourceError, match="no such file"):
        read(tmp_path / "absent")
