"""What a pipeline.config asks of a checkpoint, with the line and column of what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptmigrate.doctor import diagnose
from ckptmigrate.errors import SourceError

SSD = Path(__file__).resolve().parents[2] / "fixtures" / "od" / "ssd_mobilenet_v2_tf1" / "model.ckpt"
CONFIG = """\
model {{
  ssd {{ num_classes: {classes} }}
}}
train_config {{
  fine_tune_checkpoint: "{start}"
  fine_tune_checkpoint_type: "{kind}"
}}
eval_config {{ use_moving_averages: {averages} }}
"""


def found(tmp_path: Path, **fields: object) -> list[tuple[str, str, str, str]]:
    """(kind, severity, message, line and column) of what a configuration adds."""
    config = tmp_path / "pipeline.config"
    given = {"classes": 3, "start": "x/model.ckpt", "kind": "detection", "averages": "true"}
    config.write_text(CONFIG.format(**{**given, **fields}))
    issues = diagnose(SSD, pipeline_config=config).findings
    return [
        (i.kind, i.severity, i.message, i.where.removeprefix(f"{config}:"))
        for i in issues
        if i.kind in ("head", "pipeline", "averages")
    ]


def test_a_configuration_that_fits(tmp_path: Path) -> None:
    (averages, kind) = found(tmp_path, classes=3)
    assert averages[:2] == ("averages", "warning")
    assert kind == (
        "pipeline",
        "note",
        "fine_tune_checkpoint_type detection restores the feature extractor alone in TF2: box and class predictors "
        "start anew",
        "6:3",
    )


def test_another_number_of_classes(tmp_path: Path) -> None:
    heads = [row for row in found(tmp_path, classes=10) if row[0] == "head"]
    assert len(heads) == 12
    assert {row[1] for row in heads} == {"error"}
    assert {row[3] for row in heads} == {"2:9"}
    assert "no multiple of 11 or 10: it is the head of another number of classes than num_classes: 10" in heads[0][2]


@pytest.mark.parametrize(
    ("start", "severity", "message"),
    [
        (
            "PATH_TO_BE_CONFIGURED/model.ckpt",
            "error",
            "fine_tune_checkpoint was never set: training starts from scratch",
        ),
        ("x/model.ckpt.index", "error", "fine_tune_checkpoint names a file, model.ckpt.index: a prefix is wanted"),
        ("x/other.ckpt", "note", "fine_tune_checkpoint is another checkpoint than this one: x/other.ckpt"),
    ],
)
def test_where_training_starts(start: str, severity: str, message: str, tmp_path: Path) -> None:
    assert found(tmp_path, start=start)[1] == ("pipeline", severity, message, "5:3")


def test_averages_that_are_not_asked_for(tmp_path: Path) -> None:
    assert found(tmp_path, averages="false")[0][:2] == ("averages", "note")


def test_averages_that_are_missing(tmp_path: Path) -> None:
    config = tmp_path / "pipeline.config"
    config.write_text(CONFIG.format(classes=3, start="x", kind="full", averages="true"))
    issues = diagnose(SSD.parents[2] / "tf1" / "adam", pipeline_config=config).findings
    assert [i.severity for i in issues if i.kind == "averages"] == ["error"]


def test_what_is_no_pipeline(tmp_path: Path) -> None:
    config = tmp_path / "pipeline.config"
    config.write_text("item { id: 1 }")
    assert [i.message for i in diagnose(SSD, pipeline_config=config).findings if i.kind == "pipeline"] == [
        "no `model { ... }` in it: it is no pipeline of the Object Detection API"
    ]


@pytest.mark.parametrize(("text", "where"), [("model {\n  ssd {", ":2:8"), ("model {\n  :", ":2:3"), (None, "")])
def test_what_cannot_be_read(text: str | None, where: str, tmp_path: Path) -> None:
    config = tmp_path / "pipeline.config"
    if text is not None:
        config.write_text(text)
    with pytest.raises(SourceError) as caught:
        diagnose(SSD, pipeline_config=config)
    assert caught.value.where == f"{config}{where}"
