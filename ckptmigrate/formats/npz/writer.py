"""Writes NumPy archives: the document, then every array, neither compressed; the same input gives the same bytes."""

from __future__ import annotations

import glob
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ckptmigrate.document import dump, encode
from ckptmigrate.dtypes import DType, from_numpy
from ckptmigrate.errors import output_errors
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.formats.npz.naming import ARRAY_SUFFIX, DOCUMENT, FORMAT_ID
from ckptmigrate.formats.npz.npy import header_bytes
from ckptmigrate.formats.packing import pack, unholdable
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor
from ckptmigrate.tiles import pieces

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can say
_MODE = 0o644 << 16  # where zip keeps a member's Unix mode
_UNIX = 3


class NpzWriter:
    """The writer; see `Writer`."""

    dialects: tuple[str, ...] = ()
    holds_averages: bool = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """Variants have no place, and an archive is one file; everything else fits."""
        issues = unholdable(checkpoint, FORMAT_ID)
        if options.max_shard_bytes is None:
            return issues
        return *issues, Issue("unsplit", "note", "", "an npz archive is one file, whatever its size")

    def outputs(self, name: str) -> tuple[str, ...]:
        """The archive alone."""
        return (glob.escape(name),)

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """Its files tell optimizers apart."""
        return {}

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """One archive called `name`."""
        packed = pack(checkpoint, _holds)
        added = {"provenance": dict(options.provenance)} if options.provenance else {}
        document = dump(encode(packed.checkpoint, packed.names, added))
        path = folder / name
        with output_errors(path), path.open("xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(_info(DOCUMENT, len(document)), document)
                for member, tensor in packed.members.items():
                    _write_array(archive, member, tensor, options)
            file.flush()
            os.fsync(file.fileno())
        return Written((name,), name, sum(tensor.nbytes for tensor in packed.members.values()))


def _holds(dtype: DType) -> bool:
    """Whether NumPy itself has the type; what ml_dtypes adds, numpy.load would give back as raw bytes."""
    return dtype.is_raw and dtype.numpy.isbuiltin == 1 and from_numpy(dtype.numpy) is dtype


def _write_array(archive: zipfile.ZipFile, name: str, tensor: Tensor, options: WriteOptions) -> None:
    header = header_bytes(tensor.dtype, tensor.shape)
    with archive.open(_info(name + ARRAY_SUFFIX, len(header) + tensor.nbytes), "w") as member:
        member.write(header)
        for piece in pieces(tensor.read()):
            options.on_bytes(member.write(piece.data))


def _info(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = _UNIX, _MODE
    info.file_size = size  # from here zipfile knows whether the member needs the fields of zip64
    return info


WRITER = NpzWriter()
