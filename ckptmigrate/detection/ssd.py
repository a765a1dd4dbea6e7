"""SSD models of the TF2 Object Detection API: the objects of their feature extractors, as the configuration says.

Facts: object_detection/meta_architectures/ssd_meta_arch.py, models/ssd_*_keras_feature_extractor.py,
models/feature_map_generators.py.
"""

from __future__ import annotations

from typing import NamedTuple

from ckptmigrate.detection import backbones
from ckptmigrate.detection.hyperparams import Hyperparams
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.predictors import per_map_predictor, shared_predictor
from ckptmigrate.detection.tracked import Tracked, conv, listed, outputs_of, plain

SHARED = "weight_shared_convolutional_box_predictor"
_EXTRA_DEPTHS = (-1, -1, 512, 256, 256, 128)  # of the feature maps; -1 is one of the backbone's own
_TOP_LEVEL = 5  # of a backbone; every level halves the resolution

# The layers of a backbone that feature maps are taken from.
_MAPS = {"mobilenet_v1": ("conv_pw_11", "conv_pw_13"), "mobilenet_v2": ("block_13_expand", "Conv_1")}
_LEVELS = {
    "mobilenet_v1": {2: "conv_pw_3", 3: "conv_pw_5", 4: "conv_pw_11", 5: "conv_pw_13"},
    "mobilenet_v2": {2: "block_2_project", 3: "block_5_project", 4: "block_12_project", 5: "Conv_1"},
    "resnet": {level: f"conv{level}_block1_3_conv" for level in (2, 3, 4, 5)},
}
_START = {"mobilenet_v1": "Conv2d_13_pointwise", "mobilenet_v2": "layer_19"}  # of the names of extra maps


class Extractor(NamedTuple):
    """One kind of feature extractor.

    Attributes:
        backbone: mobilenet_v1, mobilenet_v2 or resnet.
        scope: What its own layers' names begin with.
        maps: The attribute that the extra feature maps stand in; "" for an FPN.
        coarse: What the layers below the FPN are called, and the number of the first.
        depth: Of a ResNet.
    """

    backbone: str
    scope: str
    maps: str = ""
    coarse: tuple[str, int] = ("", 0)
    depth: int = 0

    @property
    def is_fpn(self) -> bool:
        """Whether it is a feature pyramid network."""
        return not self.maps


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
    **{
        f"ssd_resnet{depth}_v1_fpn": Extractor("resnet", f"ResNet{depth}V1_FPN", coarse=("block", 5), depth=depth)
        for depth in (50, 101, 152)
    },
}


class Features(NamedTuple):
    """A feature extractor, and the channels of each map that boxes are predicted from."""

    tracked: Tracked
    channels: tuple[int, ...]


def ssd_model(config: Pipeline, extractor: Extractor) -> Tracked:
    """The detection model that the API builds from `config`."""
    features = _fpn(config, extractor) if extractor.is_fpn else _maps(config, extractor)
    predictor = shared_predictor if SHARED in config.predictor else per_map_predictor
    return Tracked(
        {
            "_groundtruth_lists": plain(),
            "_box_predictor": predictor(config, features.channels),
            "_feature_extractor": features.tracked,
            "_batched_prediction_tensor_names": plain(),
        }
    )


def backbone_of(config: Pipeline, extractor: Extractor) -> Tracked:
    """The classification network below the extractor."""
    if extractor.backbone == "resnet":
        return backbones.resnet(extractor.depth)
    width, least = _width(config)
    if extractor.backbone == "mobilenet_v1":
        return backbones.mobilenet_v1(width, least, is_padded=_is_padded(config))
    return backbones.mobilenet_v2(width, least, is_padded=_is_padded(config))


def _is_padded(config: Pipeline) -> bool:
    """Whether padding is made by layers of its own; ResNets know no such thing."""
    return config.flag(False, *config.model("feature_extractor", "use_explicit_padding"))


def _padding(config: Pipeline) -> list[Tracked]:
    return [plain()] if _is_padded(config) else []


def _width(config: Pipeline) -> tuple[float, int]:
    """The depth multiplier, and the least number of channels."""
    at = config.model("feature_extractor")
    return config.number(1.0, *at, "depth_multiplier"), config.integer(16, *at, "min_depth")


def _channels(config: Pipeline, depth: float) -> int:
    width, least = _width(config)
    return max(int(depth * width), least)


def levels_of(config: Pipeline) -> tuple[int, int]:
    """The finest and coarsest level of the FPN."""
    at = config.model("feature_extractor", "fpn")
    return config.integer(3, *at, "min_level"), config.integer(7, *at, "max_level")


