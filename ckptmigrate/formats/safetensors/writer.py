"""Writes safetensors: one file, or shards and their index. Bytes that lie raw in the source the kernel copies."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ckptmigrate.document import dump, encode
from ckptmigrate.dtypes import DType
from ckptmigrate.errors import OutputError, TargetError
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.formats.packing import UINT8, as_type, pack, unholdable
from ckptmigrate.formats.safetensors.header import MAX_HEADER_BYTES, METADATA, Place, write_header
from ckptmigrate.formats.safetensors.naming import DOCUMENT, FORMAT_ID, INDEX_SUFFIX, SUFFIX, shard_name, stem
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Extent, Tensor
from ckptmigrate.wire.copying import copy_range, write_all

_CHUNK = 16 << 20  # bytes between two calls of on_bytes

# The reference's order of tensors, widest first: every tensor begins at a multiple of its element size.
_ORDER = (
    *("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16"),
    *("F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"),
)


class SafetensorsWriter:
    """The writer; see `Writer`."""

    dialects: tuple[str, ...] = ()
    holds_averages: bool = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """Variants have no place; everything else has."""
        return unholdable(checkpoint, FORMAT_ID)

    def outputs(self, name: str) -> tuple[str, ...]:
        """The file, or the index and its shards."""
        base = glob.escape(stem(name))
        return glob.escape(name), f"{base}{INDEX_SUFFIX}", f"{base}-[0-9]*-of-[0-9]*{SUFFIX}"

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """Its files tell optimizers apart."""
        return {}

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """One file called `name`, or shards of at most `options.max_shard_bytes` and an index."""
        packed = pack(checkpoint, _holds, reserved=(METADATA,))
        added = {"provenance": dict(options.provenance)} if options.provenance else {}
        document = dump(encode(packed.checkpoint, packed.names, added)).decode("ascii")
        told = _told(checkpoint, options)
        shards = _shards(packed.members, options.max_shard_bytes)
        if len(shards) == 1:
            whole = _write_file(folder / name, shards[0], {**told, DOCUMENT: document}, options)
            return Written((name,), name, *whole)
        names = [shard_name(name, i, len(shards)) for i in range(1, len(shards) + 1)]
        moved = [_write_file(folder / n, shard, told, options) for n, shard in zip(names, shards, strict=True)]
        index = stem(name) + INDEX_SUFFIX
        _write_index(folder / index, dict(zip(names, shards, strict=True)), document)
        return Written((*names, index), index, sum(m for m, _ in moved), sum(c for _, c in moved))


def _holds(dtype: DType) -> bool:
    return bool(dtype.safetensors)


def _told(checkpoint: Checkpoint, options: WriteOptions) -> dict[str, str]:
    """The metadata beside the document: the source's own, with the `format` that transformers asks for.

    It names the framework whose layouts the weights follow: the template's, else the source's, else TensorFlow.
    """
    own = checkpoint.metadata.get(FORMAT_ID)
    template = options.template.metadata.get(FORMAT_ID) if options.template is not None else None
    told = {"format": "tf"} | (dict(own) if isinstance(own, Mapping) else {})
    if isinstance(template, Mapping) and "format" in template:
        told["format"] = template["format"]
    return {str(key): str(told[key]) for key in sorted(told) if key != DOCUMENT}


def _shards(members: Mapping[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    """The members of each file, in their order there. Within a type source order comes first: copies coalesce."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name in sorted(members, key=lambda name: _rank(name, members[name])):
        if limit is not None and shards[-1] and size + members[name].nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = members[name]
        size += members[name].nbytes
    return shards


def _rank(name: str, tensor: Tensor) -> tuple[int, int, str, int, str]:
    extent = _raw(tensor)
    place = (0, str(extent.file), extent.offset) if extent else (1, "", 0)
    return (_ORDER.index(tensor.dtype.safetensors), *place, name)


