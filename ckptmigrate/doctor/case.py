"""A case: what is examined, and what every examination may ask of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckptmigrate import formats
from ckptmigrate.detection.prototext import Document
from ckptmigrate.doctor.scan import Scan
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, OptimizerState

EMA = "ema"


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint with what it is held against.

    Attributes:
        given: The path as it was typed.
        checkpoint: What it led to.
        against: A checkpoint of the program that would restore it, or None.
        given_against: Its path as it was typed.
        pipeline: The detection pipeline that it is for, or None.
        scans: What the values of each stored key are like; those that could not be read are missing.
        installed: Package -> version, of the Keras packages that are installed.
    """

    given: str
    checkpoint: Checkpoint
    against: Checkpoint | None = None
    given_against: str = ""
    pipeline: Document | None = None
    scans: Mapping[str, Scan] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)

    def convert(self, *options: str, to: str = "") -> str:
        """The command that makes a mended copy, ready to be typed."""
        own = formats.by_name(self.checkpoint.format)
        target = to or (own.name if own.is_writable else "tf1")
        words = ["ckptmigrate", "convert", shlex.quote(self.given), "DST", "--to", target, *map(shlex.quote, options)]
        return " ".join(words)

    @property
    def prefix(self) -> Path:
        """Where the checkpoint's files stand, and what their names begin with."""
        path = self.checkpoint.path
        return path / "variables" / "variables" if self.checkpoint.format == "savedmodel" else path


Examination = Callable[[Case], Iterator[Issue]]


def trained(checkpoint: Checkpoint) -> Iterator[OptimizerState]:
    """The optimizers of a checkpoint, inner ones in the place of their wrappers; no averages."""
    for state in checkpoint.optimizers:
        inner = state
        while inner.wraps is not None:
            inner = inner.wraps
        if inner.kind not in (EMA, "loss_scale"):
            yield inner
