"""`tf2`: object-based checkpoints, as `tf.train.Checkpoint` and Keras' `save_weights` write them."""

from __future__ import annotations

from ckptmigrate.formats.format import Format
from ckptmigrate.formats.tf2.reader import identify, read
from ckptmigrate.formats.tf2.writer import Tf2Writer

FORMAT = Format(
    name="tf2",
    title="TF2 checkpoint: tensors by object path (tf.train.Checkpoint)",
    suffixes=(".index",),
    identify=identify,
    read=read,
    writer=Tf2Writer(),
    default_name="ckpt-0",
)
