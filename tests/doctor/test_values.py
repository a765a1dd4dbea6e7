"""What is wrong with values: each finding is shown by a checkpoint that has it, and by none in a healthy one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate.cli.main import main
from ckptmigrate.doctor import Diagnosis, diagnose
from ckptmigrate.doctor.scan import Scan, scan
from ckptmigrate.dtypes import BY_NAME, FLOAT32
from ckptmigrate.listing import CHUNK
from ckptmigrate.table import Tensor

from .conftest import Arrays, save

Examined = Callable[..., Diagnosis]
NORM = "net/conv/BatchNorm"
CONV = "net/conv/weights"


def test_nothing_is_found_in_a_healthy_checkpoint(examined: Examined, healthy: Arrays) -> None:
    found = examined(healthy, against=healthy)
    assert [i.message for i in found.findings] == ["8 of the other's 8 variables would be restored, found by keys"]
    assert found.exit_code == 0
    assert found.tensors == len(healthy)


def filled(healthy: Arrays, name: str, value: float) -> Arrays:
    return {**healthy, name: np.full_like(healthy[name], value)}


def put(healthy: Arrays, name: str, at: tuple[int, ...], value: float) -> Arrays:
    array = healthy[name].copy()
    array[at] = value
    return {**healthy, name: array}


def without(healthy: Arrays, *endings: str) -> Arrays:
    return {name: array for name, array in healthy.items() if not name.endswith(endings)}


def twins(healthy: Arrays, trained: str) -> Arrays:
    both = {f"{NORM}/moving_mean": np.zeros(4, np.float32), f"{NORM}/moving_mean_1": np.zeros(4, np.float32)}
    return {**healthy, **both, f"{NORM}/{trained}": healthy[f"{NORM}/moving_mean"]}


def fresh_statistics(healthy: Arrays) -> Arrays:
    return filled(filled(healthy, f"{NORM}/moving_mean", 0), f"{NORM}/moving_variance", 1)


def fresh_norm(healthy: Arrays) -> Arrays:
    return filled(filled(fresh_statistics(healthy), f"{NORM}/gamma", 1), f"{NORM}/beta", 0)


def fresh_slots(healthy: Arrays) -> Arrays:
    return {name: array * 0 if "/Adam" in name else array for name, array in healthy.items()}


def averages(healthy: Arrays, by: float) -> Arrays:
    return {
        **healthy,
        **{f"{name}/ExponentialMovingAverage": healthy[name] * np.float32(by) for name in (CONV, "net/logits/weights")},
    }


BROKEN: list[tuple[str, Callable[[Arrays], Arrays], list[tuple[str, str, str, str]]]] = [
    (
        "NaN in a weight",
        lambda h: put(put(h, CONV, (0, 1, 0, 2), np.nan), CONV, (2, 0, 0, 0), np.inf),
        [("nan", "error", CONV, "1 NaN and 1 infinite of 72 values, the first at [0,1,0,2]: every output")],
    ),
    (
        "NaN in a slot",
        lambda h: put(h, f"{CONV}/Adam", (0, 0, 0, 1), np.nan),
        [("nan", "error", f"{CONV}:m", "1 NaN of 72 values, the first at [0,0,0,1]: the first step")],
    ),
    (
        "NaN in a counter",
        lambda h: {**h, "beta1_power": np.array(np.nan, np.float32)},
        [("nan", "error", "Adam.beta1_power", "every value is NaN: the next step")],
    ),
    (
        "a negative variance",
        lambda h: put(h, f"{NORM}/moving_variance", (3,), -0.25),
        [("batchnorm", "error", f"{NORM}/moving_variance", "a variance below 0 (-0.25)")],
    ),
    (
        "a variance of 0",
        lambda h: filled(h, f"{NORM}/moving_variance", 0),
        [("batchnorm", "error", f"{NORM}/moving_variance", "a variance of 0 everywhere")],
    ),
    (
        "statistics that were never updated",
        fresh_statistics,
        [("batchnorm", "error", NORM, "its statistics were never updated (mean 0, variance 1), though it was trained")],
    ),
    (
        "statistics of a layer that was never trained",
        fresh_norm,
        [("batchnorm", "warning", NORM, "its statistics are those it starts with")],
    ),
    (
        "no statistics",
        lambda h: without(h, "moving_mean", "moving_variance"),
        [("batchnorm", "error", NORM, "a batch normalisation without its moving mean and moving variance")],
    ),
    (
        "half of the statistics",
        lambda h: without(h, "moving_variance"),
        [("batchnorm", "error", NORM, "a batch normalisation without its moving variance")],
    ),
    (
        "twins, of which the second was trained",
        lambda h: twins(h, "moving_mean_1"),
        [("batchnorm", "warning", f"{NORM}/moving_mean_1", "stands beside moving_mean: the graph was built twice")],
    ),
    (
        "half a set of slots",
        lambda h: without(h, "conv/weights/Adam_1"),
        [("slot", "error", CONV, "half a set of slots of Adam: m and no v")],
    ),
    (
        "a slot of another shape",
        lambda h: {**h, f"{CONV}/Adam": np.zeros((3, 3, 2, 8), np.float32)},
        [
            ("slot", "error", f"{CONV}/Adam", "is called like a slot of Adam, but is [3, 3, 2, 8], and"),
            ("slot", "error", CONV, "half a set of slots"),
        ],
    ),
    (
        "a variable without slots",
        lambda h: without(h, "logits/biases/Adam", "logits/biases/Adam_1"),
        [("slot", "warning", "net/logits/biases", "may be trained and has no slots, as others have")],
    ),
    (
        "a second moment below 0",
        lambda h: put(h, f"{CONV}/Adam_1", (0, 0, 0, 0), -1.0),
        [("slot", "error", CONV, "slot v averages squares, and goes down to -1: the next step makes NaN of it")],
    ),
    (
        "slots that were never used",
        fresh_slots,
        [("optimizer", "warning", "Adam", "every slot is what it starts with")],
    ),
    (
        "no optimizer",
        lambda h: without(h, "/Adam", "/Adam_1", "_power"),
        [("optimizer", "note", "", "there is no optimizer state: predictions need none")],
    ),
    (
        "a step that is no whole number",
        lambda h: {**h, "global_step": np.array(3, np.float32)},
        [("dtype", "warning", "global_step", "is a float32, where int64 is expected")],
    ),
    (
        "averages",
        lambda h: averages(h, 0.5),
        [("averages", "warning", "ExponentialMovingAverage", "averages of 2 variables stand beside the raw weights")],
    ),
    ("averages that the weights are", lambda h: averages(h, 1), []),
]


@pytest.mark.parametrize(("edit", "expected"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_findings(
    edit: Callable[[Arrays], Arrays], expected: list[tuple[str, str, str, str]], examined: Examined, healthy: Arrays
) -> None:
    found = examined(edit(healthy))
    told = [i for i in found.findings if i.kind != "orphan" and not (i.kind == "slot" and "global_step" in i.name)]
    assert [(i.kind, i.severity, i.name) for i in told] == [row[:3] for row in expected]
    for issue, row in zip(told, expected, strict=True):
        assert issue.message.startswith(row[3])
    assert found.exit_code == any(row[1] == "error" for row in expected)
    assert all(i.hint for i in told if i.severity in ("error", "warning"))


@pytest.mark.parametrize(("edit", "expected"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_proposed_commands_mend(
    edit: Callable[[Arrays], Arrays], expected: object, tmp_path: Path, examined: Examined, healthy: Arrays
) -> None:
    """Every conversion that a finding proposes runs, and the finding is gone from what it writes."""
    for issue in examined(edit(healthy)).findings:
        for command in re.findall(r"ckptmigrate (convert .*)", issue.hint):
            mended = tmp_path / "mended"
            words = [str(mended) if word == "DST" else word for word in shlex.split(command)]
            assert main([*words, "--force"]) == 0
            again = diagnose(mended).findings
            assert (issue.kind, issue.name, issue.message) not in [(i.kind, i.name, i.message) for i in again]


def test_which_twin_was_trained(examined: Examined, healthy: Arrays) -> None:
    messages = [examined(twins(healthy, name)).findings[0].message for name in ("moving_mean", "moving_mean_1")]
    assert [message.partition("; ")[2] for message in messages] == [
        "moving_mean_1 never was, so it is moving_mean",
        "moving_mean never was, so it is moving_mean_1",
    ]


@pytest.mark.parametrize("trained", ["moving_mean", "moving_mean_1"])
def test_the_mapping_that_takes_the_trained_twin(trained: str, tmp_path: Path, healthy: Arrays) -> None:
    prefix = save(tmp_path / "model.ckpt", twins(healthy, trained))
    hint = next(i.hint for i in diagnose(prefix).findings if i.kind == "batchnorm")
    (tmp_path / "m.yaml").write_text(hint.partition("\n")[2] + "\n")
    mended = tmp_path / "mended"
    assert ckptmigrate.convert(prefix, mended, to="tf1", mapping=str(tmp_path / "m.yaml")).verdict == "verified"
    assert diagnose(mended).findings == ()
    with ckptmigrate.open(mended) as checkpoint:
        values = checkpoint.variables[f"{NORM}/moving_mean"].tensor.read()
    assert np.array_equal(values, healthy[f"{NORM}/moving_mean"])


def test_inspect_with_statistics_says_so(tmp_path: Path, healthy: Arrays, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = str(save(tmp_path / "model.ckpt", fresh_statistics(healthy)))
    assert main(["inspect", prefix]) == 0
    assert "never updated" not in capsys.readouterr().out
    assert main(["inspect", prefix, "--stats"]) == 1
    assert f"error: {NORM}: its statistics were never updated (mean 0, variance 1)" in capsys.readouterr().out


def test_the_index_of_another_save(tmp_path: Path, healthy: Arrays) -> None:
    """Every checksum of the data file is wrong: that is no damage, but another file."""
    prefix = save(tmp_path / "a" / "model.ckpt", healthy)
    other = {name: array + array.dtype.type(1) for name, array in healthy.items()}
    data = ".data-00000-of-00001"
    newer = save(tmp_path / "b" / "model.ckpt", other)
    prefix.with_name(prefix.name + data).write_bytes(newer.with_name(newer.name + data).read_bytes())
    (issue,) = diagnose(prefix).findings
    assert (issue.kind, issue.severity, issue.name) == ("damaged", "error", "model.ckpt" + data)
    assert issue.message.startswith(f"{len(healthy)} of its {len(healthy)} tensors don't have the checksums")


def test_one_damaged_tensor(tmp_path: Path, healthy: Arrays) -> None:
    prefix = save(tmp_path / "model.ckpt", healthy)
    data = prefix.with_name(prefix.name + ".data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    at = raw.find(healthy[CONV].tobytes())
    raw[at] ^= 1
    data.write_bytes(raw)
    (issue,) = diagnose(prefix).findings
    assert (issue.kind, issue.severity, issue.name) == ("damaged", "error", CONV)
    assert issue.message.startswith("the checksum of 288 bytes is")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, CHUNK + 8])
def test_scan(dtype: str, at: int) -> None:
    values: np.ndarray[Any, Any] = np.ones((2, CHUNK // 2 + 5), BY_NAME[dtype].numpy)
    values.reshape(-1)[at] = np.inf
    values.reshape(-1)[-1] = np.nan
    first = tuple(int(i) for i in np.unravel_index(at, values.shape))
    assert scan(Tensor.of(values, BY_NAME[dtype])) == Scan(values.size, 1, 1, first, 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([np.nan, np.inf], np.float32), Scan(2, 1, 1, (0,), 0.0, 0.0)),
        (np.zeros((0, 3), np.float32), Scan(0, 0, 0, (), 0.0, 0.0)),
        (np.array(-2.5, np.float32), Scan(1, 0, 0, (), -2.5, -2.5)),
    ],
)
def test_scan_of_few(values: np.ndarray[Any, Any], expected: Scan) -> None:
    assert scan(Tensor.of(values, FLOAT32)) == expected
    assert not expected.is_all(0.0)


def test_whole_numbers_are_not_scanned() -> None:
    assert scan(Tensor.of(np.arange(3, dtype=np.int64), BY_NAME["int64"])) is None
