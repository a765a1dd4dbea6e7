"""`tf1`: name-based tensor bundles, as `tf.compat.v1.train.Saver` writes them."""

from __future__ import annotations

from ckptmigrate.formats.format import Format

FORMAT = Format(
    name="tf1",
    title="TF1 checkpoint: tensors by name (tf.compat.v1.train.Saver)",
    suffixes=(".index",),
    home=__name__,
    default_name="model.ckpt",
)
