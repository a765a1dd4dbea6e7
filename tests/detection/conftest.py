"""Models of the Object Detection API: recorded variables and object graphs, and the configuration of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ckptmigrate.detection.pipeline import Pipeline, read_pipeline

SHARED = Path(__file__).resolve().parents[3] / "shared"
CONFIGS, GRAPHS = SHARED / "od_samples" / "configs" / "tf1", SHARED / "od_manifests" / "object_graphs"

FPN = "ssd_resnet50_v1_fpn_shared_box_predictor_640x640_coco14_sync"
MOBILE_FPN = "ssd_mobilenet_v1_fpn_shared_box_predictor_640x640_coco14_sync"
LITE = "ssd_mobilenet_v2_fpnlite_quantized_shared_box_predictor_256x256_depthmultiplier_75_coco14_sync"
SHARED_TOWER = ("box_predictor", "weight_shared_convolutional_box_predictor", "share_prediction_tower")
EXTRACTOR = "feature_extractor"

# Recorded graph -> the API's configuration for it, and what is changed in that.
CASES: dict[str, tuple[str, dict[tuple[str, ...], str]]] = {
    "ssd_mobilenet_v1": ("ssd_mobilenet_v1_coco", {}),
    "ssd_mobilenet_v2": ("ssd_mobilenet_v2_coco", {}),
    "ssd_mobilenet_v2_small": (
        "ssd_mobilenet_v2_coco",
        {(EXTRACTOR, "depth_multiplier"): "0.25", (EXTRACTOR, "min_depth"): "8", ("num_classes",): "5"},
    ),
    "ssdlite_mobilenet_v2": ("ssdlite_mobilenet_v2_coco", {}),
    "ssd_mobilenet_v1_fpn": (MOBILE_FPN, {}),
    "ssd_mobilenet_v2_fpn": (
        MOBILE_FPN,
        {
            (EXTRACTOR, "type"): '"ssd_mobilenet_v2_fpn"',
            (EXTRACTOR, "fpn", "additional_layer_depth"): "128",
            SHARED_TOWER: "true",
            (*SHARED_TOWER[:2], "depth"): "128",
        },
    ),
    "ssd_mobilenet_v2_fpnlite": (LITE, {(EXTRACTOR, "depth_multiplier"): "1.0"}),
    "ssd_resnet50_v1_fpn": (FPN, {}),
    "ssd_resnet101_v1_fpn": (FPN, {(EXTRACTOR, "type"): '"ssd_resnet101_v1_fpn"'}),
    "ssd_resnet152_v1_fpn": (FPN, {(EXTRACTOR, "type"): '"ssd_resnet152_v1_fpn"'}),
    "faster_rcnn_resnet50": ("faster_rcnn_resnet50_coco", {}),
    "faster_rcnn_resnet101": ("faster_rcnn_resnet101_coco", {}),
    "faster_rcnn_resnet152": ("faster_rcnn_resnet152_coco", {}),
    "faster_rcnn_inception_resnet_v2": ("faster_rcnn_inception_resnet_v2_atrous_coco", {}),
    "mask_rcnn_resnet50": ("mask_rcnn_resnet50_atrous_coco", {}),
    "mask_rcnn_resnet101": ("mask_rcnn_resnet101_atrous_coco", {}),
    "mask_rcnn_inception_resnet_v2": ("mask_rcnn_inception_resnet_v2_atrous_coco", {}),
}


WIDTH, LEAST = (EXTRACTOR, "depth_multiplier"), (EXTRACTOR, "min_depth")
CASES |= {
    "ssd_mobilenet_v1_025": ("ssd_mobilenet_v1_coco", {WIDTH: "0.25"}),
    "ssd_mobilenet_v2_025": ("ssd_mobilenet_v2_coco", {WIDTH: "0.25"}),
    "ssd_mobilenet_v2_025_min8": ("ssd_mobilenet_v2_coco", {WIDTH: "0.25", LEAST: "8"}),
}
SHAPES_ONLY = {"ssd_mobilenet_v1_025", "ssd_mobilenet_v2_025", "ssd_mobilenet_v2_025_min8"}  # no graph is recorded


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded models."""
    if not GRAPHS.is_dir():
        pytest.skip("what real models hold is not beside the project")
    return GRAPHS.parent


@pytest.fixture(params=sorted(CASES))
def model(request: pytest.FixtureRequest, recorded: Path) -> str:
    """The name of a recorded model."""
    return str(request.param)


@pytest.fixture(params=sorted(CASES.keys() - SHAPES_ONLY))
def graphed(request: pytest.FixtureRequest, recorded: Path) -> str:
    """The name of a model whose object graph is recorded."""
    return str(request.param)


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Pipeline]:
    """The TF1 configuration of a recorded model."""
    return lambda name: _configured(name, tmp_path)


def _configured(name: str, tmp_path: Path) -> Pipeline:
    file, edits = CASES[name]
    config = read_pipeline(CONFIGS / f"{file}.config")
    document = config.document
    for path, value in edits.items():
        document = document.replaced(config.model(*path), value)
    changed = tmp_path / "pipeline.config"
    changed.write_text(document.text, "utf-8")
    return read_pipeline(changed)
