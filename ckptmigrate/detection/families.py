"""The detection models that both APIs have: TF1 extractor type, TF2 type, mapping; and why the others can't be ported.

Facts: object_detection/builders/model_builder.py, its tables of extractor classes for TF1 and TF2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.rcnn import rcnn_model
from ckptmigrate.detection.ssd import EXTRACTORS, ssd_model
from ckptmigrate.detection.tracked import Tracked
from ckptmigrate.errors import SourceError

KERAS = "_keras"  # what the types of the TF2 API end in

_RCNN = {
    "faster_rcnn_inception_resnet_v2": "od/rcnn_inception_resnet_v2",
    **{f"faster_rcnn_resnet{depth}": f"od/rcnn_resnet{depth}" for depth in (50, 101, 152)},
}
_SSD = {
    "ssd_mobilenet_v1": "od/ssd_mobilenet_v1",
    "ssd_mobilenet_v2": "od/ssd_mobilenet_v2",
    "ssd_mobilenet_v1_fpn": "od/ssd_mobilenet_v1_fpn",
    "ssd_mobilenet_v2_fpn": "od/ssd_mobilenet_v2_fpn",
    "ssd_resnet50_v1_fpn": "od/ssd_resnet_v1_fpn",
    "ssd_resnet101_v1_fpn": "od/ssd_resnet101_v1_fpn",
    "ssd_resnet152_v1_fpn": "od/ssd_resnet152_v1_fpn",
}
_DEPTHWISE = {
    "od/ssd_mobilenet_v2": "od/ssdlite_mobilenet_v2",
    "od/ssd_mobilenet_v2_fpn": "od/ssd_mobilenet_v2_fpnlite",
}

# Extractors of TF1 alone -> the TF2 one that is nearest.
_NEAREST = {
    "ssd_inception_v2": "ssd_mobilenet_v2_keras",
    "ssd_inception_v3": "ssd_resnet50_v1_fpn_keras",
    "ssd_mobilenet_v1_ppn": "ssd_mobilenet_v1_fpn_keras",
    "ssd_mobilenet_v2_mnasfpn": "ssd_mobilenet_v2_fpn_keras",
    "ssd_mobilenet_v3_large": "ssd_mobilenet_v2_keras",
    "ssd_mobilenet_v3_small": "ssd_mobilenet_v2_keras",
    "ssd_mobilenet_edgetpu": "ssd_mobilenet_v2_keras",
    "ssd_pnasnet": "ssd_resnet101_v1_fpn_keras",
    "embedded_ssd_mobilenet_v1": "ssd_mobilenet_v1_keras",
    **{f"ssd_mobiledet_{chip}": "ssd_mobilenet_v2_fpn_keras" for chip in ("cpu", "dsp", "edgetpu", "gpu")},
    **{f"ssd_resnet{depth}_v1_ppn": f"ssd_resnet{depth}_v1_fpn_keras" for depth in (50, 101, 152)},
    "faster_rcnn_nas": "faster_rcnn_inception_resnet_v2_keras",
    "faster_rcnn_pnas": "faster_rcnn_inception_resnet_v2_keras",
    "faster_rcnn_inception_v2": "faster_rcnn_resnet50_keras",
    "faster_rcnn_mobilenet_v1": "faster_rcnn_resnet50_keras",
}


class Family(NamedTuple):
    """One kind of detector.

    Attributes:
        extractor: Its type in the TF2 API.
        mapping: The rules that port its variables.
    """

    extractor: str
    mapping: str


def family_of(config: Pipeline) -> Family:
    """The family of a TF1 configuration.

    Raises:
        SourceError: It can't be ported; the reason, and the nearest alternative.
    """
    where = config.where(*config.model("feature_extractor", "type"))
    name = config.extractor
    if name.endswith(KERAS):
        hint = (
            "nothing has to be ported; ckptmigrate convert CKPT OUT --to FORMAT writes its checkpoint in other formats"
        )
        raise SourceError(f"{name} is an extractor of the TF2 API already", where=where, hint=hint)
    table: Mapping[str, str] = _SSD if config.architecture == "ssd" else _RCNN
    if name not in table:
        raise SourceError(_why_not(config, name), where=where, hint=_alternative(name))
    _check_predictor(config)
    mapping = table[name]
    is_depthwise = config.flag(False, *config.model("feature_extractor", "use_depthwise"))
    return Family(name + KERAS, _DEPTHWISE.get(mapping, mapping) if is_depthwise else mapping)


def detector(config: Pipeline) -> Tracked:
    """The TF2 model that the API builds from a configuration of either API."""
    name = config.extractor.removesuffix(KERAS)
    if config.architecture == "ssd":
        return ssd_model(config, EXTRACTORS[name])
    return rcnn_model(config, name.removeprefix("faster_rcnn_"))


def _why_not(config: Pipeline, name: str) -> str:
    if config.architecture not in ("ssd", "faster_rcnn"):
        return f"models of kind {config.architecture} can't be ported; expected ssd or faster_rcnn"
    if not name:
        return "the feature extractor has no type"
    return f"the TF2 API has no extractor {name!r}"


def _alternative(name: str) -> str:
    near = _NEAREST.get(name)
    known = ", ".join(sorted((*_SSD, *_RCNN)))
    if near is None:
        return f"extractors that can be ported: {known}"
    return (
        f"the nearest one is {near}: train it anew, from a classification or detection checkpoint of the TF2 model zoo"
    )


def _check_predictor(config: Pipeline) -> None:
    """Refuses predictors that the TF2 code lacks, or builds in another way than the mapping's."""
    name = "box_predictor" if config.architecture == "ssd" else "second_stage_box_predictor"
    where = config.where(*config.model(name))
    hint = "train a TF2 model of that family anew; its backbone can be ported with convert --mapping"
    if not config.predictor:
        raise SourceError("expected a convolutional, weight-shared or Mask R-CNN box predictor", where=where, hint=hint)
    at = config.predictor
    if config.architecture == "faster_rcnn":
        if config.integer(2, *config.model("number_of_stages")) < 2:
            raise SourceError("number_of_stages: 1: only models with a second stage are ported", where=where, hint=hint)
        for setting in ("predict_keypoints", "convolve_then_upsample_masks"):
            if config.flag(False, *at, setting):
                raise SourceError(
                    f"{setting}: there is no port of such a head", where=config.where(*at, setting), hint=hint
                )
