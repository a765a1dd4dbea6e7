"""Where the TF2 code computes something else from the same weights: what, how much, and what to do.

Facts: both detectors built by the real API, the same values in both, all raw outputs compared on one image.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.detection.backbones import V2_FILTERS, V2_STRIDED, divisible
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.issues import Issue

FINE_TUNE = "fine-tune the ported model for some thousand steps before it is used"


def differences(config: Pipeline) -> tuple[Issue, ...]:
    """The findings for the model of a TF1 configuration."""
    return tuple(issue for find in _FINDERS for issue in find(config))


def _issue(config: Pipeline, severity: str, path: tuple[str, ...], message: str, hint: str) -> Issue:
    return Issue("architecture", severity, config.extractor, message, hint, config.where(*path))  # type: ignore[arg-type]


def _top_down(config: Pipeline) -> Iterator[Issue]:
    if config.extractor.endswith("_fpn"):
        text = (
            "the finest level of the feature pyramid differs, by as much as its signal: TF1 adds the sum of the level "
            "above, TF2 what that becomes after smoothing; all coarser levels agree"
        )
        yield _issue(config, "warning", config.model("feature_extractor", "type"), text, FINE_TUNE)


def _resnet_fpn(config: Pipeline) -> Iterator[Issue]:
    at = config.model("feature_extractor", "override_base_feature_extractor_hyperparams")
    if config.extractor.startswith("ssd_resnet") and config.flag(False, *at):
        text = (
            "all levels differ: TF1 keeps plain ReLU after additions and epsilon 1e-5 in the backbone, TF2 has RELU_6 "
            "everywhere and the epsilon of conv_hyperparams"
        )
        hint = f"{FINE_TUNE}; --compensate inference makes the backbone's outputs exact, for inference alone"
        yield _issue(config, "warning", at, text, hint)


def _mixed_7a(config: Pipeline) -> Iterator[Issue]:
    if config.extractor == "faster_rcnn_inception_resnet_v2":
        text = (
            "the second stage differs by some 5 % of its range: TF1 pads the strided layers of Mixed_7a with VALID "
            "(17 -> 8), TF2 with SAME (17 -> 9); the first stage agrees"
        )
        yield _issue(config, "warning", config.model("feature_extractor", "type"), text, FINE_TUNE)


def _stride(config: Pipeline) -> Iterator[Issue]:
    at = config.model("feature_extractor", "first_stage_features_stride")
    stride = config.integer(16, *at)
    if config.architecture == "faster_rcnn" and stride != 16:
        text = (
            f"first_stage_features_stride {stride} becomes 16, the only one that TF2's extractors work with: the "
            "weights are the same, the grid of anchors and the number of proposals aren't"
        )
        yield _issue(config, "warning", at, text, FINE_TUNE)


def _narrow_v2(config: Pipeline) -> Iterator[Issue]:
    at = config.model("feature_extractor")
    if not config.extractor.startswith("ssd_mobilenet_v2"):
        return
    width, least = config.number(1.0, *at, "depth_multiplier"), config.integer(16, *at, "min_depth")
    lost = _lost_additions(width, least)
    if lost:
        text = (
            f"depth_multiplier {width:g} with min_depth {least}: names and shapes agree and the outputs don't: TF1 has "
            f"residual additions in blocks {', '.join(map(str, lost))}, which min_depth widens, and TF2 has none there"
        )
        hint = f"--allow-loss ports it all the same: {FINE_TUNE}; min_depth 8 on both sides is exact"
        yield _issue(config, "loss", (*at, "min_depth"), text, hint)


def _lost_additions(width: float, least: int) -> list[int]:
    """Blocks of MobileNet V2 where slim adds, by the widened channels, and Keras, by those before, doesn't."""
    lost, channels = [], max(divisible(32 * width), least)
    for block, filters in enumerate(V2_FILTERS):
        wanted = divisible(int(filters * width))
        if block not in V2_STRIDED and channels == max(wanted, least) != wanted:
            lost.append(block)
        channels = max(wanted, least)
    return lost


def _narrow_v1(config: Pipeline) -> Iterator[Issue]:
    at = config.model("feature_extractor", "depth_multiplier")
    width = config.number(1.0, *at)
    if config.extractor.startswith("ssd_mobilenet_v1") and width != 1:
        text = (
            f"depth_multiplier {width:g}: TF2 applies it twice in this backbone, so that no configuration gives the "
            "widths of TF1"
        )
        yield _issue(config, "error", at, text, "port a MobileNet V2, or train ssd_mobilenet_v1_keras anew")


_FINDERS = (_top_down, _resnet_fpn, _mixed_7a, _stride, _narrow_v2, _narrow_v1)
