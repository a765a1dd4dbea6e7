"""A ported detector under the real TensorFlow: each of the API's ways to restore finds all of its objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import formats
from ckptmigrate.detection.port import port_detection
from ckptmigrate.objects import ObjectGraph
from ckptmigrate.table import Checkpoint

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")

OD = Path(__file__).resolve().parents[2] / "fixtures" / "od"
SOURCE, TEMPLATE = OD / "ssd_mobilenet_v2_tf1", OD / "ssd_mobilenet_v2_tf2" / "ckpt-1"
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def ported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("port") / "out"
    assert port_detection(SOURCE / "pipeline.config", SOURCE, folder).verdict == "verified"
    return folder


def objects(template: Checkpoint, start: str) -> tuple[Any, dict[str, Any]]:
    """The objects below a path of a real model's graph, as TensorFlow tracks them: (root, key -> variable)."""
    graph = template.structure.objects
    assert graph is not None
    shapes = {v.key: v.tensor.shape for v in template.variables.values()}
    variables: dict[str, Any] = {}
    made: dict[int, Any] = {}
    number = 0
    for part in start.split("/"):
        number = next(e.node for e in graph.nodes[number].children if e.name == part)

    def build(graph: ObjectGraph, number: int) -> Any:
        if number in made:
            return made[number]
        node = graph.nodes[number]
        if node.attributes:
            (attribute,) = node.attributes
            made[number] = variables[attribute.key] = tf.Variable(np.full(shapes[attribute.key], 77, np.float32))
            return made[number]
        item = made[number] = tf.__internal__.tracking.AutoTrackable()
        for edge in node.children:
            item._track_trackable(build(graph, edge.node), edge.name)
        return item

    return build(graph, number), variables


# What the API restores for a fine_tune_checkpoint_type, and the usual recipes for a part of it.
@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("model", 324),  # full
        ("model/_feature_extractor", 300),  # detection
        ("model/_feature_extractor/classification_backbone", 260),
        ("model/_box_predictor/_prediction_heads/box_encodings", 12),
    ],
)
def test_every_object_is_found(ported: Path, path: str, count: int) -> None:
    root, variables = objects(formats.open_checkpoint(TEMPLATE), path)
    for part in reversed(path.split("/")):
        root = tf.train.Checkpoint(**{part: root})
    root.restore(str(ported / "ckpt-0")).expect_partial().assert_existing_objects_matched()
    assert len(variables) == count
    with formats.open_checkpoint(ported) as written:
        for key, variable in variables.items():
            assert np.array_equal(variable.numpy(), written.variables[key.removesuffix(SUFFIX)].tensor.read())


def test_the_folder_is_a_training_folder(ported: Path) -> None:
    assert tf.train.latest_checkpoint(str(ported)) == str(ported / "ckpt-0")
    step = tf.Variable(0, dtype=tf.int64)
    tf.train.Checkpoint(step=step).restore(str(ported / "ckpt-0")).expect_partial().assert_existing_objects_matched()
    assert step.numpy() == 4


def test_a_frozen_graph_where_the_checkpoint_is_gone(tmp_path: Path) -> None:
    reader = tf.train.load_checkpoint(str(SOURCE / "model.ckpt"))
    slots = ("/RMSProp", "/RMSProp_1", "/ExponentialMovingAverage")
    names = [n for n in reader.get_variable_to_shape_map() if not n.endswith(slots) and n != "global_step"]
    with tf.Graph().as_default() as graph:
        for name in names:
            tf.identity(tf.constant(reader.get_tensor(name), name=name), name=f"{name}/read")
        tf.constant(np.arange(3), name="Preprocessor/sub/y")
    frozen = tmp_path / "frozen_inference_graph.pb"
    frozen.write_bytes(graph.as_graph_def().SerializeToString())
    report = port_detection(SOURCE / "pipeline.config", frozen, tmp_path / "out")
    assert (report.verdict, report.counts["equal"]) == ("verified", 324)
    assert [i.severity for i in report.issues if i.kind == "frozen"] == ["note"]
    with formats.open_checkpoint(tmp_path / "out") as written:
        kernel = written.variables["model/_feature_extractor/classification_backbone/layer_with_weights-0/kernel"]
        assert np.array_equal(kernel.tensor.read(), reader.get_tensor("FeatureExtractor/MobilenetV2/Conv/weights"))


def test_folded_batch_norms_are_recognised(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.constant(np.ones((3, 3, 3, 8), np.float32), name="FeatureExtractor/MobilenetV2/Conv/weights")
        tf.constant(np.ones(8, np.float32), name="FeatureExtractor/MobilenetV2/Conv/Conv2D_bn_offset")
    frozen = tmp_path / "frozen_inference_graph.pb"
    frozen.write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(Exception, match="batch normalisations are folded"):
        port_detection(SOURCE / "pipeline.config", frozen, tmp_path / "out")
