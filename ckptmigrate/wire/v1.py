"""V1 checkpoints: tables whose values are the tensors themselves, as protobuf messages of typed numbers.

Messages: tensorflow/core/util/saved_tensor_slice.proto and tensorflow/core/framework/tensor.proto; the reader is
tensorflow/core/util/tensor_slice_reader.cc.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.dtypes import BY_TF, REF_OFFSET
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.bundle_messages import decode_region, decode_shape
from ckptmigrate.wire.protobuf import MalformedError, fields, signed, text
from ckptmigrate.wire.slices import Region, concrete, coverage_fault, index_of, slice_key
from ckptmigrate.wire.sstable import Table, read_table
from ckptmigrate.wire.tensor_proto import typed_values

_CONSUMER_VERSION = 1  # tensorflow/core/public/version.h, `TF_CHECKPOINT_VERSION`

# DataType numbers that can be saved in this format (saved_tensor_slice_util.h, `SaveTypeTraits`).
_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 18, 19})


@dataclass(frozen=True, slots=True)
class V1Tensor:
    """A tensor of a V1 checkpoint.

    Attributes:
        name: The variable's name.
        dtype: TensorFlow's DataType number; reference types as their base type.
        shape: Of the whole tensor.
        parts: (table, region as the file spells it) of each part; a whole tensor is one part.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    parts: tuple[tuple[Table, Region], ...]


def is_v1(path: Path) -> bool:
    """Whether a table is a V1 checkpoint: what stands under its empty key starts as a list of tensors does.

    Raises:
        SourceError: The file can't be opened.
        DamagedError: Its index or its first block is damaged.
    """
    value = read_table(path).find(b"")
    return value is not None and value[:1] == b"\x0a"  # the header of a bundle starts with 08, or is empty


def read_v1(paths: Sequence[Path]) -> Mapping[str, V1Tensor]:
    """Opens a V1 checkpoint: one table, or one per shard. Reads the list of tensors only.

    Returns:
        The tensors by name, in the files' own order.

    Raises:
        SourceError: A file can't be opened, or wants a newer reader.
        DamagedError: A table or its list of tensors is damaged, or two shards contradict each other.
    """
    tensors: dict[str, V1Tensor] = {}
    for path in paths:
        table = read_table(path)
        try:
            found = _tensors(table)
        except MalformedError as error:
            raise error.damaged(f"{path}, the list of tensors") from error
        for tensor in found:
            known = tensors.get(tensor.name, V1Tensor(tensor.name, tensor.dtype, tensor.shape, ()))
            if (known.dtype, known.shape) != (tensor.dtype, tensor.shape):
                raise DamagedError(
                    f"shape {tensor.shape} and type {tensor.dtype}; before it was {known.shape} and {known.dtype}",
                    where=f"{path}, tensor {tensor.name!r}",
                )
            tensors[tensor.name] = replace(tensor, parts=known.parts + tensor.parts)
    return tensors


def read_v1_tensor(tensor: V1Tensor) -> np.ndarray[Any, Any]:
    """The elements of a tensor, its parts put together.

    Returns:
        An array of the tensor's shape; strings as an object array of bytes.

    Raises:
        DamagedError: A part is missing, overlaps another, or doesn't hold as many values as its shape asks for.
    """
    where = f"{', '.join(sorted({str(table.path) for table, _ in tensor.parts}))}, tensor {tensor.name!r}"
    regions = []
    for _, given in tensor.parts:
        region = concrete(given, tensor.shape)
        if region is None:
            raise DamagedError(f"part {given} is not inside shape {tensor.shape}", where=where)
        regions.append(region)
    fault = coverage_fault(regions, tensor.shape)
    if fault:
        raise DamagedError(f"shape {tensor.shape}, {fault}", where=where)
    # The parts are read before memory is taken for the whole: each is bounded by the bytes that hold it.
    values = [_part(tensor, table, given, region) for (table, given), region in zip(tensor.parts, regions, strict=True)]
    if len(values) == 1:
        return values[0]
    whole: np.ndarray[Any, Any] = np.empty(tensor.shape, BY_TF[tensor.dtype].numpy)
    for region, value in zip(regions, values, strict=True):
        whole[index_of(region)] = value
    return whole


def _tensors(table: Table) -> list[V1Tensor]:
    """What the first entry of a table, under the empty key, lists."""
    value = table.find(b"")
    if value is None:
        raise DamagedError("no list of tensors: the table has no empty key", where=str(table.path))
    meta = dict(fields(value)).get(0x0A)
    if meta is None:
        raise DamagedError("no list of tensors under the empty key", where=str(table.path))
    found = []
    for tag, content in fields(meta):
        if tag == 0x0A:
            found.append(_tensor(content, table))
        elif tag == 0x12:
            wanted = signed(dict(fields(content)).get(0x10, 0))
            if wanted > _CONSUMER_VERSION:
                raise SourceError(
                    f"the file wants a reader of version {wanted}; this one is version {_CONSUMER_VERSION}",
                    where=str(table.path),
                )
    return found


def _tensor(data: bytes, table: Table) -> V1Tensor:
    """A SavedSliceMeta."""
    name, dtype = "", 0
    shape: tuple[int, ...] = ()
    regions: list[Region] = []
    for tag, value in fields(data):
        if tag == 0x0A:
            name = text(value)
        elif tag == 0x12:
            shape = decode_shape(value)
        elif tag == 0x18:
            dtype = value
        elif tag == 0x22:
            regions.append(decode_region(value))
    if dtype > REF_OFFSET:
        dtype -= REF_OFFSET
    if dtype not in _TYPES:
        raise MalformedError(f"tensor {name!r} has element type {signed(dtype)}, which this format can't hold", 0)
    if not regions:
        raise MalformedError(f"tensor {name!r} has no part, not even a whole one", 0)
    return V1Tensor(name, dtype, shape, tuple((table, region) for region in regions))


def _part(tensor: V1Tensor, table: Table, given: Region, region: Region) -> np.ndarray[Any, Any]:
    where = f"{table.path}, tensor {tensor.name!r}, part {given}"
    value = table.find(slice_key(tensor.name.encode("utf-8", "surrogateescape"), given))
    if value is None:
        raise DamagedError("listed, but not in the file", where=where)
    shape = tuple(length for _, length in region)
    try:
        saved = dict(fields(memoryview(value))).get(0x12, b"")  # views: a tensor may be large
        content = dict(fields(saved)).get(0x1A, b"")
        flat = typed_values(fields(content), BY_TF[tensor.dtype])
    except MalformedError as error:
        raise error.damaged(where) from error
    if len(flat) != math.prod(shape):
        raise DamagedError(f"{len(flat)} values for shape {shape}", where=where)
    return flat.reshape(shape)
