"""Slim's classifiers onto Keras Applications: every variable of the Keras model is filled once, with its own shape.

What the models put out is compared by by_hand/slim_logits.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.mapping.options import PlanOptions
from ckptmigrate.mapping.plan import make_plan
from ckptmigrate.mapping.rules import Mapping
from ckptmigrate.table import Checkpoint, Tensor, Variable

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

VARIABLES = Path(__file__).resolve().parents[1] / "mapping" / "slim_variables"

MODELS = {
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "inception_v3": "InceptionV3",
    "inception_resnet_v2": "InceptionResNetV2",
    "vgg_16": "VGG16",
    "vgg_19": "VGG19",
    "resnet_v1_50": "ResNet50",
    "resnet_v1_101": "ResNet101",
    "resnet_v1_152": "ResNet152",
    "resnet_v2_50": "ResNet50V2",
    "resnet_v2_101": "ResNet101V2",
    "resnet_v2_152": "ResNet152V2",
}


def checkpoint(shapes: dict[str, tuple[int, ...]], format_name: str) -> Checkpoint:
    variables = {name: Variable(name, Tensor(shape, BY_NAME["float32"]), name) for name, shape in shapes.items()}
    return Checkpoint(Path("test"), format_name, variables)


def slim(net: str) -> Checkpoint:
    scopes = json.loads((VARIABLES / f"{net}.json").read_text())
    shapes = {f"{scope}/{leaf}": tuple(s) for scope, leaves in scopes.items() for leaf, s in leaves.items()}
    return checkpoint(shapes, "tf1")


def keras(net: str, later: int) -> Checkpoint:
    """The Keras model's variables, built in a graph, which needs no memory; `later`: so many layers came before."""
    with tf.Graph().as_default():
        for _ in range(later):
            tf_keras.layers.Conv2D(1, 1).build((1, 1, 1, 1))
            tf_keras.layers.BatchNormalization().build((1, 1, 1, 1))
        model = getattr(tf_keras.applications, MODELS[net])(weights=None)
        return checkpoint({v.name.removesuffix(":0"): tuple(v.shape) for v in model.weights}, "tf1")


def filled(net: str, template: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Name -> shape of everything that the mapping writes."""
    source = slim(net)
    assignment = Mapping.load(f"keras/{net}").assign(source, template)
    assert [issue for issue in assignment.findings if issue.severity != "note"] == []
    plan = make_plan(source, assignment, template, PlanOptions(target_format="npz"))
    assert [issue for issue in plan.issues if issue.severity in ("error", "loss")] == []
    names = [planned.name for planned in plan.planned]
    assert len(names) == len(set(names))
    return {planned.name: planned.tensor.shape for planned in plan.planned}


@pytest.mark.parametrize("net", MODELS)
def test_every_variable_of_keras_is_filled(net: str) -> None:
    template = keras(net, later=3)
    assert ("conv2d_96/kernel" in template.variables) == net.startswith("inception")  # counted from where Keras was
    assert filled(net, template) == {name: v.tensor.shape for name, v in template.variables.items()}
