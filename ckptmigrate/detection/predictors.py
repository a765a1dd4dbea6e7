"""Box predictors of the TF2 Object Detection API: their objects, as the configuration says.

Facts: object_detection/predictors/{convolutional,mask_rcnn}_keras_box_predictor.py, predictors/heads/keras_*.py,
builders/{box_predictor,anchor_generator}_builder.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ckptmigrate.detection.hyperparams import Hyperparams
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.tracked import Tracked, conv, listed, plain, separable
from ckptmigrate.errors import SourceError

BOXES, CLASSES = "box_encodings", "class_predictions_with_background"
_LOWEST_ANCHORS = 3  # of the finest feature map, unless `reduce_boxes_in_lowest_layer` is off
MASK_DEPTH = "mask_prediction_conv_depth"
_RCNN_SCOPE = "mask_rcnn_keras_box_predictor"


def anchors_of(config: Pipeline, maps: int) -> tuple[int, ...]:
    """Anchors at each place of each feature map.

    Raises:
        SourceError: Of a generator that isn't known here.
    """
    name = "anchor_generator" if config.architecture == "ssd" else "first_stage_anchor_generator"
    at = config.model(name)
    if config.document.has(*at, "ssd_anchor_generator"):
        at = (*at, "ssd_anchor_generator")
        extra = config.number(1.0, *at, "interpolated_scale_aspect_ratio") > 0
        count = len(config.numbers(*at, "aspect_ratios")) + extra
        is_reduced = config.flag(True, *at, "reduce_boxes_in_lowest_layer")
        return (_LOWEST_ANCHORS if is_reduced else count, *[count] * (maps - 1))
    if config.document.has(*at, "multiscale_anchor_generator"):
        at = (*at, "multiscale_anchor_generator")
        return (len(config.numbers(*at, "aspect_ratios")) * config.integer(2, *at, "scales_per_octave"),) * maps
    if config.document.has(*at, "grid_anchor_generator"):
        at = (*at, "grid_anchor_generator")
        return (len(config.numbers(*at, "scales")) * len(config.numbers(*at, "aspect_ratios")),) * maps
    hint = "--template CKPT takes the objects and shapes of your own TF2 model"
    raise SourceError("its anchor generator isn't known here", where=config.where(*at), hint=hint)


class Heads(NamedTuple):
    """Box and class heads, one pair for each feature map.

    Attributes:
        scope: What their names begin with.
        hyperparams: Their settings.
        kernel_size: Of the last convolution.
        is_separable: Whether a depthwise convolution stands before each.
        has_dropout: Whether dropout stands before the class head.
    """

    scope: str
    hyperparams: Hyperparams
    kernel_size: int = 1
    is_separable: bool = False
    has_dropout: bool = False

    def predictor(self, nets: Sequence[Tracked], channels: Sequence[int], boxes: Sequence[int], classes: Sequence[int]
    ) -> Tracked:  # fmt: skip
        """The predictor with these shared convolutions, and so many inputs and outputs, for each feature map."""
        box = [
            listed(self._layers(f"ConvolutionalBoxHead_{n}/BoxEncodingPredictor", (inputs, count)))
            for n, (inputs, count) in enumerate(zip(channels, boxes, strict=True))
        ]
        dropout = [plain()] * self.has_dropout
        score = [
            listed([*dropout, *self._layers(f"ConvolutionalClassHead_{n}/ClassPredictor", (inputs, count))])
            for n, (inputs, count) in enumerate(zip(channels, classes, strict=True))
        ]
        heads = {
            BOXES: listed(Tracked({"_box_encoder_layers": layers}) for layers in box),
            CLASSES: listed(Tracked({"_class_predictor_layers": layers}) for layers in score),
        }
        return Tracked(
            {"_prediction_heads": Tracked(heads), "_sorted_head_names": plain(), "_shared_nets": listed(nets)}
        )

    def _layers(self, name: str, channels: tuple[int, int]) -> list[Tracked]:
        name, size = f"{self.scope}/{name}", self.kernel_size
        before: list[Tracked] = []
        if self.is_separable:
            own = f"{name}_depthwise"
            before, size = self.hyperparams.depthwise(own, f"{own}_batchnorm", size, channels[0]), 1
        return [*before, conv(name, (size, size, *channels), bias=True)]


def per_map_predictor(config: Pipeline, channels: Sequence[int]) -> Tracked:
    """A predictor of its own for each feature map, of so many channels."""
    at = config.predictor
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    heads = Heads(
        "BoxPredictor",
        hyperparams,
        config.integer(1, *at, "kernel_size"),
        config.flag(False, *at, "use_depthwise"),
        config.flag(True, *at, "use_dropout"),
    )
    steps = config.integer(0, *at, "num_layers_before_predictor")
    nets, inputs = [], []
    for number, have in enumerate(channels):
        depth = max(min(have, config.integer(0, *at, "max_depth")), config.integer(0, *at, "min_depth"))
        layers: list[Tracked] = []
        for step in range(steps if depth else 0):
            name = f"BoxPredictor/SharedConvolutions_{number}/Conv2d_{step}_1x1_{depth}"
            layers += hyperparams.conv(name, f"{name}_norm", (1, 1, depth if step else have, depth))
        nets.append(listed(layers))
        inputs.append(depth if layers else have)
    anchors = anchors_of(config, len(channels))
    code = config.integer(4, *at, "box_code_size")
    classes = [count * (config.num_classes + 1) for count in anchors]
    return heads.predictor(nets, inputs, [count * code for count in anchors], classes)


def shared_predictor(config: Pipeline, channels: Sequence[int]) -> Tracked:
    """One predictor for all levels: towers of shared convolutions, each level with batch norms of its own."""
    at, scope = config.predictor, "WeightSharedConvolutionalBoxPredictor"
    is_separable = config.flag(False, *at, "use_depthwise")
    size, depth = config.integer(3, *at, "kernel_size"), config.integer(0, *at, "depth")
    steps = config.integer(0, *at, "num_layers_before_predictor")
    have = depth if steps else channels[0]
    head = separable if is_separable else conv
    anchors = anchors_of(config, len(channels))[0]
    boxes = (size, size, have, anchors * config.integer(4, *at, "box_code_size"))
    scores = (size, size, have, anchors * (config.num_classes + 1))
    box = head(f"{scope}/WeightSharedConvolutionalBoxHead/BoxPredictor", boxes, bias=True)
    score = head(f"{scope}/WeightSharedConvolutionalClassHead/ClassPredictor", scores, bias=True)
    dropout = [plain()] * config.flag(False, *at, "use_dropout")
    is_one_tower = config.flag(False, *at, "share_prediction_tower")
    names = ("PredictionTower" if is_one_tower else "BoxPredictionTower", "ClassPredictionTower")
    first, second = (_Tower.of(config, f"{scope}/{name}", channels) for name in names)
    towers = (first, second.unbuilt() if is_one_tower else second)
    scores_head = Tracked({"_class_predictor_layers": listed([*dropout, score])})
    return Tracked(
        {
            "_box_prediction_head": Tracked({"_box_encoder_layers": listed([box])}),
            "_prediction_heads": Tracked({CLASSES: scores_head}),
            "_sorted_head_names": plain(),
            "_additional_projection_layers": listed(plain() for _ in channels),
            "_base_tower_layers_for_heads": Tracked(
                {head: listed(tower.levels) for head, tower in zip((BOXES, CLASSES), towers, strict=True)}
            ),
            "_head_scope_conv_layers": Tracked(
                {name: listed(tower.convs) for name, tower in zip(names, towers, strict=True)}
            ),
        }
    )


class _Tower(NamedTuple):
    """Shared convolutions, and for each level the list of them with its batch norms and activations between."""

    convs: list[Tracked]
    levels: list[Tracked]

    @classmethod
    def of(cls, config: Pipeline, name: str, channels: Sequence[int]) -> _Tower:
        at = config.predictor
        hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
        size, depth = config.integer(3, *at, "kernel_size"), config.integer(0, *at, "depth")
        make = hyperparams.separable if config.flag(False, *at, "use_depthwise") else hyperparams.conv
        names = [f"{name}/conv2d_{i}" for i in range(config.integer(0, *at, "num_layers_before_predictor"))]
        kernels = [(size, size, depth if i else channels[0], depth) for i in range(len(names))]
        convs = [make(own, "", kernel)[0] for own, kernel in zip(names, kernels, strict=True)]
        levels = [
            listed(
                part
                for item, own in zip(convs, names, strict=True)
                for part in hyperparams.normalised(item, f"{own}/BatchNorm/feature_{level}", depth)
            )
            for level in range(len(channels))
        ]
        return cls(convs, levels)

    def unbuilt(self) -> _Tower:
        """The same without variables: its layers exist and are never run."""
        convs = [plain() for _ in self.convs]
        levels = [listed(part for item in convs for part in (item, plain(), plain())) for _ in self.levels]
        return _Tower(convs, levels)


def second_stage_predictor(config: Pipeline, channels: int) -> Tracked:
    """The heads of the second stage of Faster and Mask R-CNN, on `channels` features."""
    at = config.predictor
    dropout = [plain()] * config.flag(False, *at, "use_dropout")
    code = config.integer(4, *at, "box_code_size")
    boxes = code if config.flag(False, *at, "share_box_across_classes") else code * config.num_classes
    box = conv(f"{_RCNN_SCOPE}/mask_rcnn_box_head/BoxEncodingPredictor_dense", (channels, boxes), bias=True)
    score = conv(
        f"{_RCNN_SCOPE}/mask_rcnn_class_head/ClassPredictor_dense", (channels, config.num_classes + 1), bias=True
    )
    has_masks = config.flag(False, *at, "predict_instance_masks")
    return Tracked(
        {
            "_box_prediction_head": Tracked({"_box_encoder_layers": listed([plain(), *dropout, box, plain()])}),
            "_class_prediction_head": Tracked({"_class_predictor_layers": listed([plain(), *dropout, score, plain()])}),
            "_third_stage_heads": Tracked({"mask_predictions": _masks(config, channels)} if has_masks else {}),
        }
    )


def _masks(config: Pipeline, channels: int) -> Tracked:
    """Convolutions, the last of which gives the masks."""
    at = config.predictor
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    scope = f"{_RCNN_SCOPE}/mask_rcnn_mask_head"
    outputs = 1 if config.flag(False, *at, "masks_are_class_agnostic") else config.num_classes
    depth = mask_depth(config, channels)
    layers: list[Tracked] = []
    for number in range(config.integer(2, *at, "mask_prediction_num_conv_layers") - 1):
        name, norm = f"{scope}/MaskPredictor_conv2d_{number}", f"{scope}/MaskPredictor_batchnorm_{number}"
        layers += hyperparams.conv(name, norm, (3, 3, depth if number else channels, depth))
    have = depth if layers else channels
    if config.flag(False, *at, "convolve_then_upsample_masks"):
        name = f"{scope}/MaskPredictor_upsample"
        layers += [plain(), *hyperparams.conv(f"{name}_conv2d", f"{name}_batchnorm", (3, 3, have, depth))]
        have = depth
    last = conv(f"{scope}/MaskPredictor_last_conv2d", (3, 3, have, outputs), bias=True)
    return Tracked({"_mask_predictor_layers": listed([*layers, last])})


def mask_depth(config: Pipeline, channels: int) -> int:
    """The depth of the mask head's convolutions.

    A setting of 0 stands for a power of 2 between the features (weight 2) and the classes (weight 3), in logarithms.
    """
    depth = config.integer(256, *config.predictor, MASK_DEPTH)
    classes = max(config.num_classes, 1)
    return depth or 1 << round((2 * math.log2(channels) + 3 * math.log2(classes)) / 5)
