"""A slim classification checkpoint as what a detector starts from: `fine_tune_checkpoint_type: "classification"`.

The TF2 API restores such a file as `Checkpoint(feature_extractor=backbone)`, a file of its own kind
(object_detection/meta_architectures/{ssd,faster_rcnn}_meta_arch.py, `restore_from_objects`).
"""

from __future__ import annotations

from typing import NamedTuple

from ckptmigrate.detection import backbones
from ckptmigrate.detection.families import KERAS
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.ssd import EXTRACTORS, backbone_of
from ckptmigrate.detection.tracked import Tracked
from ckptmigrate.table import Checkpoint

ROOT = "feature_extractor"


class Classifier(NamedTuple):
    """A slim net.

    Attributes:
        mapping: The rules from its variables to the backbone's.
        first: The kernel that only such a checkpoint has under this name.
    """

    mapping: str
    first: str


CLASSIFIERS = {
    "mobilenet_v1": Classifier("od/classification_mobilenet_v1", "MobilenetV1/Conv2d_0/weights"),
    "mobilenet_v2": Classifier("od/classification_mobilenet_v2", "MobilenetV2/Conv/weights"),
    **{
        f"resnet{depth}": Classifier(f"od/classification_resnet_v1_{depth}", f"resnet_v1_{depth}/conv1/weights")
        for depth in (50, 101, 152)
    },
}


def classifier_of(config: Pipeline, source: Checkpoint) -> Classifier | None:
    """The net that `source` is a classification checkpoint of, where it is that of the configuration's backbone."""
    found = CLASSIFIERS.get(_backbone(config))
    return found if found is not None and found.first in source.variables else None


def backbone(config: Pipeline) -> Tracked:
    """The whole backbone of the configuration's detector."""
    if config.architecture == "ssd":
        return backbone_of(config, EXTRACTORS[config.extractor.removesuffix(KERAS)])
    return backbones.resnet(int(_backbone(config).removeprefix("resnet")))


def _backbone(config: Pipeline) -> str:
    name = config.extractor.removesuffix(KERAS)
    if config.architecture != "ssd":
        return name.removeprefix("faster_rcnn_")
    extractor = EXTRACTORS[name]
    return f"resnet{extractor.depth}" if extractor.depth else extractor.backbone
