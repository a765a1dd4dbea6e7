"""The derived object graphs are those of the real models: every node, edge and name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.rcnn import rcnn_model
from ckptmigrate.detection.ssd import EXTRACTORS, ssd_model
from ckptmigrate.detection.tracked import Tracked, Variable, functional, graph_of, layer, listed, plain, walk
from ckptmigrate.objects import VALUE_SUFFIX, Attribute, Edge
from ckptmigrate.wire.object_graph import decode_graph

Configured = Callable[[str], Pipeline]


def model_of(config: Pipeline) -> Tracked:
    if config.architecture == "ssd":
        return ssd_model(config, EXTRACTORS[config.extractor])
    return rcnn_model(config, config.extractor.removeprefix("faster_rcnn_"))


def test_the_graph_is_the_recorded_one(graphed: str, recorded: Path, configured: Configured) -> None:
    model = model_of(configured(graphed))
    counters = {
        "step": Tracked(variable=Variable("global_step")),
        "save_counter": Tracked(variable=Variable("save_counter")),
    }
    derived = graph_of(Tracked({"model": model, "optimizer": plain(), **counters}))
    file = recorded / "object_graphs" / f"{graphed}.pb.gz"
    assert derived == decode_graph(gzip.decompress(file.read_bytes()), graphed)


def test_names_and_shapes_are_the_recorded_ones(model: str, recorded: Path, configured: Configured) -> None:
    root = Tracked({"model": model_of(configured(model))})
    derived = {
        path + VALUE_SUFFIX: (item.variable.name, list(item.variable.shape))
        for item, path in walk(root)
        if item.variable is not None
    }
    listing = json.loads((recorded / f"{model}.tf2.json").read_text("utf-8"))["variables"]
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
