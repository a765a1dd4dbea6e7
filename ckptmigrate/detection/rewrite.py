"""A TF1 pipeline.config for the TF2 API: what changes, and why; all else stays as it was written.

Facts: object_detection/protos/*.proto, model_lib_v2.py, exporter_lib_v2.py, configs/tf2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ckptmigrate.detection.families import Family
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.predictors import MASK_DEPTH, mask_depth
from ckptmigrate.detection.prototext import Document
from ckptmigrate.detection.rcnn import box_classifier_channels
from ckptmigrate.detection.textformat import quoted

Path = tuple[str, ...]
TRAIN = "train_config"


class Change(NamedTuple):
    """One change: a value set, or a field removed where `value` is None.

    Attributes:
        path: The field.
        value: The literal.
        why: The reason.
        before: What stood there; "" for nothing.
    """

    path: Path
    value: str | None
    why: str
    before: str = ""

    def __str__(self) -> str:
        name, before = ".".join(self.path), f" (was {self.before})" if self.before else ""
        return f"{name} removed{before}" if self.value is None else f"{name}: {self.value}{before}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the new configuration is to say.

    Attributes:
        family: The TF2 side of the model.
        checkpoint: The prefix to fine-tune from.
        kind: What of it is restored: full | classification.
        num_classes: The new number of classes.
        has_averages: Whether the checkpoint keeps averages beside the weights.
    """

    family: Family
    checkpoint: str
    kind: str
    num_classes: int
    has_averages: bool


def rewritten(config: Pipeline, wish: Wish) -> tuple[Document, tuple[Change, ...]]:
    """The new text, and its changes; a field that says already what it should is no change."""
    document, done = config.document, []
    for change in _wanted(config, wish):
        field = document.find(*change.path)
        if field is None and change.value is None:
            continue
        if field is not None and change.value is not None and field.values[-1:] == (change.value,):
            continue
        before = " ".join(field.values) if field is not None and field.values else ("{...}" if field else "")
        if change.value is None:
            document = document.without(change.path)
        else:
            document = document.replaced(change.path, change.value)
        done.append(change._replace(before=before))
    return document, tuple(done)


def _wanted(config: Pipeline, wish: Wish) -> Iterator[Change]:
    at = config.model("feature_extractor", "type")
    yield Change(at, quoted(wish.family.extractor), "the TF2 API's own feature extractors are called so")
    if wish.num_classes != config.num_classes:
        yield Change(config.model("num_classes"), str(wish.num_classes), "asked for")
    yield from _of_rcnn(config)
    yield from _of_masks(config, wish)
    yield from _removed(config)
    yield from _of_training(wish)
    yield from _of_averages(config, wish)


def _of_rcnn(config: Pipeline) -> Iterator[Change]:
    if config.architecture != "faster_rcnn":
        return
    stride = config.model("feature_extractor", "first_stage_features_stride")
    if config.document.has(*stride):
        yield Change(stride, "16", "TF2's extractors work with a stride of 16 alone")
    if "resnet" in config.extractor and "inception" not in config.extractor:
        why = "TF1 runs the last block on every place of the crops, TF2 on every second: pooled so, they are the same"
        yield Change(config.model("maxpool_stride"), "1", why)


def _of_masks(config: Pipeline, wish: Wish) -> Iterator[Change]:
    """A depth of 0 is worked out from the number of classes, and would be another for another number."""
    at = (*config.predictor, MASK_DEPTH)
    has_masks = config.architecture == "faster_rcnn" and config.flag(False, *config.predictor, "predict_instance_masks")
    if has_masks and wish.num_classes != config.num_classes and config.integer(256, *at) == 0:
        depth = mask_depth(config, box_classifier_channels(config.extractor.removeprefix("faster_rcnn_")))
        yield Change(
            at, str(depth), "0 is worked out from the number of classes; the trained convolutions have this depth"
        )


_RESERVED = "TF2's protos don't know it any more"
_REMOVED: tuple[tuple[Path, str], ...] = (
    (("model", "ssd", "feature_extractor", "batch_norm_trainable"), _RESERVED),
    ((TRAIN, "from_detection_checkpoint"), "fine_tune_checkpoint_type says it"),
    ((TRAIN, "load_all_detection_checkpoint_vars"), "fine_tune_checkpoint_type says it"),
    (("graph_rewriter",), "the TF2 API doesn't train quantised models"),
)


def _removed(config: Pipeline) -> Iterator[Change]:
    yield from (Change(path, None, why) for path, why in _REMOVED if config.document.has(*path))


_KINDS = {
    "full": "the whole detector is restored; `detection` would leave the box predictor out",
    "classification": "the backbone alone is restored, which is all that a classification checkpoint has",
}


def _of_training(wish: Wish) -> Iterator[Change]:
    yield Change((TRAIN, "fine_tune_checkpoint"), quoted(wish.checkpoint), "the ported checkpoint")
    yield Change((TRAIN, "fine_tune_checkpoint_version"), "V2", "TF2 restores object-based checkpoints alone")
    yield Change((TRAIN, "fine_tune_checkpoint_type"), quoted(wish.kind), _KINDS[wish.kind])


def _of_averages(config: Pipeline, wish: Wish) -> Iterator[Change]:
    """Averages that became the weights, or were left behind, aren't there to be evaluated or resumed."""
    if wish.has_averages:
        return
    if config.flag(False, "eval_config", "use_moving_averages"):
        yield Change(("eval_config", "use_moving_averages"), "false", "the checkpoint has one value for each variable")
    optimizer = (TRAIN, "optimizer")
    if config.document.has(*optimizer) and config.flag(True, *optimizer, "use_moving_average"):
        why = "the checkpoint's optimizer state is that of an optimizer without averages; true starts them anew"
        yield Change((*optimizer, "use_moving_average"), "false", why)
