"""`tf2`: object-based checkpoints, as `tf.train.Checkpoint` and Keras' `save_weights` write them."""

from __future__ import annotations

from ckptmigrate.formats.format import Format

FORMAT = Format(
    name="tf2",
    title="TF2 checkpoint: tensors by object path (tf.train.Checkpoint)",
    suffixes=(".index",),
    home=__name__,
    default_name="ckpt-0",
)
