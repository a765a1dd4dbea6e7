"""`--drop` and `--reinit`: heads that change, stated values and shapes, what slots and configurations become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate import convert, verify
from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.errors import UsageError
from ckptmigrate.initialisers import WORDS, settled, tensor_of

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ADAM = FIXTURES / "tf1" / "adam" / "model.ckpt-3"
RMSPROP = FIXTURES / "tf1" / "rmsprop" / "model.ckpt"
LAYERS = FIXTURES / "keras-v3" / "keras3_adam" / "m.keras"


def converted(source: Path, target: Path, to: str, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """The report, and every tensor of the output by its label."""
    report = convert(source, target, to=to, **options)
    assert report.verdict == "verified", report.issues
    with ckptmigrate.open(target) as checkpoint:
        return report, {row.label: row.tensor.read() for row in checkpoint.rows()}


def test_what_is_stated(tmp_path: Path) -> None:
    report, now = converted(ADAM, tmp_path / "x", "tf1", reinit=("conv/kernel=he_normal[..., 7]", "conv/bias=0.5[7]"))
    assert now["conv/kernel"].shape == now["conv/kernel:m"].shape == (3, 3, 2, 7)
    np.testing.assert_array_equal(now["conv/bias"], np.full(7, 0.5, np.float32))
    assert not now["conv/kernel:m"].any()
    assert (now["global_step"], report.counts["filled"]) == (3, 6)
    told = {(row.name, row.slot, row.outcome): row.detail for row in report.rows}
    assert told["conv/kernel", "", "filled"] == "with he_normal, seed 0; had shape [3, 3, 2, 4]"
    assert told["conv/kernel", "m", "filled"] == "initial value 0"
    assert told["conv/kernel", "", "dropped"] == "--reinit conv/kernel=he_normal[..., 7]"
    assert verify(ADAM, tmp_path / "x").verdict == "verified"


def test_a_seed_decides(tmp_path: Path) -> None:
    seeds = {"a": 0, "b": 0, "c": 7}
    drawn = {
        name: converted(ADAM, tmp_path / f"{name}.npz", "npz", reinit=("conv/kernel",), seed=seed)[1]["conv/kernel"]
        for name, seed in seeds.items()
    }
    np.testing.assert_array_equal(drawn["a"], drawn["b"])
    assert (drawn["a"] != drawn["c"]).all()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert verify(ADAM, tmp_path / "c.npz").verdict == "verified"


def test_the_template_tells_value_and_shape(tmp_path: Path) -> None:
    _, new = converted(ADAM, tmp_path / "new", "tf1", reinit=("conv/kernel=normal[..., 7]", "conv/bias=normal[7]"))
    options = {"template": str(tmp_path / "new"), "reinit": ("conv/{leaf}",)}
    report, now = converted(ADAM, tmp_path / "x", "tf1", **options)
    np.testing.assert_array_equal(now["conv/kernel"], new["conv/kernel"])
    assert not now["conv/kernel:v"].any()
    assert {"from the template; had shape [4]"} <= {row.detail for row in report.rows}
    report = convert(ADAM, tmp_path / "y", to="tf1", template=str(tmp_path / "new"), reinit=("conv/{leaf}=zeros[9]",))
    assert {i.name for i in report.issues if i.kind == "shape"} == {"conv/kernel", "conv/bias"}


def test_the_later_pattern_wins(tmp_path: Path) -> None:
    _, now = converted(ADAM, tmp_path / "x", "tf1", reinit=("conv/{leaf}=ones[..., 5]", "conv/bias=0.25"))
    assert (now["conv/kernel"] == 1).all()
    np.testing.assert_array_equal(now["conv/bias"], np.full(5, 0.25, np.float32))


def test_slots_start_as_the_optimizer_starts_them(tmp_path: Path) -> None:
    with ckptmigrate.open(RMSPROP) as checkpoint:
        name = next(key.variable for key in checkpoint.optimizers[0].slots)
    _, now = converted(RMSPROP, tmp_path / "x", "tf1", reinit=(name,))
    assert (now[f"{name}:rms"] == 1).all()
    assert not now[f"{name}:momentum"].any()


def test_batch_normalisation(tmp_path: Path) -> None:
    _, now = converted(ADAM, tmp_path / "x", "tf1", reinit=("conv/BatchNorm/{part}",))
    assert (now["conv/BatchNorm/moving_variance"] == 1).all()
    assert not now["conv/BatchNorm/moving_mean"].any()
    assert "conv/BatchNorm/moving_variance:m" not in now
    report = convert(ADAM, tmp_path / "y", to="tf1", reinit=("conv/BatchNorm/moving_mean",))
    (loss,) = (issue for issue in report.issues if issue.severity == "loss")
    assert (report.exit_code, loss.hint) == (5, "--reinit 'conv/BatchNorm/moving_variance' as well")


@pytest.mark.parametrize("option", ["drop", "reinit"])
def test_a_pattern_that_fits_nothing(option: str, tmp_path: Path) -> None:
    report = convert(ADAM, tmp_path / "x", to="tf1", **{option: ("conv/kernal",)})
    (error,) = report.issues
    assert (report.verdict, report.exit_code, error.where) == ("refused", 5, f"--{option}")
    assert "conv/kernel" in error.hint


def test_optimizer_state_is_dropped_otherwise(tmp_path: Path) -> None:
    for pattern in ("Adam", "conv/kernel/Adam"):
        report = convert(ADAM, tmp_path / "x", to="tf1", drop=(pattern,))
        assert "--optimizer drop" in report.issues[0].hint


@pytest.mark.parametrize(
    "text", ["a=xavier", "a=zeros[", "a=normal:-1", "a=zeros:3", "a=[1.5]", "a=ones[7, ...]", "{a"]
)
def test_what_cannot_be_read(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        convert(ADAM, tmp_path / "x", to="tf1", reinit=(text,))


def test_a_configuration_follows(tmp_path: Path) -> None:
    """The variable stays in its layer, in its role and place; the layer's width is told anew."""
    with ckptmigrate.open(LAYERS) as before:
        layout = before.structure.layout
    report, _ = converted(LAYERS, tmp_path / "x.keras", "keras-v3", reinit=("d2/{x}=default[..., 9]",))
    assert any("units=9" in issue.message for issue in report.issues)
    with ckptmigrate.open(tmp_path / "x.keras") as after:
        assert after.structure.layout == layout
        assert after.variables["d2/kernel"].tensor.shape[-1] == 9
        assert after.optimizers[0].slots.keys() == before.optimizers[0].slots.keys()
        assert after.optimizers[0].order == before.optimizers[0].order


