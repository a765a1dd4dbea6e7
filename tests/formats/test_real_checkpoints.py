"""TensorFlow's own checkpoints through npz and safetensors and back: nothing of the Checkpoint is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptmigrate import formats
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.table import Checkpoint

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SOURCES = sorted(p.parent for kind in ("tf1", "tf2") for p in (FIXTURES / kind).glob("*/listing.json"))


def told(checkpoint: Checkpoint) -> dict[str, object]:
    return {key: value for key, value in checkpoint.metadata.items() if key != "used"}


@pytest.mark.parametrize("to", ["npz", "safetensors"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_comes_back_the_same(source: Path, to: str, tmp_path: Path) -> None:
    target = formats.by_name(to)
    assert target.writer is not None
    with formats.open_checkpoint(source) as opened:
        lost = {issue.name for issue in target.writer.check(opened, WriteOptions())}
        written = target.writer.write(opened, tmp_path, f"x.{to}", WriteOptions())
        with formats.open_checkpoint(tmp_path / written.commit) as back:
            assert list(back.variables.values()) == [v for v in opened.variables.values() if v.name not in lost]
            assert back.optimizers == opened.optimizers
            assert back.structure == opened.structure
            assert told(back) == told(opened)
            values = {row.label: row.tensor.read().tolist() for row in back.rows()}
            for row in opened.rows():
                if row.label not in lost:
                    assert repr(values[row.label]) == repr(row.tensor.read().tolist()), row.label
