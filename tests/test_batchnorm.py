"""Batch normalisations as groups: recognised in every format's names, and never left behind in part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ckptmigrate
from ckptmigrate.batchnorm import batch_norms, torn
from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.table import Checkpoint, Layer, Structure, Tensor, Variable

ROOT = Path(__file__).resolve().parents[1] / "fixtures"
WHOLE = ("gamma", "beta", "mean", "variance")


def holding(names: Sequence[str], *layers: Layer) -> Checkpoint:
    variables = {name: Variable(name, Tensor((3,), FLOAT32), name) for name in names}
    return Checkpoint(Path("test"), "tf1", variables, structure=Structure(layout=layers or None))


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ("gamma beta moving_mean moving_variance", WHOLE),
        ("beta moving_mean moving_variance", ("beta", "mean", "variance")),
        ("moving_mean moving_variance", ("mean", "variance")),
        (
            "gamma moving_mean moving_variance renorm_mean renorm_mean_weight renorm_stddev renorm_stddev_weight",
            ("gamma", "mean", "variance", "renorm_mean", "renorm_mean_weight", "renorm_stddev", "renorm_stddev_weight"),
        ),
        (
            "gamma beta moving_mean moving_variance moving_stddev renorm_mean renorm_stddev",
            (*WHOLE, "moving_stddev", "renorm_mean", "renorm_stddev"),
        ),
        ("_gamma _beta running_mean running_std", WHOLE),
        ("weight bias running_mean running_var num_batches_tracked", (*WHOLE, "batches")),
        ("vars/0 moving_mean moving_variance", ("vars/0", "mean", "variance")),
        ("vars/0 vars/1", ()),
        ("gamma beta", ()),  # a LayerNorm
        ("weight bias", ()),
        ("kernel bias", ()),
    ],
)
def test_parts(names: str, parts: tuple[str, ...]) -> None:
    groups = batch_norms(holding([f"block/x/{name}" for name in names.split()]))
    assert [tuple(group.parts) for group in groups.values()] == ([parts] if parts else [])
    assert all(group.layer == "block/x" and not group.lacks for group in groups.values())


def test_names_with_dots() -> None:
    group = batch_norms(holding(["layer1.0.bn1.weight", "layer1.0.bn1.running_mean"]))["layer1.0.bn1"]
    assert group.parts == {"gamma": "layer1.0.bn1.weight", "mean": "layer1.0.bn1.running_mean"}
    assert group.lacks == ("variance",)


@pytest.mark.parametrize("layer", ["BatchNorm", "a/BatchNorm_3", "batch_normalization_12", "m/bn2", "conv1_bn", "BN"])
def test_called_so_it_counts_without_statistics(layer: str) -> None:
    assert batch_norms(holding([f"{layer}/gamma", f"{layer}/beta"]))[layer].lacks == ("mean", "variance")


def test_of_the_class_it_counts_without_statistics() -> None:
    names = ["norm/gamma", "norm/beta", "other/gamma", "other/beta"]
    layers = Layer("norm", "BatchNormalization"), Layer("other", "LayerNormalization")
    assert list(batch_norms(holding(names, *layers))) == ["norm"]


def test_twins() -> None:
    group = batch_norms(holding(["bn/moving_mean", "bn/moving_mean_1", "bn/moving_variance"]))["bn"]
    assert group.twins == ("bn/moving_mean_1",)
    assert group.parts == {"mean": "bn/moving_mean", "variance": "bn/moving_variance"}


@pytest.mark.parametrize(
    ("fixture", "count", "parts"),
    [
        ("tf1/slim", 1, WHOLE),
        ("tf1-v1/adam", 1, ("beta", "mean", "variance")),
        ("od/ssd_mobilenet_v2_tf1", 60, WHOLE),
        ("od/ssd_mobilenet_v2_tf2", 60, WHOLE),
        ("tf2/keras3_adam", 1, WHOLE),
        ("savedmodel/tf_keras_adam/model", 1, WHOLE),
        ("savedmodel/keras3_saved/model", 1, WHOLE),
        ("keras-h5/k1_adam", 1, WHOLE),
        ("keras-h5/k22_adam", 1, WHOLE),
        ("keras-h5/k3_zoo", 4, WHOLE),
        ("keras-v3/keras3_layers", 4, WHOLE),
        ("keras-v3/keras3_subclassed", 1, WHOLE),
        ("keras-v3/keras35_weights", 1, WHOLE),
    ],
)
def test_in_every_format(fixture: str, count: int, parts: tuple[str, ...]) -> None:
    with ckptmigrate.open(ROOT / fixture) as checkpoint:
        groups = list(batch_norms(checkpoint).values())
        roles = [v.name for v in checkpoint.variables.values() if v.role in ("bn_mean", "bn_variance")]
    assert len(groups) == count
    assert set(groups[0].parts) == set(parts)
    statistics = [group.parts[part] for group in groups for part in ("mean", "variance")]
    assert sorted(statistics) == sorted(roles)


LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")
MOVED = {f"bn/{leaf}": (f"there/{leaf}",) for leaf in LEAVES}


@pytest.mark.parametrize(
    ("gone", "has_template", "severities"),
    [
        ("moving_mean", False, ["error"]),
        ("moving_mean moving_variance", True, ["error"]),
        ("gamma moving_variance", True, ["error"]),
        ("gamma", False, ["error"]),
        ("gamma", True, ["loss"]),
        ("gamma beta", True, ["loss"]),
        ("gamma beta moving_mean moving_variance", False, []),
        ("", False, []),
    ],
)
def test_left_behind(gone: str, has_template: bool, severities: list[str]) -> None:
    names = {f"bn/{leaf}": "m.yaml:3" for leaf in gone.split()}
    targets = {name: to for name, to in MOVED.items() if name not in names}
    issues = torn(holding(list(MOVED)), names, targets, has_template=has_template)
    assert [i.severity for i in issues] == severities
    assert all(i.kind == "incomplete" and i.name == "bn" and i.where == "m.yaml:3" for i in issues)


def test_parts_that_go_apart() -> None:
    crossed = {**MOVED, "bn/moving_variance": ("elsewhere/moving_variance",)}
    (issue,) = torn(holding(list(MOVED)), {}, crossed, has_template=True)
    assert (issue.kind, issue.severity) == ("batchnorm", "warning")
    assert issue.message.endswith("elsewhere, there")
    renamed = {name: (f"batch_stats/{name}",) if "moving" in name else ("params/bn/scale",) for name in MOVED}
    assert torn(holding(list(MOVED)), {}, renamed, has_template=False) == []


def converted(tmp_path: Path, **options: Any) -> ckptmigrate.Report:
    return ckptmigrate.convert(ROOT / "tf1" / "slim", tmp_path / "out.npz", to="npz", **options)


def test_a_conversion_that_tears_one_apart_is_refused(tmp_path: Path) -> None:
    report = converted(tmp_path, drop=["{layer:path}/moving_mean"], allow_loss=True)
    assert (report.verdict, report.exit_code) == ("refused", 5)
    (issue,) = [i for i in report.issues if i.severity == "error"]
    assert (
        issue.message == "tears a batch normalisation apart: drops moving_mean and moves beta, gamma, moving_variance"
    )
    assert issue.where == "--drop"


def test_the_whole_of_it_may_be_dropped_and_started_anew(tmp_path: Path) -> None:
    assert converted(tmp_path, drop=["{layer:path}/BatchNorm/{leaf}"]).verdict == "verified"
    anew = tmp_path / "anew"
    anew.mkdir()
    assert converted(anew, reinit=["{layer:path}/moving_mean", "{layer:path}/moving_variance"]).verdict == "verified"
    with ckptmigrate.open(anew / "out.npz") as written:
        (group,) = batch_norms(written).values()
        values = [written.variables[group.parts[part]].tensor.read().tolist() for part in ("mean", "variance")]
    assert [set(v) for v in values] == [{0.0}, {1.0}]
