"""`tf1`: name-based tensor bundles, as `tf.compat.v1.train.Saver` writes them."""

from __future__ import annotations

from ckptmigrate.formats.format import Format
from ckptmigrate.formats.tf1.reader import identify, read
from ckptmigrate.formats.tf1.writer import Tf1Writer

FORMAT = Format(
    name="tf1",
    title="TF1 checkpoint: tensors by name (tf.compat.v1.train.Saver)",
    suffixes=(".index",),
    identify=identify,
    read=read,
    writer=Tf1Writer(),
    default_name="model.ckpt",
)
