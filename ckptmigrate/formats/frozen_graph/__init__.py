"""`frozen-graph`: the constants of a GraphDef, which freezing made of a model's variables."""

from __future__ import annotations

from ckptmigrate.formats.format import Format

FORMAT = Format(
    name="frozen-graph",
    title="frozen TensorFlow graph: the constants of a GraphDef",
    suffixes=(".pb",),
    home=__name__,
    is_writable=False,
)
