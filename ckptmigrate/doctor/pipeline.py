"""The pipeline: what a `pipeline.config` of the Object Detection API asks of the checkpoint.

Fields of object_detection/protos/{pipeline,train,eval}.proto; what fine_tune_checkpoint_type restores:
meta_architectures/ssd_meta_arch.py and faster_rcnn_meta_arch.py, `restore_from_objects`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ckptmigrate.detection.prototext import Document
from ckptmigrate.doctor.case import Case
from ckptmigrate.issues import Issue

_PLACEHOLDER = "PATH_TO_BE_CONFIGURED"
_CLASSES = re.compile(r"class_?predict", re.IGNORECASE)
_RESTORED = {
    "classification": "the backbone alone: everything else starts anew",
    "detection": "the feature extractor alone in TF2: box and class predictors start anew",
    "fine_tune": "everything but the class predictor's last layer",
    "full": "the whole model: another number of classes stops it",
}


def examine_pipeline(case: Case) -> Iterator[Issue]:
    """Number of classes, what is restored from where."""
    document = case.pipeline
    if document is None:
        return
    model = document.root.fields and document.find("model")
    if not model:
        message = "no `model { ... }` in it: it is no pipeline of the Object Detection API"
        yield Issue("pipeline", "error", "", message, where=document.source)
        return
    yield from _classes(case, document)
    yield from _start(case, document)


def _classes(case: Case, document: Document) -> Iterator[Issue]:
    message = document.find("model")
    kinds = [f.name for f in message.message.fields] if message is not None and message.message is not None else []
    for kind in kinds:
        field = document.find("model", kind, "num_classes")
        told = document.text_of("model", kind, "num_classes") or ""
        if field is None or not told.isdecimal() or not int(told):
            continue
        count = int(told)
        heads = {
            name: v.tensor.shape[-1]
            for name, v in case.checkpoint.variables.items()
            if _CLASSES.search(name) and v.tensor.shape and name.endswith(("weights", "biases", "kernel", "bias"))
        }
        for name, extent in heads.items():
            if extent % (count + 1) and extent % count:
                text = (
                    f"has {extent} outputs, no multiple of {count + 1} or {count}: it is the head of another number of "
                    f"classes than num_classes: {count}"
                )
                hint = "a fine_tune_checkpoint_type that leaves heads out, or num_classes as it was"
                yield Issue("head", "error", name, text, hint, document.position(field))


def _start(case: Case, document: Document) -> Iterator[Issue]:
    field = document.find("train_config", "fine_tune_checkpoint")
    if field is None:
        return
    given, where = document.text_of("train_config", "fine_tune_checkpoint") or "", document.position(field)
    prefix, own = Path(given), case.checkpoint.path
    if given.startswith(_PLACEHOLDER):
        hint = f'fine_tune_checkpoint: "{own.resolve()}"'
        yield Issue(
            "pipeline", "error", "", "fine_tune_checkpoint was never set: training starts from scratch", hint, where
        )
    elif prefix.suffix in (".index", ".meta") or ".data-" in prefix.name:
        text = f"fine_tune_checkpoint names a file, {prefix.name}: a prefix is wanted"
        yield Issue("pipeline", "error", "", text, f'fine_tune_checkpoint: "{_stem(given)}"', where)
    elif prefix.name != own.name:
        text = f"fine_tune_checkpoint is another checkpoint than this one: {given}"
        yield Issue("pipeline", "note", "", text, where=where)
    kind = document.text_of("train_config", "fine_tune_checkpoint_type") or ""
    if kind in _RESTORED:
        found = document.find("train_config", "fine_tune_checkpoint_type")
        assert found is not None
        text = f"fine_tune_checkpoint_type {kind} restores {_RESTORED[kind]}"
        yield Issue("pipeline", "note", "", text, where=document.position(found))


def _stem(given: str) -> str:
    return re.sub(r"\.(?:index|meta|data-\d+-of-\d+)$", "", given)
