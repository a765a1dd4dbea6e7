"""Writes Keras v3 files: weights alone, in shards, or in an archive beside a configuration; which, the name tells."""

from __future__ import annotations

import glob
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ckptmigrate.dtypes import STRING, DType, from_numpy
from ckptmigrate.errors import TargetError, UsageError, output_errors
from ckptmigrate.formats.format import NUMBER, WriteOptions, Written
from ckptmigrate.formats.keras_v3.configured import archive_config, metadata_of, version_of
from ckptmigrate.formats.keras_v3.naming import (
    ARCHIVE_SUFFIX,
    CONFIG_MEMBER,
    METADATA_MEMBER,
    MODEL_CONFIG,
    PROVENANCE,
    SHARDED_SUFFIX,
    VERSION,
    WEIGHTS_MEMBER,
    WEIGHTS_SUFFIX,
    shard_name,
)
from ckptmigrate.formats.keras_v3.placing import Placed, place
from ckptmigrate.issues import Issue
from ckptmigrate.table import ASSETS, LOSSY_ROLES, Checkpoint, Tensor
from ckptmigrate.wire.hdf5_file import MAX_ATTRIBUTE_BYTES, Source, write_hdf5
from ckptmigrate.wire.output_file import write_file

SUFFIXES = (ARCHIVE_SUFFIX, WEIGHTS_SUFFIX, SHARDED_SUFFIX)
SHARD_BYTES = 5 << 30  # as Keras' save_weights has it

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can say
_MODE = 0o644 << 16
_UNIX = 3
_CHUNK = 16 << 20


class KerasV3Writer:
    """The writer; see `Writer`."""

    dialects: tuple[str, ...] = ("keras3", "keras2")
    holds_averages: bool = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What has no place in the model, types that HDF5 lacks, and an archive without a configuration."""
        placed = place(checkpoint, options.template, is_keras2=_is_keras2(checkpoint, options))
        issues = [*placed.issues, *_unholdable(checkpoint)]
        if options.name.endswith(ARCHIVE_SUFFIX):
            issues += _config_issues(checkpoint, options)
        return tuple(issues)

    def outputs(self, name: str) -> tuple[str, ...]:
        """The file, or the index and its shards.

        Raises:
            UsageError: The name has none of the three suffixes.
        """
        if not name.endswith(SUFFIXES):
            hint = f"name it NAME{WEIGHTS_SUFFIX}, or NAME{ARCHIVE_SUFFIX} for a whole model"
            raise UsageError(f"{name}: a Keras v3 file is called {', '.join(SUFFIXES)}", hint=hint)
        if not name.endswith(SHARDED_SUFFIX):
            return (glob.escape(name),)
        stem = glob.escape(name.removesuffix(SHARDED_SUFFIX))
        return glob.escape(name), f"{stem}_{NUMBER}{WEIGHTS_SUFFIX}"

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """None: a file of ours says what everything in it is called."""
        return {}

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """The form that the name's suffix asks for."""
        placed = place(checkpoint, options.template, is_keras2=_is_keras2(checkpoint, options))
        placed.groups[""] |= _told(checkpoint, options)
        sources = {path: _source(tensor) for path, tensor in placed.tensors.items()}
        if name.endswith(SHARDED_SUFFIX):
            return _write_shards(folder, name, placed, sources, options)
        total = sum(source.nbytes for source in sources.values())
        if options.max_shard_bytes is not None and total > options.max_shard_bytes:
            hint = f"name it NAME{SHARDED_SUFFIX}"
            raise TargetError(f"{total} bytes of weights can't be split in a file of this name", where=name, hint=hint)
        if name.endswith(ARCHIVE_SUFFIX):
            return _write_archive(folder / name, placed, sources, checkpoint, options)
        moved, cloned = write_hdf5(folder / name, placed.groups, sources, on_bytes=options.on_bytes)
        return Written((name,), name, moved, cloned)


def _is_keras2(checkpoint: Checkpoint, options: WriteOptions) -> bool:
    """Whether the file is for tf_keras: by the flavor, else as the template is, else the state or the source."""
    if options.flavor in ("tf_keras", "keras3"):
        return options.flavor == "tf_keras"
    if options.template is not None and (version := version_of(options.template)):
        return version.partition(".")[0] == "2"
    dialects = {state.dialect for state in checkpoint.optimizers}
    return "keras2" in dialects or (not dialects and version_of(checkpoint).partition(".")[0] == "2")


def _holder(checkpoint: Checkpoint, options: WriteOptions) -> Checkpoint:
    """Whose configuration the archive gets."""
    template = options.template
    return template if template is not None and MODEL_CONFIG in template.structure.blobs else checkpoint


