"""The objects of Faster and Mask R-CNN models of the TF2 Object Detection API, as their configuration has them built.

Facts: object_detection/meta_architectures/faster_rcnn_meta_arch.py, models/faster_rcnn_*_keras_feature_extractor.py,
predictors/mask_rcnn_keras_box_predictor.py and predictors/heads/keras_{box,class,mask}_head.py.
"""

from __future__ import annotations

from ckptmigrate.detection import backbones
from ckptmigrate.detection.hyperparams import Hyperparams
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.ssd import Heads
from ckptmigrate.detection.tracked import Tracked, conv, functional, listed, plain

_SCOPE = "mask_rcnn_keras_box_predictor"


def rcnn_model(config: Pipeline, backbone: str) -> Tracked:
    """The detection model that the API builds from `config`.

    Args:
        config: Of a model with two stages.
        backbone: resnet50, resnet101, resnet152 or inception_resnet_v2.
    """
    hyperparams = Hyperparams.of(config, *config.model("first_stage_box_predictor_conv_hyperparams"))
    first = hyperparams.normalised(hyperparams.conv("RPNConv"), "RPNBatchNorm")
    proposals, classifier = _backbones(backbone)
    return Tracked(
        {
            "_groundtruth_lists": plain(),
            "_first_stage_box_predictor_first_conv": functional(first),
            "_first_stage_box_predictor": Heads("FirstStageBoxPredictor", hyperparams).predictor([plain()]),
            "_maxpool_layer": plain(),
            "_mask_rcnn_box_predictor": _second_stage(config),
            "_batched_prediction_tensor_names": plain(),
            "_feature_extractor_for_proposal_features": proposals,
            "endpoints": plain(),
            "_feature_extractor_for_box_classifier_features": classifier,
        }
    )


def _backbones(name: str) -> tuple[Tracked, Tracked]:
    if name == "inception_resnet_v2":
        return backbones.inception_resnet_v2_proposals(), backbones.inception_resnet_v2_box_classifier()
    depth = int(name.removeprefix("resnet"))
    return backbones.resnet(depth, (2, 3, 4)), backbones.resnet(depth, (5,))


def _second_stage(config: Pipeline) -> Tracked:
    at = config.predictor
    dropout = [plain()] * config.flag(False, *at, "use_dropout")
    heads = {"mask_predictions": _masks(config)} if config.flag(False, *at, "predict_instance_masks") else {}
    box = [plain(), *dropout, conv(f"{_SCOPE}/mask_rcnn_box_head/BoxEncodingPredictor_dense", bias=True), plain()]
    score = [plain(), *dropout, conv(f"{_SCOPE}/mask_rcnn_class_head/ClassPredictor_dense", bias=True), plain()]
    return Tracked(
        {
            "_box_prediction_head": Tracked({"_box_encoder_layers": listed(box)}),
            "_class_prediction_head": Tracked({"_class_predictor_layers": listed(score)}),
            "_third_stage_heads": Tracked(heads),
        }
    )


def _masks(config: Pipeline) -> Tracked:
    """Convolutions, the last of which gives the masks; one more before it where masks are upsampled behind them."""
    at = config.predictor
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    scope = f"{_SCOPE}/mask_rcnn_mask_head"
    count = config.integer(2, *at, "mask_prediction_num_conv_layers") - 1
    names = [f"{scope}/MaskPredictor_conv2d_{number}" for number in range(count)]
    layers = [part for name in names for part in hyperparams.normalised(hyperparams.conv(name), f"{name}_batchnorm")]
    return Tracked({"_mask_predictor_layers": listed([*layers, conv(f"{scope}/MaskPredictor_last_conv2d", bias=True)])})
