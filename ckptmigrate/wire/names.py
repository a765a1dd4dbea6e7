"""How files of bundles and unfinished outputs are called; the block in which word is left of a bundle's origin."""

from __future__ import annotations

from pathlib import Path

INDEX_SUFFIX = ".index"
STAGE_MARK = ".ckptmigrate-"  # in the names of unfinished outputs, and of no others
PROVENANCE_BLOCK = b"ckptmigrate.provenance"  # a name in the table's metaindex; TensorFlow reads no metaindex


def index_name(name: str) -> str:
    """The index file of the bundle `name`."""
    return name + INDEX_SUFFIX


def data_name(name: str, shard: int, num_shards: int) -> str:
    """The data file of a shard (tensorflow/core/util/tensor_bundle/naming.cc).

    >>> data_name("model.ckpt", 0, 2)
    'model.ckpt.data-00000-of-00002'
    """
    return f"{name}.data-{shard:05d}-of-{num_shards:05d}"


def index_file(prefix: Path) -> Path:
    """The path of a bundle's index."""
    return prefix.with_name(index_name(prefix.name))


def data_file(prefix: Path, shard: int, num_shards: int) -> Path:
    """The path of a bundle's data file."""
    return prefix.with_name(data_name(prefix.name, shard, num_shards))
