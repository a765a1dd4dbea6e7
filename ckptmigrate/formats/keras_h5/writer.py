"""Writes legacy Keras HDF5 files, in the layout that `load_weights` and `load_model` of tf_keras and Keras 3 take."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.dtypes import DType
from ckptmigrate.errors import OutputError
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.formats.keras_h5 import naming
from ckptmigrate.formats.keras_h5.outline import Outline, Place, outline
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor
from ckptmigrate.wire.hdf5_file import Source, Value, write_hdf5

_ROOT_ONLY = (naming.MODEL_CONFIG, naming.TRAINING_CONFIG)


class KerasH5Writer:
    """The writer; see `Writer`."""

    dialects: tuple[str, ...] = ("keras-legacy", "keras2", "keras3", "keras1")
    holds_averages: bool = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What Keras has no place for: strings, counters, further optimizers, averages beside legacy optimizers."""
        issues = outline(checkpoint, options).issues
        small = [e.label for e in checkpoint.rows() if e.tensor.dtype.is_raw and _name_of(e.tensor.dtype)]
        if small:
            message = f"{len(small)} tensors of types that HDF5 lacks, such as {small[0]}: no Keras reads them from .h5"
            issues.append(Issue("unread", "warning", small[0], message, "--dtype float32 writes wider ones"))
        if options.max_shard_bytes is not None:
            issues.append(Issue("unsplit", "note", "", "a Keras .h5 file is one file, whatever its size"))
        return tuple(issues)

    def outputs(self, name: str) -> tuple[str, ...]:
        """The file alone."""
        return (glob.escape(name),)

    def keys(self, checkpoint: Checkpoint) -> Mapping[Place, str]:
        """The names that variables are read by: those of their layers."""
        return outline(checkpoint, WriteOptions()).names

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """One file called `name`."""
        laid = outline(checkpoint, options)
        groups, datasets = _groups(laid), _datasets(laid)
        if options.provenance:
            groups[""][naming.PROVENANCE] = json.dumps(options.provenance, sort_keys=True, separators=(",", ":"))
        try:
            moved, cloned = write_hdf5(folder / name, groups, datasets, on_bytes=options.on_bytes)
        except ValueError as error:  # a name that HDF5 doesn't take
            raise OutputError(f"can't be written: {error}", where=str(folder / name)) from error
        return Written((name,), name, moved, cloned)


def _groups(laid: Outline) -> dict[str, dict[str, Value]]:
    """Every group's attributes."""
    told = {n: v for n, v in laid.attributes.items() if n not in _ROOT_ONLY}
    listed: dict[str, Value] = {naming.LAYER_NAMES: list(laid.layers), **told}
    groups: dict[str, dict[str, Value]] = {"": dict(laid.attributes)}
    groups.setdefault(laid.root.rstrip("/"), {}).update(listed)
    for layer, weights in laid.layers.items():
        groups[laid.root + layer] = {naming.WEIGHT_NAMES: [name for name, _ in weights]}
    if laid.top_level or not laid.attributes.get("keras_version", "1").startswith(("1", "2.0", "2.1", "2.2")):
        groups[laid.root + naming.TOP_LEVEL] = {naming.WEIGHT_NAMES: [name for name, _ in laid.top_level]}
    if laid.optimizer:
        groups[naming.OPTIMIZER_WEIGHTS] = {naming.WEIGHT_NAMES: [name for name, _ in laid.optimizer]}
    return groups


def _datasets(laid: Outline) -> dict[str, Source]:
    weights = {f"{laid.root}{layer}/{n}": v.tensor for layer, held in laid.layers.items() for n, v in held}
    weights |= {f"{laid.root}{naming.TOP_LEVEL}/{name}": v.tensor for name, v in laid.top_level}
    weights |= {f"{naming.OPTIMIZER_WEIGHTS}/{name}": tensor for name, tensor in laid.optimizer}
    return {path: _source(tensor) for path, tensor in weights.items()}


def _source(tensor: Tensor) -> Source:
    raw = (tensor.raw.file, tensor.raw.offset) if tensor.raw is not None else None
    stored: np.dtype[Any] = tensor.dtype.numpy
    return Source(tensor.shape, stored, tensor.read, _name_of(tensor.dtype), raw)


def _name_of(dtype: DType) -> str:
    """The name of a type that HDF5 lacks, as Keras 3 keeps it beside opaque bytes; "" for the others."""
    return "" if dtype.numpy.isbuiltin == 1 and dtype.storage == dtype.name else dtype.name


WRITER = KerasH5Writer()
