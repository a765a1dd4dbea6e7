"""A pipeline.config: what it says of its model, with the defaults of the Object Detection API's protos.

Facts: object_detection/protos/{pipeline,model,ssd,faster_rcnn,box_predictor,anchor_generator,...}.proto.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ckptmigrate.detection.prototext import Document, read
from ckptmigrate.detection.textformat import Field, Message
from ckptmigrate.errors import SourceError
from ckptmigrate.wire.remote import held

TRUE, FALSE = frozenset({"true", "True", "t", "1"}), frozenset({"false", "False", "f", "0"})
PREDICTORS = ("convolutional_box_predictor", "weight_shared_convolutional_box_predictor", "mask_rcnn_box_predictor")

INTEGERS = range(-(1 << 31), 1 << 32)  # int32 and uint32, as the configuration's messages have them
MAX_NUMBER = 1e38  # they hold floats of 32 bits


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline.config.

    Attributes:
        document: Its text, which edits keep but for what they name.
        architecture: `ssd` or `faster_rcnn`: the model's one field.
    """

    document: Document
    architecture: str

    def model(self, *path: str) -> tuple[str, ...]:
        """A path below the model's one message."""
        return ("model", self.architecture, *path)

    @property
    def extractor(self) -> str:
        """The feature extractor's type: `ssd_mobilenet_v2`."""
        return self.text("", *self.model("feature_extractor", "type"))

    @property
    def predictor(self) -> tuple[str, ...]:
        """Where the box predictor stands, its kind included; empty when there is none that is known."""
        name = "box_predictor" if self.architecture == "ssd" else "second_stage_box_predictor"
        found = [kind for kind in PREDICTORS if self.document.has(*self.model(name, kind))]
        return self.model(name, found[-1]) if found else ()

    @property
    def num_classes(self) -> int:
        """Classes without the background."""
        return self.integer(0, *self.model("num_classes"))

    def text(self, default: str, *path: str) -> str:
        """A string or enum value."""
        value = self.document.text_of(*path)
        return default if value is None else value

    def integer(self, default: int, *path: str) -> int:
        """An integer value."""
        value = self.document.text_of(*path)
        try:
            number = default if value is None else int(value, 0)
        except ValueError:
            raise self._wrong(path, "an integer") from None
        if number not in INTEGERS:
            raise self._wrong(path, "an integer of 32 bits")
        return number

    def number(self, default: float, *path: str) -> float:
        """A floating-point value."""
        value = self.document.text_of(*path)
        try:
            return default if value is None else _finite(value.rstrip("fF") if value[-1:] in "fF" else value)
        except ValueError:
            raise self._wrong(path, "a number") from None

    def flag(self, default: bool, *path: str) -> bool:
        """A bool value, in any of the spellings that protobuf takes."""
        value = self.document.text_of(*path)
        if value is not None and value not in TRUE | FALSE:
            raise self._wrong(path, "true or false")
        return default if value is None else value in TRUE

    def numbers(self, *path: str) -> tuple[float, ...]:
        """All values of a repeated number."""
        try:
            return tuple(_finite(v) for field in self.document.all(*path) for v in field.values)
        except ValueError:
            raise self._wrong(path, "numbers") from None

    def where(self, *path: str) -> str:
        """`file:line:column` of the field, or of the innermost message there is around it."""
        for end in range(len(path), 0, -1):
            if (field := self.document.find(*path[:end])) is not None:
                return self.document.position(field)
        return self.document.source

    def _wrong(self, path: tuple[str, ...], expected: str) -> SourceError:
        found = self.document.text_of(*path)
        return SourceError(f"{'.'.join(path)}: expected {expected}, found {found!r}", where=self.where(*path))


def _finite(text: str) -> float:
    number = float(text)
    if not abs(number) < MAX_NUMBER:
        raise ValueError
    return number


def read_pipeline(path: str | Path) -> Pipeline:
    """Reads a pipeline.config, of this machine or at a URL; a folder stands for the `pipeline.config` in it.

    Raises:
        SourceError: There is no such file, it is no text, no text format (line:column), or no detection model.
    """
    hint = "name the pipeline.config that the model was trained with; exported models have it beside them"
    with held(path) as there:
        file = there / "pipeline.config" if os.path.isdir(there) else there  # noqa: PTH112 Path.is_dir raises of long names
        return _pipeline(read(file, "a pipeline.config", hint))


def _pipeline(document: Document) -> Pipeline:
    field = document.find("model")
    if field is None or field.message is None:
        found = ", ".join(dict.fromkeys(f.name for f in document.root.fields)) or "nothing"
        hint = "a pipeline.config of the Object Detection API begins with model { ssd { ... } }"
        raise SourceError(f"no model in it, found {found}", where=document.source, hint=hint)
    architectures = [f for f in _messages(field) if f.messages]
    if len({f.name for f in architectures}) != 1:
        names = ", ".join(f.name for f in architectures) or "none"
        raise SourceError(f"expected one kind of model, found {names}", where=document.position(field))
    return Pipeline(document, architectures[0].name)


def _messages(field: Field) -> tuple[Field, ...]:
    message: Message | None = field.message
    return message.fields if message is not None else ()
