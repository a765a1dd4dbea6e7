"""`tf1-v1`: the single-table files that `Saver` wrote until 2016 (`SaverDef.V1`). Read only."""

from __future__ import annotations

from ckptmigrate.formats.format import Format

FORMAT = Format(
    name="tf1-v1",
    title="TF1 checkpoint of version 1: one table file (Saver before TensorFlow 0.12)",
    suffixes=(),
    home=__name__,
    is_writable=False,
    hint="TensorFlow itself has left this format: write tf1 or tf2",
)
