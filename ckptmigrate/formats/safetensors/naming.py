"""Names of safetensors files, their shards and their metadata."""

from __future__ import annotations

FORMAT_ID = "safetensors"
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
DOCUMENT = "ckptmigrate"  # the metadata entry that holds the document


def stem(name: str) -> str:
    """An output's name without what the format appends.

    >>> stem("model.safetensors"), stem("model.safetensors.index.json"), stem("model")
    ('model', 'model', 'model')
    """
    return name.removesuffix(INDEX_SUFFIX).removesuffix(SUFFIX)


def shard_name(name: str, number: int, count: int) -> str:
    """Hugging Face's name of one shard, counted from 1.

    >>> shard_name("model.safetensors", 1, 3)
    'model-00001-of-00003.safetensors'
    """
    return f"{stem(name)}-{number:05d}-of-{count:05d}{SUFFIX}"
