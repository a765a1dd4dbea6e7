"""Writes safetensors: one file, or shards and their index. Bytes that lie raw in the source the kernel copies."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptmigrate.document import dump, encode
from ckptmigrate.dtypes import DType
from ckptmigrate.errors import TargetError
from ckptmigrate.formats.format import NUMBER, WriteOptions, Written
from ckptmigrate.formats.packing import pack, unholdable
from ckptmigrate.formats.safetensors.header import MAX_HEADER_BYTES, METADATA, Place, write_header
from ckptmigrate.formats.safetensors.naming import DOCUMENT, FORMAT_ID, INDEX_SUFFIX, SUFFIX, shard_name, stem
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor
from ckptmigrate.tiles import pieces
from ckptmigrate.wire.output_file import OutputFile, write_file

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
        return glob.escape(name), f"{base}{INDEX_SUFFIX}", f"{base}-{NUMBER}-of-{NUMBER}{SUFFIX}"

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
    extent = tensor.raw
    place = (0, str(extent.file), extent.offset) if extent else (1, "", 0)
    return (_ORDER.index(tensor.dtype.safetensors), *place, name)


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
    counts = {True: 0, False: 0}
    with OutputFile(path) as target:
        target.write(header, 0)
        for run in _runs(members, places, len(header)):
            counts[_copy(target, run, options)] += run.nbytes
        target.sync()
    return counts[False], counts[True]


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
        at, extent = start + places[name].begin, tensor.raw
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


def _copy(target: OutputFile, run: _Run, options: WriteOptions) -> bool:
    """Puts a run in its place; True when the kernel copied it."""
    if run.file is not None:
        return target.copy(run.file, run.offset, run.nbytes, run.at, name=run.name, on_bytes=options.on_bytes)
    at = run.at
    for piece in pieces(run.tensor.read()):
        done = target.write(piece.data, at)
        at += done
        options.on_bytes(done)
    return False


def _write_index(path: Path, shards: Mapping[str, Mapping[str, Tensor]], document: str) -> None:
    weight_map = {name: file for file, members in shards.items() for name in members}
    total = sum(tensor.nbytes for members in shards.values() for tensor in members.values())
    index = {
        "metadata": {"total_size": total, DOCUMENT: document},
        "weight_map": {name: weight_map[name] for name in sorted(weight_map)},
    }
    write_file(path, json.dumps(index, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")


WRITER = SafetensorsWriter()