def _raw(tensor: Tensor) -> Extent | None:
    """The one extent whose bytes are the tensor's, in our order; None where there is none."""
    if len(tensor.extents) != 1:
        return None
    extent = tensor.extents[0]
    turned = extent.big_endian and tensor.dtype.nbytes > 1
    return None if turned or extent.region is not None or extent.nbytes != tensor.nbytes else extent


def _write_file(
    path: Path, members: Mapping[str, Tensor], metadata: Mapping[str, str], options: WriteOptions
) -> tuple[int, int]:
    """Returns the bytes that came through this process, and those that the kernel copied."""
    places: dict[str, Place] = {}
    at = 0
    for name, tensor in members.items():
        places[name] = Place(tensor.dtype, tensor.shape, at, at + tensor.nbytes)
        at += tensor.nbytes
    header = write_header(places, metadata)
    if len(header) > MAX_HEADER_BYTES:
        raise TargetError(
            f"the header would take {len(header)} bytes; safetensors allows {MAX_HEADER_BYTES}",
            where=path.name,
            hint="--to npz has no such limit on names; fewer objects and assets make the document smaller",
        )
    try:
        with ExitStack() as stack:
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            stack.callback(os.close, target)
            write_all(target, header, 0)
            copier = _Copier(target, options, stack)
            for run in _runs(members, places, len(header)):
                copier.copy(run)
            os.fsync(target)
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=str(path)) from error
    return copier.moved, copier.cloned


@dataclass(frozen=True, slots=True)
class _Run:
    """Bytes that go to one place: from a stretch of a file, or the values of a tensor."""

    at: int
    name: str
    tensor: Tensor
    file: Path | None = None
    offset: int = 0
    nbytes: int = 0


def _runs(members: Mapping[str, Tensor], places: Mapping[str, Place], start: int) -> Iterator[_Run]:
    """Members that follow one another both in the source and here are one run."""
    run: _Run | None = None
    for name, tensor in members.items():
        at, extent = start + places[name].begin, _raw(tensor)
        follows = run and extent and (run.file, run.offset + run.nbytes) == (extent.file, extent.offset)
        if run and extent and follows:
            run = _Run(run.at, run.name, run.tensor, run.file, run.offset, run.nbytes + extent.nbytes)
            continue
        if run:
            yield run
        run = _Run(at, name, tensor, extent.file, extent.offset, extent.nbytes) if extent else None
        if not extent:
            yield _Run(at, name, tensor, nbytes=tensor.nbytes)
    if run:
        yield run


@dataclass(slots=True)
class _Copier:
    """Puts runs into an open file; source files are opened once."""

    target: int
    options: WriteOptions
    stack: ExitStack
    moved: int = 0
    cloned: int = 0
    sources: dict[Path, int] = field(default_factory=dict)

    def copy(self, run: _Run) -> None:
        if run.file is None:
            data = as_type(run.tensor.read(), UINT8, (run.nbytes,)).data
            for begin in range(0, run.nbytes, _CHUNK):
                self.options.on_bytes(write_all(self.target, data[begin : begin + _CHUNK], run.at + begin))
            self.moved += run.nbytes
            return
        if run.file not in self.sources:
            self.sources[run.file] = os.open(run.file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self.stack.callback(os.close, self.sources[run.file])
        what = f"{run.file}, {run.name!r} at byte {run.offset}"
        in_kernel = copy_range(
            self.sources[run.file],
            run.offset,
            run.nbytes,
            self.target,
            run.at,
            what=what,
            on_bytes=self.options.on_bytes,
        )
        self.cloned += run.nbytes if in_kernel else 0
        self.moved += 0 if in_kernel else run.nbytes


def _write_index(path: Path, shards: Mapping[str, Mapping[str, Tensor]], document: str) -> None:
    weight_map = {name: file for file, members in shards.items() for name in members}
    total = sum(tensor.nbytes for members in shards.values() for tensor in members.values())
    index = {
        "metadata": {"total_size": total, DOCUMENT: document},
        "weight_map": {name: weight_map[name] for name in sorted(weight_map)},
    }
    data = json.dumps(index, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=str(path)) from error


WRITER = SafetensorsWriter()
