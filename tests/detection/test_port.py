"""Ports: every variable of the TF2 model is written once, from the TF1 variable that is proven to be its own."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.port import PortOptions, port_detection
from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.errors import MappingError, SourceError, UsageError
from ckptmigrate.report import Report
from ckptmigrate.wire.bundle_messages import BundleEntry, encode_entry, encode_header
from ckptmigrate.wire.bundle_writer import BundleWriter
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.sstable import write_table

Configured = Callable[[str], Pipeline]

STATISTICS = ("beta", "gamma", "moving_mean", "moving_variance")
PADDED = {  # of FPNLite: TF2's last convolution has more channels, and they are dead
    "FeatureExtractor/MobilenetV2/Conv_1/weights",
    "FeatureExtractor/MobilenetV2/fpn/projection_3/weights",
    *(
        f"FeatureExtractor/MobilenetV2/Conv_1/BatchNorm/{n}"
        for n in ("beta", "gamma", "moving_mean", "moving_variance")
    ),
}
REFUSED = {"ssd_mobilenet_v1_025": "twice", "ssd_mobilenet_v2_025": "residual additions in blocks"}


def recorded_checkpoint(recorded: Path, model: str, folder: Path) -> Path:
    """A TF1 checkpoint with the variables of a recorded model, whose values are a hole in a file."""
    entries = json.loads((recorded / f"{model}.tf1.json").read_text("utf-8"))["variables"]
    sizes = [math.prod(e["shape"]) * BY_NAME[e["dtype"]].nbytes for e in entries]
    ends = list(itertools.accumulate(sizes))
    items = {b"": encode_header(1)}
    for entry, size, end in zip(entries, sizes, ends, strict=True):
        stored = BundleEntry(BY_NAME[entry["dtype"]].tf, tuple(entry["shape"]), 0, end - size, size, 0)
        if entry["name"] == "global_step":
            stored = stored._replace(crc32c=mask(crc32c(bytes(size))))
        items[entry["name"].encode()] = encode_entry(stored)
    data = folder / "model.ckpt.data-00000-of-00001"
    data.touch()
    os.truncate(data, ends[-1])
    with (folder / "model.ckpt.index").open("wb") as file:
        write_table(file, sorted(items.items()))
    return folder / "model.ckpt"


def planned(recorded: Path, model: str, config: Pipeline, folder: Path, **asked: object) -> Report:
    source = recorded_checkpoint(recorded, model, folder)
    options = PortOptions(**asked)  # type: ignore[arg-type]
    return port_detection(config.document.source, source, folder / "out", options=options, dry_run=True)


def test_every_variable_of_the_tf2_model_is_written_once(
    model: str, recorded: Path, configured: Configured, tmp_path: Path
) -> None:
    report = planned(recorded, model, configured(model), tmp_path)
    if model in REFUSED:
        assert report.exit_code in (5, 6)
        assert any(REFUSED[model] in issue.message for issue in report.issues)
        return
    assert report.verdict == "planned", [i for i in report.issues if i.severity in ("error", "loss")]
    variables = json.loads((recorded / f"{model}.tf2.json").read_text("utf-8"))["variables"]
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    real = {v["key"].removesuffix(suffix) for v in variables if v["key"].startswith("model/")}
    moved = [r for r in report.rows if r.outcome == "planned" and not r.slot and r.name.startswith("model/")]
    assert sorted(r.name for r in moved) == sorted(real)
    left = {r.name for r in report.rows if r.outcome == "dropped" and not r.slot}
    assert all("/block4/" in name for name in left)
    changed = {r.source for r in moved if r.steps}
    assert changed == (PADDED if model == "ssd_mobilenet_v2_fpnlite" else set())
    pairs = recorded / "pairs" / f"{model}.json"
    if pairs.exists():
        proven = json.loads(pairs.read_text("utf-8"))
        assert {r.source: r.name + suffix for r in moved} == {k: p["tf2"] for k, p in proven.items() if p["tf2"]}


@pytest.mark.parametrize("model", ["ssd_mobilenet_v2_small"])
def test_a_checkpoint_of_another_model(recorded: Path, configured: Configured, tmp_path: Path, model: str) -> None:
    with pytest.raises(MappingError, match="not a checkpoint of ssd_mobilenet_v2: its variables are those of od/rcnn"):
        planned(recorded, "faster_rcnn_resnet50", configured(model), tmp_path)


def test_widths_of_another_configuration(recorded: Path, configured: Configured, tmp_path: Path) -> None:
    report = planned(recorded, "ssd_mobilenet_v2", configured("ssd_mobilenet_v2_025_min8"), tmp_path)
    assert report.exit_code == 5
    assert {i.kind for i in report.issues if i.severity == "error"} <= {"shape", "conflict", "unfilled", "unmatched"}


def test_other_classes_start_anew(recorded: Path, configured: Configured, tmp_path: Path) -> None:
    report = planned(recorded, "mask_rcnn_resnet50", configured("mask_rcnn_resnet50"), tmp_path, num_classes=3)
    anew = {r.name.split("/")[2] for r in report.rows if r.outcome == "filled" and not r.slot}
    assert report.verdict == "planned"
    assert anew == {"_box_prediction_head", "_class_prediction_head", "_third_stage_heads"}
    assert sum(i.kind == "classes" for i in report.issues) == 6
    assert "model.faster_rcnn.num_classes: 3 (was 90)" in [c["change"] for c in report.details["config"]]


def test_rows_of_classes_that_go_on(recorded: Path, configured: Configured, tmp_path: Path) -> None:
    config = configured("ssd_mobilenet_v2_small")
    (tmp_path / "old.pbtxt").write_text(
        "".join(f"item {{ id: {n} name: '{name}' }}\n" for n, name in enumerate("abcde", start=1))
    )
    (tmp_path / "new.pbtxt").write_text(
        "item { id: 2 name: 'd' }\nitem { id: 1 name: 'x' }\nitem { id: 3 name: 'a' }\n"
    )
    report = planned(
        recorded,
        "ssd_mobilenet_v2_small",
        config,
        tmp_path,
        classes=str(tmp_path / "new.pbtxt"),
        old_classes=str(tmp_path / "old.pbtxt"),
    )
    assert report.verdict == "planned"
    steps = {r.steps for r in report.rows if "ClassPredictor" in r.source and not r.slot}
    assert steps == {
        (f"take {{axis: {axis}, blocks: {blocks}, width: 1, rows: [0, -1, 4, 1], with: 0.0}}",)
        for axis in (0, 3)
        for blocks in (3, 6)
    }


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("model { ssd { num_classes: 1\n", SourceError, "pipeline.config:2:1"),
        ("train_config {}", SourceError, "no model in it"),
        (
            "model { ssd { feature_extractor { type: 'ssd_inception_v2' } } }",
            SourceError,
            "no extractor 'ssd_inception_v2'",
        ),
        (
            "model { ssd { feature_extractor { type: 'ssd_mobilenet_v2_keras' } } }",
            SourceError,
            "of the TF2 API already",
        ),
        ("model { center_net { feature_extractor { type: 'x' } } }", SourceError, "of kind center_net"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    file = tmp_path / "pipeline.config"
    file.write_text(text)
    source = tmp_path / "model.ckpt"
    writer = BundleWriter(tmp_path, "model.ckpt")
    writer.finish()
    with pytest.raises(SourceError, match=match):
        port_detection(file, source, tmp_path / "out")


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--num-classes and --classes"):
        port_detection("x", "y", tmp_path, options=PortOptions(num_classes=3, classes="z"))
