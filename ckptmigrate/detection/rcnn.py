"""Faster and Mask R-CNN models of the TF2 Object Detection API: their objects, as the configuration says.

Facts: object_detection/meta_architectures/faster_rcnn_meta_arch.py, models/faster_rcnn_*_keras_feature_extractor.py.
"""

from __future__ import annotations

from ckptmigrate.detection import backbones
from ckptmigrate.detection.hyperparams import Hyperparams
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.predictors import Heads, anchors_of, second_stage_predictor
from ckptmigrate.detection.tracked import Tracked, functional, outputs_of, plain

_BOX_CODE_SIZE = 4
_OBJECT_OR_NOT = 2

# Backbone -> the layers whose channels the first and the second stage get.
_LAST = {
    "inception_resnet_v2": ("block17_1_conv", "conv_7b"),
    **{f"resnet{depth}": ("conv4_block1_3_conv", "conv5_block1_3_conv") for depth in (50, 101, 152)},
}


def rcnn_model(config: Pipeline, backbone: str) -> Tracked:
    """The detection model that the API builds from `config`.

    Args:
        config: Of a model with two stages.
        backbone: resnet50, resnet101, resnet152 or inception_resnet_v2.
    """
    proposals, classifier = _backbones(backbone)
    first, second = (outputs_of(net, name) for net, name in zip((proposals, classifier), _LAST[backbone], strict=True))
    hyperparams = Hyperparams.of(config, *config.model("first_stage_box_predictor_conv_hyperparams"))
    depth = config.integer(512, *config.model("first_stage_box_predictor_depth"))
    size = config.integer(3, *config.model("first_stage_box_predictor_kernel_size"))
    anchors = anchors_of(config, 1)
    boxes, classes = [n * _BOX_CODE_SIZE for n in anchors], [n * _OBJECT_OR_NOT for n in anchors]
    return Tracked(
        {
            "_groundtruth_lists": plain(),
            "_first_stage_box_predictor_first_conv": functional(
                hyperparams.conv("RPNConv", "RPNBatchNorm", (size, size, first, depth))
            ),
            "_first_stage_box_predictor": Heads("FirstStageBoxPredictor", hyperparams).predictor(
                [plain()], [depth], boxes, classes
            ),
            "_maxpool_layer": plain(),
            "_mask_rcnn_box_predictor": second_stage_predictor(config, second),
            "_batched_prediction_tensor_names": plain(),
            "_feature_extractor_for_proposal_features": proposals,
            "endpoints": plain(),
            "_feature_extractor_for_box_classifier_features": classifier,
        }
    )


def box_classifier_channels(backbone: str) -> int:
    """How many channels the second stage's heads get."""
    return outputs_of(_backbones(backbone)[1], _LAST[backbone][1])


def _backbones(name: str) -> tuple[Tracked, Tracked]:
    if name == "inception_resnet_v2":
        return backbones.inception_resnet_v2_proposals(), backbones.inception_resnet_v2_box_classifier()
    depth = int(name.removeprefix("resnet"))
    return backbones.resnet(depth, (2, 3, 4)), backbones.resnet(depth, (5,))