def test_a_configuration_that_nobody_understands(tmp_path: Path) -> None:
    with ckptmigrate.open(LAYERS) as before:
        name = next(v.name for v in before.variables.values() if v.role == "bn_mean")
    report = convert(
        LAYERS, tmp_path / "x.keras", to="keras-v3", reinit=(f"{name.rpartition('/')[0]}/{{x}}=default[9]",)
    )
    (error,) = (issue for issue in report.issues if issue.severity == "error")
    assert (report.verdict, error.kind) == ("refused", "shape")
    assert "--template" in error.hint


def test_a_broken_configuration_stops_the_run(tmp_path: Path) -> None:
    with ckptmigrate.open(LAYERS) as good:
        blobs = {**good.structure.blobs, "model_config": b'{"config": '}
        broken = replace(good, structure=replace(good.structure, blobs=blobs))
        report = convert(broken, tmp_path / "x.npz", to="npz", reinit=("d2/kernel=zeros[4, 9]",))
    assert [issue.kind for issue in report.issues if issue.severity == "error"] == ["shape"]


@pytest.mark.parametrize("word", [*WORDS, "normal:0.02"])
def test_every_word_gives_the_shape(word: str) -> None:
    value = settled(word, "head/kernel", (3, 3, 8, 4))
    drawn = tensor_of(value, "head/kernel", (3, 3, 8, 4), FLOAT32, 0).read()
    assert (drawn.shape, drawn.dtype) == ((3, 3, 8, 4), np.float32)
    assert tensor_of(value, "scale", (), FLOAT32, 0).read().shape == ()
    assert tensor_of(value, "none", (0, 4), FLOAT32, 0).read().size == 0


def test_a_name_that_is_no_utf8_draws_its_own_values():
    drawn = [tensor_of("glorot_uniform", f"caf{c}", (4, 5), FLOAT32, 0).read() for c in "\udce9\udce8"]
    assert not np.array_equal(*drawn)
