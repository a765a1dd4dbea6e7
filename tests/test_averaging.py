"""The mean of checkpoints: floats averaged, counters from the newest, one model only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import formats
from ckptmigrate.averaging import average, expand
from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.errors import SourceError, UsageError
from ckptmigrate.wire.bundle_writer import BundleWriter

FLOAT, HALF, LONG = (BY_NAME[name].tf for name in ("float32", "float16", "int64"))


def saved(folder: Path, step: int, kernel: object, shape: tuple[int, ...] = (2,)) -> Path:
    writer = BundleWriter(folder, f"model.ckpt-{step}")
    writer.add_array("bn/moving_variance", HALF, np.full(2, step, np.float16))
    writer.add_array("global_step", LONG, np.array(step, np.int64))
    writer.add_array("w", FLOAT, np.broadcast_to(np.asarray(kernel, np.float32), shape).copy())
    writer.add_array("w/Momentum", FLOAT, np.ones(shape, np.float32))
    writer.finish()
    return folder / f"model.ckpt-{step}"


def test_floats_are_averaged_and_counters_are_the_newest(tmp_path: Path) -> None:
    for step, kernel in ((9, [1, 2]), (10, [2, 4]), (100, [6, 3])):
        saved(tmp_path, step, kernel)
    report = average([str(tmp_path / "model.ckpt-*")], tmp_path / "mean" / "model.ckpt")
    assert (report.verdict, report.exit_code) == ("verified", 0)
    assert [Path(p).name for p in report.details["averaged"]] == [f"model.ckpt-{step}" for step in (9, 10, 100)]
    with formats.open_checkpoint(tmp_path / "mean") as mean:
        assert np.array_equal(mean.variables["w"].tensor.read(), np.array([3, 3], np.float32))
        assert mean.variables["global_step"].tensor.read() == 100
        assert mean.variables["bn/moving_variance"].tensor.dtype.name == "float16"
        assert np.array_equal(mean.variables["bn/moving_variance"].tensor.read(), np.full(2, 119 / 3, np.float16))
        assert mean.optimizers == ()


def test_the_newest_is_named_so_that_it_can_be_told_from_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, same, other = saved(tmp_path / "a", 9, 1.0), saved(tmp_path / "b", 9, 2.0), saved(tmp_path / "b", 8, 2.0)
    for number, (sources, told) in enumerate((([one, same], str(one)), ([one, other], one.name))):
        report = average(sources, tmp_path / f"{number}.npz", to="npz")
        assert [i.message for i in report.issues if i.kind == "average"] == [
            f"mean of 2 checkpoints; counters, tables and strings are those of {told}"
        ]


def test_the_sum_is_rounded_once(tmp_path: Path) -> None:
    """In float32 the small terms would be lost beside the large ones."""
    values = [2.0**24, 1.0, 1.0, -(2.0**24)]
    paths = [saved(tmp_path, step, value) for step, value in enumerate(values)]
    average(paths, tmp_path / "mean.npz", to="npz")
    with formats.open_checkpoint(tmp_path / "mean.npz") as mean:
        assert np.array_equal(mean.variables["w"].tensor.read(), np.full(2, 0.5, np.float32))


def test_checkpoints_of_other_models(tmp_path: Path) -> None:
    one = saved(tmp_path, 1, 1.0)
    two = saved(tmp_path, 2, 1.0, shape=(3,))
    with pytest.raises(SourceError, match=r"variables of other shapes: w: float32 \[3\] and float32 \[2\]"):
        average([one, two], tmp_path / "mean" / "x")
    writer = BundleWriter(tmp_path, "other")
    writer.add_array("global_step", LONG, np.array(3, np.int64))
    writer.finish()
    with pytest.raises(SourceError, match=r"only one of them has: bn/moving_variance, w$"):
        average([one, tmp_path / "other"], tmp_path / "mean" / "x")
    assert not (tmp_path / "mean").exists()


def test_one_checkpoint_is_no_average(tmp_path: Path) -> None:
    one = saved(tmp_path, 1, 1.0)
    with pytest.raises(UsageError, match="two checkpoints or more"):
        average([one, f"{one}.index"], tmp_path / "mean")
    with pytest.raises(SourceError, match="no checkpoint fits this pattern"):
        expand([str(tmp_path / "nothing-*")])
