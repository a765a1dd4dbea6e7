"""The derived object graphs are those of the real models: every node, edge and name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ckptmigrate.detection.pipeline import Pipeline, read_pipeline
from ckptmigrate.detection.rcnn import rcnn_model
from ckptmigrate.detection.ssd import EXTRACTORS, ssd_model
from ckptmigrate.detection.tracked import Tracked, Variable, functional, graph_of, layer, listed, plain, walk
from ckptmigrate.objects import VALUE_SUFFIX, Attribute, Edge
from ckptmigrate.wire.object_graph import decode_graph

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

recorded = pytest.mark.skipif(not GRAPHS.is_dir(), reason="what real models hold is not beside the project")


def configured(name: str, tmp_path: Path) -> Pipeline:
    file, edits = CASES[name]
    config = read_pipeline(CONFIGS / f"{file}.config")
    document = config.document
    for path, value in edits.items():
        document = document.replaced(config.model(*path), value)
    changed = tmp_path / "pipeline.config"
    changed.write_text(document.text, "utf-8")
    return read_pipeline(changed)


def model_of(config: Pipeline) -> Tracked:
    if config.architecture == "ssd":
        return ssd_model(config, EXTRACTORS[config.extractor])
    return rcnn_model(config, config.extractor.removeprefix("faster_rcnn_"))


@recorded
@pytest.mark.parametrize("name", sorted(CASES.keys() - SHAPES_ONLY))
def test_the_graph_is_the_recorded_one(name: str, tmp_path: Path) -> None:
    model = model_of(configured(name, tmp_path))
    counters = {
        "step": Tracked(variable=Variable("global_step")),
        "save_counter": Tracked(variable=Variable("save_counter")),
    }
    derived = graph_of(Tracked({"model": model, "optimizer": plain(), **counters}))
    recorded = decode_graph(gzip.decompress((GRAPHS / f"{name}.pb.gz").read_bytes()), name)
    assert derived == recorded


@recorded
@pytest.mark.parametrize("name", CASES)
def test_names_and_shapes_are_the_recorded_ones(name: str, tmp_path: Path) -> None:
    model = Tracked({"model": model_of(configured(name, tmp_path))})
    derived = {
        path + VALUE_SUFFIX: (item.variable.name, list(item.variable.shape))
        for item, path in walk(model)
        if item.variable is not None
    }
    listing = json.loads((GRAPHS.parent / f"{name}.tf2.json").read_text("utf-8"))["variables"]
    real = {v["key"]: (v["name"], v["shape"]) for v in listing if v["key"].startswith("model/")}
    assert derived == real


def test_a_shared_object_has_the_key_of_its_first_path() -> None:
    shared = layer("conv", kernel=(1, 1))
    root = Tracked({"deep": Tracked({"list": listed([shared])}), "near": shared})
    graph = graph_of(root)
    (attribute,) = (a for node in graph.nodes for a in node.attributes)
    assert attribute == Attribute("VARIABLE_VALUE", "conv/kernel", "near/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    assert graph.nodes[0].children == (Edge("deep", 1), Edge("near", 2))
    assert graph.nodes[graph.nodes[1].children[0].node].children == (Edge("0", 2),)


def test_layers_with_variables_have_two_numbers() -> None:
    model = functional([plain(), layer("a", kernel=(1, 1)), plain(), layer("b", kernel=(1, 1))])
    assert list(model.children) == [
        *("layer-0", "layer_with_weights-0", "layer-1", "layer-2", "layer_with_weights-1", "layer-3"),
    ]
