"""The objects of SSD models of the TF2 Object Detection API, as their configuration has them built.

Facts: object_detection/meta_architectures/ssd_meta_arch.py, models/ssd_*_keras_feature_extractor.py,
models/feature_map_generators.py, predictors/convolutional_keras_box_predictor.py and predictors/heads/keras_*.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ckptmigrate.detection import backbones
from ckptmigrate.detection.hyperparams import Hyperparams
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.tracked import Tracked, conv, depthwise, layer, listed, plain, separable

SHARED = "weight_shared_convolutional_box_predictor"
BOXES, CLASSES = "box_encodings", "class_predictions_with_background"
_EXTRA_DEPTHS = (-1, -1, 512, 256, 256, 128)  # of the feature maps; -1 is one of the backbone's own
_TOP_BACKBONE_LEVEL = 5


class Extractor(NamedTuple):
    """One kind of feature extractor.

    Attributes:
        backbone: The family: mobilenet_v1, mobilenet_v2, resnet50...
        scope: What its own layers' names begin with.
        maps: The attribute that the extra feature maps stand in; "" for an FPN.
        coarse: What the layers below the FPN are called, and the number of the first.
    """

    backbone: str
    scope: str
    maps: str = ""
    coarse: tuple[str, int] = ("", 0)

    @property
    def is_fpn(self) -> bool:
        """Whether it is a feature pyramid network."""
        return not self.maps


def _resnet_fpn(depth: int) -> Extractor:
    return Extractor(f"resnet{depth}", f"ResNet{depth}V1_FPN", coarse=("block", 5))


EXTRACTORS = {
    "ssd_mobilenet_v1": Extractor(
        "mobilenet_v1", "ssd_mobile_net_v1_keras_feature_extractor", "_feature_map_generator"
    ),
    "ssd_mobilenet_v2": Extractor("mobilenet_v2", "ssd_mobile_net_v2_keras_feature_extractor", "feature_map_generator"),
    "ssd_mobilenet_v1_fpn": Extractor(
        "mobilenet_v1", "ssd_mobile_net_v1_fpn_keras_feature_extractor", coarse=("Conv2d_", 14)
    ),
    "ssd_mobilenet_v2_fpn": Extractor(
        "mobilenet_v2", "ssd_mobile_net_v2_fpn_keras_feature_extractor", coarse=("Conv2d_", 20)
    ),
    **{f"ssd_resnet{depth}_v1_fpn": _resnet_fpn(depth) for depth in (50, 101, 152)},
}


def ssd_model(config: Pipeline, extractor: Extractor) -> Tracked:
    """The detection model that the API builds from `config`."""
    return Tracked(
        {
            "_groundtruth_lists": plain(),
            "_box_predictor": _shared_predictor(config) if SHARED in config.predictor else _predictor(config),
            "_feature_extractor": _fpn(config, extractor) if extractor.is_fpn else _maps(config, extractor),
            "_batched_prediction_tensor_names": plain(),
        }
    )


def backbone_of(config: Pipeline, extractor: Extractor) -> Tracked:
    """The classification network below the extractor."""
    at = config.model("feature_extractor")
    if extractor.backbone.startswith("resnet"):
        return backbones.resnet(int(extractor.backbone.removeprefix("resnet")))
    if extractor.backbone == "mobilenet_v1":
        return backbones.mobilenet_v1()
    return backbones.mobilenet_v2(config.number(1.0, *at, "depth_multiplier"), config.integer(16, *at, "min_depth"))


def levels_of(config: Pipeline) -> tuple[int, int]:
    """The finest and coarsest level of the FPN."""
    at = config.model("feature_extractor", "fpn")
    return config.integer(3, *at, "min_level"), config.integer(7, *at, "max_level")


def feature_maps_of(config: Pipeline) -> int:
    """How many feature maps the boxes are predicted from."""
    if EXTRACTORS[config.extractor.removesuffix("_keras")].is_fpn:
        finest, coarsest = levels_of(config)
        return coarsest - finest + 1
    return config.integer(6, *config.model("feature_extractor", "num_layers"))


def _maps(config: Pipeline, extractor: Extractor) -> Tracked:
    """An extractor whose extra feature maps are made one from the other."""
    at = config.model("feature_extractor")
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    layout = Tracked({"from_layer": plain(), "layer_depth": plain()})
    width, floor = config.number(1.0, *at, "depth_multiplier"), config.integer(16, *at, "min_depth")
    start = {"mobilenet_v1": "Conv2d_13_pointwise", "mobilenet_v2": "layer_19"}[extractor.backbone]
    maps = []
    for number, depth in enumerate(_EXTRA_DEPTHS[: feature_maps_of(config)]):
        narrow, wide = (max(int(d * width), floor) for d in (depth / 2, depth))
        first = f"{extractor.scope}/FeatureMaps/{start}_1_Conv2d_{number}_1x1_{narrow}"
        second = f"{extractor.scope}/FeatureMaps/{start}_2_Conv2d_{number}_3x3_s2_{wide}"
        maps.append(listed(_extra_map(config, hyperparams, first, second) if depth > 0 else ()))
    return Tracked(
        {
            "_feature_map_layout": layout,
            "classification_backbone": backbone_of(config, extractor),
            extractor.maps: Tracked({"feature_map_layout": layout, "convolutions": listed(maps)}),
        }
    )


def _extra_map(config: Pipeline, hyperparams: Hyperparams, first: str, second: str) -> list[Tracked]:
    at = config.model("feature_extractor")
    padding = [plain()] * config.flag(False, *at, "use_explicit_padding")
    layers = hyperparams.normalised(hyperparams.conv(f"{first}_conv"), f"{first}_batchnorm")
    if config.flag(False, *at, "use_depthwise"):
        layers += [
            *padding,
            *hyperparams.normalised(depthwise(f"{second}_depthwise_conv"), f"{second}_depthwise_batchnorm"),
        ]
        padding = []
    return [*layers, *padding, *hyperparams.normalised(hyperparams.conv(f"{second}_conv"), f"{second}_batchnorm")]


def _fpn(config: Pipeline, extractor: Extractor) -> Tracked:
    """A feature pyramid network."""
    at = config.model("feature_extractor")
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    is_mobile = not extractor.backbone.startswith("resnet")
    is_lite = is_mobile and config.flag(False, *at, "use_depthwise")
    finest, coarsest = levels_of(config)
    name, number = extractor.coarse
    coarse = [
        listed(_block(hyperparams, f"{extractor.scope}/bottom_up_{name}{number + step}", is_lite))
        for step in range(coarsest - min(coarsest, _TOP_BACKBONE_LEVEL))
    ]
    blocks = {"_feature_blocks": plain()} if is_mobile else {"_resnet_block_names": plain()}
    return Tracked(
        {
            **({"_conv_defs": plain()} if is_lite else {}),
            **blocks,
            "_coarse_feature_layers": listed(coarse),
            "classification_backbone": backbone_of(config, extractor),
            "_fpn_features_generator": _top_down(
                hyperparams,
                f"{extractor.scope}/FeatureMaps/top_down",
                min(coarsest, _TOP_BACKBONE_LEVEL) - finest + 1,
                is_lite,
            ),
        }
    )


def _block(hyperparams: Hyperparams, name: str, is_lite: bool) -> list[Tracked]:
    first = separable(f"{name}_depthwise_conv") if is_lite else hyperparams.conv(f"{name}_conv")
    return hyperparams.normalised(first, f"{name}_batchnorm")


def _top_down(hyperparams: Hyperparams, scope: str, levels: int, is_lite: bool) -> Tracked:
    lower = range(levels - 1, 0, -1)
    return Tracked(
        {
            "top_layers": listed([conv(f"{scope}/projection_{levels}", bias=True)]),
            "residual_blocks": listed(listed([conv(f"{scope}/projection_{n}", bias=True)]) for n in lower),
            "top_down_blocks": listed(listed([plain()]) for _ in lower),
            "reshape_blocks": listed(plain() for _ in lower),
            "conv_layers": listed(listed(_block(hyperparams, f"{scope}/smoothing_{n}", is_lite)) for n in lower),
        }
    )


def _predictor(config: Pipeline) -> Tracked:
    """A predictor of its own for each feature map."""
    at = config.predictor
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    heads = Heads(
        "BoxPredictor", hyperparams, config.flag(False, *at, "use_depthwise"), config.flag(True, *at, "use_dropout")
    )
    depth = config.integer(0, *at, "max_depth")
    steps = config.integer(0, *at, "num_layers_before_predictor") if depth else 0
    nets = []
    for number in range(feature_maps_of(config)):
        names = [f"BoxPredictor/SharedConvolutions_{number}/Conv2d_{step}_1x1_{depth}" for step in range(steps)]
        layers = [hyperparams.normalised(hyperparams.conv(name), f"{name}_norm") for name in names]
        nets.append(listed(part for parts in layers for part in parts))
    return heads.predictor(nets)


class Heads(NamedTuple):
    """Box and class heads, one pair for each feature map.

    Attributes:
        scope: What their names begin with.
        hyperparams: Their settings.
        is_separable: Whether a depthwise convolution stands before each.
        has_dropout: Whether dropout stands before the class head.
    """

    scope: str
    hyperparams: Hyperparams
    is_separable: bool = False
    has_dropout: bool = False

    def predictor(self, nets: Sequence[Tracked]) -> Tracked:
        """The predictor with these shared convolutions, one list for each feature map."""
        boxes = [self._layers(f"ConvolutionalBoxHead_{n}/BoxEncodingPredictor") for n in range(len(nets))]
        classes = [self._layers(f"ConvolutionalClassHead_{n}/ClassPredictor") for n in range(len(nets))]
        dropout = [plain()] * self.has_dropout
        heads = {
            BOXES: listed(Tracked({"_box_encoder_layers": listed(layers)}) for layers in boxes),
            CLASSES: listed(Tracked({"_class_predictor_layers": listed([*dropout, *layers])}) for layers in classes),
        }
        return Tracked(
            {"_prediction_heads": Tracked(heads), "_sorted_head_names": plain(), "_shared_nets": listed(nets)}
        )

    def _layers(self, name: str) -> list[Tracked]:
        name = f"{self.scope}/{name}"
        before: list[Tracked] = []
        if self.is_separable:
            before = self.hyperparams.normalised(depthwise(f"{name}_depthwise"), f"{name}_depthwise_batchnorm")
        return [*before, conv(name, bias=True)]


def _shared_predictor(config: Pipeline) -> Tracked:
    """One predictor for all levels: towers of shared convolutions, each level with batch norms of its own."""
    at, scope = config.predictor, "WeightSharedConvolutionalBoxPredictor"
    is_separable = config.flag(False, *at, "use_depthwise")
    dropout = [plain()] * config.flag(False, *at, "use_dropout")
    head = separable if is_separable else conv
    box = head(f"{scope}/WeightSharedConvolutionalBoxHead/BoxPredictor", bias=True)
    score = head(f"{scope}/WeightSharedConvolutionalClassHead/ClassPredictor", bias=True)
    is_one_tower = config.flag(False, *at, "share_prediction_tower")
    names = ("PredictionTower" if is_one_tower else "BoxPredictionTower", "ClassPredictionTower")
    boxes, classes = (_Tower.of(config, f"{scope}/{name}", is_separable) for name in names)
    if is_one_tower:
        classes = classes.unbuilt()  # it exists, and is never called
    return Tracked(
        {
            "_box_prediction_head": Tracked({"_box_encoder_layers": listed([box])}),
            "_prediction_heads": Tracked({CLASSES: Tracked({"_class_predictor_layers": listed([*dropout, score])})}),
            "_sorted_head_names": plain(),
            "_additional_projection_layers": listed(plain() for _ in boxes.levels),
            "_base_tower_layers_for_heads": Tracked({BOXES: listed(boxes.levels), CLASSES: listed(classes.levels)}),
            "_head_scope_conv_layers": Tracked(
                {name: listed(tower.convs) for name, tower in zip(names, (boxes, classes), strict=True)}
            ),
        }
    )


class _Tower(NamedTuple):
    """Shared convolutions, and for each level the list of them with its batch norms and activations between."""

    convs: list[Tracked]
    levels: list[Tracked]

    @classmethod
    def of(cls, config: Pipeline, name: str, is_separable: bool) -> _Tower:
        at = config.predictor
        hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
        names = [f"{name}/conv2d_{i}" for i in range(config.integer(0, *at, "num_layers_before_predictor"))]
        convs = [separable(n, bias=hyperparams.has_bias) if is_separable else hyperparams.conv(n) for n in names]
        levels = [
            listed(
                part
                for item, own in zip(convs, names, strict=True)
                for part in hyperparams.normalised(item, f"{own}/BatchNorm/feature_{level}")
            )
            for level in range(feature_maps_of(config))
        ]
        return cls(convs, levels)

    def unbuilt(self) -> _Tower:
        """The same without variables: its layers were made and never run."""
        convs = [layer("") for _ in self.convs]
        levels = [listed(part for item in convs for part in (item, plain(), plain())) for _ in self.levels]
        return _Tower(convs, levels)
