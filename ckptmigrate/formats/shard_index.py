"""The JSON index of a checkpoint in shards, as safetensors and Keras write it: what lies in which file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ckptmigrate.document.fields import Cursor, parse
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.issues import Issue
from ckptmigrate.wire.reading import head, lacks

MAX_INDEX_BYTES = 100_000_000  # a million names


def read_weight_map(path: Path, entries: str) -> tuple[Cursor, Cursor]:
    """The index, and its object `weight_map`.

    Args:
        path: The index.
        entries: What the map names, for errors: "tensor names and files".

    Raises:
        SourceError: It can't be read.
        DamagedError: It is no such index.
    """
    try:
        data = head(path, MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=str(path)) from error
    if len(data) > MAX_INDEX_BYTES:
        raise DamagedError(f"an index of more than {MAX_INDEX_BYTES} bytes", where=str(path))
    index = parse(data, str(path))
    index.fields()
    weight_map = index.child("weight_map")
    if weight_map is None:
        raise index.wrong(f"an object of {entries}", None, "weight_map")
    return index, weight_map


def beside(index: Path, weight_map: Cursor, name: object) -> Path:
    """A shard lies beside its index; a name that leads elsewhere is an attack."""
    if not isinstance(name, str) or name in ("", ".", "..") or any(c in name for c in "/\\\0:"):
        raise weight_map.wrong("the name of a file beside the index", name)
    return index.with_name(name)


def missing_shards(lost: Mapping[Path, Sequence[str]], what: str) -> list[Issue]:
    """An error for every shard that isn't there, by what it holds."""
    return [
        Issue("missing", "error", names[0], f"a shard with {len(names)} {what} {lacks(file)}", "", str(file))
        for file, names in lost.items()
    ]