def _config_issues(checkpoint: Checkpoint, options: WriteOptions) -> Iterator[Issue]:
    holder = _holder(checkpoint, options)
    if MODEL_CONFIG not in holder.structure.blobs:
        message = "a .keras file holds the model's configuration, which the source hasn't"
        hint = f"give --template MODEL.keras, or name the output NAME{WEIGHTS_SUFFIX}"
        yield Issue("needed", "error", "", message, hint)
    elif archive_config(holder) is None:
        message = "the model's configuration is that of a legacy file, which .keras files can't hold"
        hint = (
            f"load it with Keras, save it as MODEL.keras and add --template MODEL.keras; or write NAME{WEIGHTS_SUFFIX}"
        )
        yield Issue("needed", "error", "", message, hint)


def _unholdable(checkpoint: Checkpoint) -> Iterator[Issue]:
    for entry in checkpoint.rows():
        if not _is_held(entry.tensor.dtype):
            is_lossy = bool(entry.slot) if entry.optimizer else checkpoint.variables[entry.name].role in LOSSY_ROLES
            message = f"a Keras v3 file can't hold the element type {entry.tensor.dtype}"
            severity = "loss" if is_lossy else "note"
            yield Issue("unholdable", severity, entry.label, message, "--drop PATTERN leaves it out")  # type: ignore[arg-type]


def _is_held(dtype: DType) -> bool:
    """Types of NumPy, and those that `ml_dtypes` adds; strings would end at their first NUL."""
    return dtype.is_raw and dtype is not STRING and from_numpy(dtype.numpy) is dtype


def _told(checkpoint: Checkpoint, options: WriteOptions) -> dict[str, str | list[str]]:
    """Attributes of the root: by which Keras' conventions the file is, and where it is from."""
    told: dict[str, str | list[str]] = {}
    version, conventions = version_of(_holder(checkpoint, options)), "2" if _is_keras2(checkpoint, options) else "3"
    if version and (version.startswith(conventions) or not checkpoint.optimizers):
        told[VERSION] = version
    elif options.flavor or checkpoint.optimizers:
        told[VERSION] = conventions  # of another Keras than wrote the source
    record = json.dumps(options.provenance, sort_keys=True)
    if options.provenance and len(record) < MAX_ATTRIBUTE_BYTES:
        told[PROVENANCE] = record
    return told


def _source(tensor: Tensor) -> Source:
    named = tensor.dtype.name if tensor.dtype.storage.startswith("ml_dtypes.") else ""
    raw = (tensor.raw.file, tensor.raw.offset) if tensor.raw is not None else None
    return Source(tensor.shape, tensor.dtype.numpy, tensor.read, named, raw)


def _write_shards(
    folder: Path, name: str, placed: Placed, sources: Mapping[str, Source], options: WriteOptions
) -> Written:
    """Shards of whole datasets, whose groups keep their numbers, and the index that names the files of each group."""
    limit = options.max_shard_bytes or SHARD_BYTES
    shards: list[dict[str, Source]] = [{}]
    size = 0
    for path, source in sources.items():
        if shards[-1] and size + source.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][path] = source
        size += source.nbytes
    weight_map: dict[str, list[str]] = {}
    files, moved, cloned = [], 0, 0
    for number, shard in enumerate(shards):
        files.append(shard_name(name, number))
        held = {path.rpartition("/")[0] for path in shard}
        groups = {
            g: a for g, a in placed.groups.items() if g in held or (not number and (not g or g not in weight_map))
        }
        counts = write_hdf5(folder / files[-1], groups, shard, on_bytes=options.on_bytes)
        moved, cloned = moved + counts[0], cloned + counts[1]
        for group in sorted(held):
            weight_map.setdefault(f"/{group}", []).append(files[-1])
    index = {"metadata": {"total_size": float(sum(s.nbytes for s in sources.values()))}, "weight_map": weight_map}
    write_file(folder / name, json.dumps(index, indent=4).encode())
    return Written((*files, name), name, moved, cloned)


def _write_archive(
    path: Path, placed: Placed, sources: Mapping[str, Source], checkpoint: Checkpoint, options: WriteOptions
) -> Written:
    """None of the members is compressed."""
    holder = _holder(checkpoint, options)
    config = archive_config(holder)
    assert config is not None, "checked before"
    weights = path.with_name(f".{WEIGHTS_MEMBER}")
    moved, cloned = write_hdf5(weights, placed.groups, sources)
    blobs = {**holder.structure.blobs, **checkpoint.structure.blobs}
    assets = {name: data for name, data in blobs.items() if name.startswith(ASSETS)}
    with output_errors(path):
        with path.open("xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for member, data in {METADATA_MEMBER: metadata_of(holder), CONFIG_MEMBER: config, **assets}.items():
                    archive.writestr(_info(member, len(data)), data)
                with weights.open("rb") as source:
                    info = _info(WEIGHTS_MEMBER, weights.stat().st_size)
                    with archive.open(info, "w") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
            file.flush()
            os.fsync(file.fileno())
        weights.unlink()
    options.on_bytes(moved + cloned)
    return Written((path.name,), path.name, moved, cloned)


def _info(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = _UNIX, _MODE
    info.file_size = size  # from here zipfile knows whether the member needs the fields of zip64
    return info


WRITER = KerasV3Writer()
