"""What a user asks of `convert`, `verify` and `diff`, option by option, on checkpoints that TensorFlow wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptmigrate import convert
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.verification import diff

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAMED = {
    "tf1/adam_scopes": "model.ckpt",
    "tf1/adam_named": "model.ckpt",
    "tf1/keras_adam": "model.ckpt",
    "tf2/ema": "ckpt-1",
    "tf2/keras2_adam": "ckpt-1",
    "tf2/tf1_optimizer": "ckpt-1",
    "tf2/functional": "ckpt-1",
}


def keys(path: Path) -> list[tuple[str, str, str, str]]:
    """Every tensor's place and stored key, in the file's order."""
    with open_checkpoint(path) as checkpoint:
        return [(row.optimizer, row.name, row.slot, row.key) for row in checkpoint.rows()]


@pytest.mark.parametrize("through", ["npz", "safetensors"])
@pytest.mark.parametrize("name", NAMED)
def test_containers_remember_where_their_tensors_are_from(name, through, tmp_path):
    """Keys, dialects and the object graph come back, also by way of two containers."""
    source = FIXTURES / name / NAMED[name]
    first, second = tmp_path / f"a.{through}", tmp_path / "b.npz"
    back = tmp_path / "back"
    assert convert(source, first, to=through).exit_code == 0
    assert convert(first, second, to="npz").exit_code == 0
    assert convert(second, back, to=name[:3]).exit_code == 0
    assert keys(back) == keys(source)
    assert diff(source, back).verdict == "verified"
    with open_checkpoint(source) as a, open_checkpoint(back) as b:
        assert [(o.kind, o.dialect, o.step) for o in a.optimizers] == [
            (o.kind, o.dialect, o.step) for o in b.optimizers
        ]
        assert a.structure.objects == b.structure.objects
