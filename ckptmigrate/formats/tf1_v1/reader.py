"""Reading V1 checkpoints: one table file called as the checkpoint is, or shards PREFIX-SSSSS-of-NNNNN.

File names: tensorflow/python/training/saver.py (`Saver`, `sharded`) and tensorflow/core/util/saved_tensor_slice_util.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from ckptmigrate.dtypes import BY_TF
from ckptmigrate.errors import CkptMigrateError, SourceError
from ckptmigrate.formats.named import named
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor
from ckptmigrate.wire.sstable import is_table
from ckptmigrate.wire.v1 import is_v1, read_v1, read_v1_tensor

# PREFIX-00000-of-00001, one of the shards; PREFIX-?????-of-00001, all of them, as Saver itself spells it.
_SHARD = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5,}|\?{5})-of-(?P<count>\d{5,})", re.DOTALL)
_MOST_SHARDS = 100_000  # file names count them with five digits


def identify(path: Path) -> bool:
    """Whether `path` is a V1 file, one of its shards, their pattern, or their prefix."""
    try:
        return any(is_table(file) and is_v1(file) for file in _files(path) if file.is_file())
    except (CkptMigrateError, OSError):
        return False


def read(path: Path) -> Checkpoint:
    """Opens a V1 checkpoint; reads its list of tensors, and scalars of optimizers.

    Raises:
        SourceError: There is no such file.
        DamagedError: A table or its list of tensors is damaged.
    """
    expected = _files(path)
    files = tuple(file for file in expected if file.is_file())
    if not files:
        raise SourceError("no such file", where=str(path))
    found = read_v1(files)
    tensors = {
        name: Tensor(entry.shape, BY_TF[entry.dtype], partial(read_v1_tensor, entry)) for name, entry in found.items()
    }
    state = named(tensors)
    return Checkpoint(
        path=path,
        format="tf1-v1",
        variables=state.variables,
        optimizers=state.optimizers,
        files=files,
        metadata={"num_shards": len(expected)},
        issues=(*(_missing(file) for file in expected if file not in files), *state.issues),
    )


def _files(path: Path) -> tuple[Path, ...]:
    """The files that make up the checkpoint `path` stands for, existing or not; one file when it is not sharded."""
    shard = _SHARD.fullmatch(path.name)
    if shard is None and not path.exists() and path.parent.is_dir():
        shards = (_SHARD.fullmatch(name) for name in os.listdir(path.parent) if name.startswith(path.name))  # noqa: PTH208 of many names
        named = {found["count"]: found for found in shards if found is not None and found["prefix"] == path.name}
        if len(named) > 1:
            raise SourceError(
                f"shards of {len(named)} checkpoints of this name: of {', '.join(sorted(named))}",
                where=str(path),
                hint=f"name one: {path.name}-?????-of-{min(named)}",
            )
        shard = next(iter(named.values()), None)
    if shard is None:
        return (path,)
    count, width = int(shard["count"]), len(shard["count"])
    if not 0 < count <= _MOST_SHARDS:
        return (path,)
    return tuple(path.with_name(f"{shard['prefix']}-{i:0{width}d}-of-{shard['count']}") for i in range(count))


def _missing(file: Path) -> Issue:
    return Issue(
        "missing",
        "error",
        message=f"shard {file.name} doesn't exist, so its tensors can't be read",
        hint="copy all shards of the checkpoint into one folder",
        where=str(file),
    )