def _maps(config: Pipeline, extractor: Extractor) -> Features:
    """An extractor whose extra feature maps are made one from the other."""
    layout = Tracked({"from_layer": plain(), "layer_depth": plain()})
    backbone = backbone_of(config, extractor)
    channels = [outputs_of(backbone, name) for name in _MAPS[extractor.backbone]]
    maps = [plain() for _ in channels]
    count = config.integer(6, *config.model("feature_extractor", "num_layers"))
    for number, depth in list(enumerate(_EXTRA_DEPTHS[:count]))[len(maps) :]:
        name = f"{extractor.scope}/FeatureMaps/{_START[extractor.backbone]}"
        maps.append(listed(_extra_map(config, name, number, channels[-1], depth)))
        channels.append(_channels(config, depth))
    tracked = {
        "_feature_map_layout": layout,
        "classification_backbone": backbone,
        extractor.maps: Tracked({"feature_map_layout": layout, "convolutions": listed(maps[:count])}),
    }
    return Features(Tracked(tracked), tuple(channels[:count]))


def _extra_map(config: Pipeline, scope: str, number: int, channels: int, depth: int) -> list[Tracked]:
    """A 1x1 convolution that narrows, then one that halves the resolution."""
    at = config.model("feature_extractor")
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    narrow, wide = _channels(config, depth / 2), _channels(config, depth)
    first, second = f"{scope}_1_Conv2d_{number}_1x1_{narrow}", f"{scope}_2_Conv2d_{number}_3x3_s2_{wide}"
    layers = hyperparams.conv(f"{first}_conv", f"{first}_batchnorm", (1, 1, channels, narrow))
    layers += _padding(config)
    size = 3
    if config.flag(False, *at, "use_depthwise"):
        layers += hyperparams.depthwise(f"{second}_depthwise_conv", f"{second}_depthwise_batchnorm", size, narrow)
        size = 1
    return [*layers, *hyperparams.conv(f"{second}_conv", f"{second}_batchnorm", (size, size, narrow, wide))]


class _Pyramid(NamedTuple):
    """What the layers of a feature pyramid have in common."""

    hyperparams: Hyperparams
    depth: int
    is_lite: bool
    is_padded: bool

    def padding(self) -> list[Tracked]:
        """The layer that pads, or one that cuts what is padded; none without explicit padding."""
        return [plain()] if self.is_padded else []

    def block(self, name: str) -> list[Tracked]:
        """A 3x3 convolution, separable in the lite form, with its batch norm."""
        kernel = (3, 3, self.depth, self.depth)
        if self.is_lite:
            layers = self.hyperparams.separable(f"{name}_depthwise_conv", f"{name}_batchnorm", kernel)
        else:
            layers = self.hyperparams.conv(f"{name}_conv", f"{name}_batchnorm", kernel)
        return [*self.padding(), *layers]


def _fpn(config: Pipeline, extractor: Extractor) -> Features:
    """A feature pyramid network."""
    at = config.model("feature_extractor")
    is_mobile = extractor.backbone != "resnet"
    is_lite = is_mobile and config.flag(False, *at, "use_depthwise")
    depth = _channels(config, config.integer(256, *at, "fpn", "additional_layer_depth"))
    hyperparams = Hyperparams.of(config, *at, "conv_hyperparams")
    pyramid = _Pyramid(hyperparams, depth, is_lite, is_mobile and _is_padded(config))
    finest, coarsest = levels_of(config)
    top = min(coarsest, _TOP_LEVEL)
    name, number = extractor.coarse
    backbone = backbone_of(config, extractor)
    channels = {level: outputs_of(backbone, layer) for level, layer in _LEVELS[extractor.backbone].items()}
    tracked = {
        **({"_conv_defs": plain()} if is_lite else {}),
        "_feature_blocks" if is_mobile else "_resnet_block_names": plain(),
        "_coarse_feature_layers": listed(
            listed(pyramid.block(f"{extractor.scope}/bottom_up_{name}{number + step}"))
            for step in range(coarsest - top)
        ),
        "classification_backbone": backbone,
        "_fpn_features_generator": _top_down(
            pyramid, f"{extractor.scope}/FeatureMaps/top_down", [channels[level] for level in range(finest, top + 1)]
        ),
    }
    return Features(Tracked(tracked), (depth,) * (coarsest - finest + 1))


def _top_down(pyramid: _Pyramid, scope: str, channels: list[int]) -> Tracked:
    """Projections of the backbone's maps (`channels`, finest first), added from the top down, and smoothed."""
    projections = [
        conv(f"{scope}/projection_{number}", (1, 1, inputs, pyramid.depth), bias=True)
        for number, inputs in enumerate(channels, start=1)
    ]
    lower = range(len(channels) - 1, 0, -1)
    return Tracked(
        {
            "top_layers": listed(projections[-1:]),
            "residual_blocks": listed(listed([projections[n - 1]]) for n in lower),
            "top_down_blocks": listed(listed([plain()]) for _ in lower),
            "reshape_blocks": listed(listed(pyramid.padding()) for _ in lower),
            "conv_layers": listed(listed(pyramid.block(f"{scope}/smoothing_{n}")) for n in lower),
        }
    )
