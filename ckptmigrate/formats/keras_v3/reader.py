"""Keras v3 files, read lazily: weights in HDF5, one file, shards, or a member of an archive beside a configuration."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ckptmigrate.errors import CkptMigrateError, DamagedError
from ckptmigrate.formats.keras_config import read_config
from ckptmigrate.formats.keras_v3.known import CONTAINERS, Known, by_config
from ckptmigrate.formats.keras_v3.naming import (
    ARCHIVE_SUFFIX,
    CONFIG_MEMBER,
    FORMAT_ID,
    LAYERS,
    METADATA_MEMBER,
    METRICS,
    MODEL_CONFIG,
    OLD_LAYERS,
    OPTIMIZER,
    PROVENANCE,
    SHARDED_SUFFIX,
    VARS,
    VERSION,
    WEIGHTS_MEMBER,
    WEIGHTS_SUFFIX,
    counted,
)
from ckptmigrate.formats.keras_v3.nodes import Node, tree_of
from ckptmigrate.formats.keras_v3.source import Source, open_source
from ckptmigrate.formats.keras_v3.states import Block, Training, optimizers_of, states_of
from ckptmigrate.formats.keras_v3.walk import Named, Walk
from ckptmigrate.formats.roles import role_of
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.table import Checkpoint, Layer, Role, Structure, Tensor, Variable
from ckptmigrate.wire.hdf5 import Place, is_hdf5, read_root
from ckptmigrate.wire.hdf5_attributes import text
from ckptmigrate.wire.reading import head, stream

# At the root of legacy files, which aren't ours whatever they are called
_LEGACY = frozenset({"layer_names", "layer_names0", "model_config", "nb_layers"})


def identify(path: Path) -> bool:
    """By content: an HDF5 file with the groups of a v3 file at its root, or an archive with Keras' members."""
    is_called_so = path.name.endswith((ARCHIVE_SUFFIX, WEIGHTS_SUFFIX))
    try:
        if is_hdf5(path):
            return _is_v3(path)
        return path.is_file() and (path.name.endswith((ARCHIVE_SUFFIX, SHARDED_SUFFIX)) or _is_archive(path))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, CkptMigrateError):
        return is_called_so and path.is_file()  # reading it says what is wrong


def _is_v3(path: Path) -> bool:
    attributes, groups = read_root(Place(path))
    if _LEGACY & attributes or "model_weights" in groups:
        return False
    return bool({VARS, LAYERS, OLD_LAYERS} & groups) or path.name.endswith(WEIGHTS_SUFFIX)


def _is_archive(path: Path) -> bool:
    if head(path, 4) != b"PK\x03\x04":
        return False
    with stream(path) as file, zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        return WEIGHTS_MEMBER in names or {CONFIG_MEMBER, METADATA_MEMBER} <= names


def read(path: Path) -> Checkpoint:
    """Opens a file.

    Raises:
        SourceError: It can't be read, or something in it isn't supported.
        DamagedError: It is damaged or hostile.
    """
    source = open_source(path)
    with ExitStack() as stack:
        for closer in source.closers:
            stack.callback(closer)
        checkpoint = _checkpoint(source)
        stack.pop_all()
        return checkpoint


def _checkpoint(source: Source) -> Checkpoint:
    root, loose = tree_of(source.groups, source.tensors)
    config = source.blobs.get(MODEL_CONFIG)
    told = read_config(config, f"{source.path}, member {CONFIG_MEMBER!r}") if config is not None else None
    metadata = _metadata(source)
    optimizers = optimizers_of(root, source.tensors)
    walk = Walk(source.tensors)
    known = by_config(told) if told is not None else Known(is_model=True)
    named = list(walk.model(root, known, frozenset(optimizers) | METRICS))
    variables = _variables(named, source.tensors)
    variables |= _others(root, loose, source.tensors, variables)
    training = Training(
        _trained(walk, named, variables) if walk.is_plain else None,
        _compiled(config) if config is not None else None,
        _is_keras2(root, metadata, optimizers, source.tensors),
    )
    states = [states_of(name, node, source.tensors, training) for name, node in optimizers.items()]
    return Checkpoint(
        path=source.path,
        format=FORMAT_ID,
        variables=variables,
        optimizers=tuple(state for found, _ in states for state in found),
        structure=Structure(layout=_layout(walk, named, variables) if walk.is_told else None, blobs=source.blobs),
        files=source.files,
        metadata=metadata,
        issues=(*source.issues, *(issue for _, issues in states for issue in issues)),
        closers=source.closers,
    )


def _metadata(source: Source) -> dict[str, Any]:
    """What the file says of itself: Keras' version, and where we had it from."""
    told: dict[str, Any] = {}
    if (blob := source.blobs.get(METADATA_MEMBER)) is not None:
        try:
            told |= {key: value for key, value in json.loads(blob).items() if isinstance(value, str)}
        except (ValueError, AttributeError, RecursionError) as error:
            where = f"{source.path}, member {METADATA_MEMBER!r}"
            raise DamagedError(f"an object of texts expected: {error}", where=where) from error
    root = source.groups.get("", {})
    if VERSION not in told and (version := text(root, VERSION)):
        told[VERSION] = version
    if (record := text(root, PROVENANCE)) is not None:
        with suppress(ValueError, RecursionError):
            told["provenance"] = json.loads(record)
    return told


def _variables(named: Sequence[Named], tensors: Mapping[str, Tensor]) -> dict[str, Variable]:
    variables: dict[str, Variable] = {}
    for one in named:
        if one.path not in tensors:
            continue
        tensor = tensors[one.path]
        name = one.name if one.name not in variables else one.path
        role: Role = one.weight.role if one.weight is not None else role_of(name, tensor.dtype, tensor.shape)
        trainable = one.weight.is_trainable if one.weight is not None else None
        aliases = {"layer_path": tuple(dict.fromkeys((one.name, one.label))), "h5_path": (one.path,)}
        variables[name] = Variable(name, tensor, one.path, role, trainable, aliases)
    return variables


def _others(
    root: Node, loose: Sequence[str], tensors: Mapping[str, Tensor], taken: Mapping[str, Variable]
) -> dict[str, Variable]:
    """Metrics, and datasets that Keras itself wouldn't read."""
    metrics = [path for name in METRICS & root.children.keys() for path in root.children[name].datasets()]
    others: dict[str, Variable] = {}
    for path in (*metrics, *loose):
        if path in tensors:
            name = path if path not in taken else f"/{path}"
            role: Role = "metric" if path in metrics else "other"
            others[name] = Variable(name, tensors[path], path, role, aliases={"h5_path": (path,)})
    return others


def _trained(
    walk: Walk, named: Sequence[Named], variables: Mapping[str, Variable]
) -> tuple[tuple[Block, ...], ...] | None:
    """The trained variables: in the model's order, else by class, where counters tell the order within each."""
    by_path = {variable.key: variable for variable in variables.values()}
    blocks: dict[tuple[str, int], list[Owner]] = {}
    for one in named:
        _, group, *below = one.path.split("/")
        if not walk.is_told and any(part in CONTAINERS for part in below):
            return None  # a model in the model: its own order isn't told either
        stream = "" if walk.is_told else counted(group)[0]
        if (variable := by_path.get(one.path)) is not None and variable.trainable:
            blocks.setdefault((stream, one.layer), []).append(Owner(variable.name, variable.tensor.shape))
    streams: dict[str, list[Block]] = {}
    for (stream, _), block in blocks.items():
        streams.setdefault(stream, []).append(tuple(block))
    return tuple(map(tuple, streams.values()))


def _compiled(config: bytes) -> tuple[str, Mapping[str, Any]] | None:
    """The optimizer's class and settings; an inner one's for a wrapper."""
    told: Any = json.loads(config)
    for key in ("compile_config", OPTIMIZER):
        told = told.get(key) if isinstance(told, dict) else None
    settings = told.get("config") if isinstance(told, dict) else None
    if isinstance(settings, dict) and isinstance(settings.get("inner_optimizer"), dict):
        told = settings["inner_optimizer"]
        settings = told.get("config")
    if not isinstance(settings, dict) or not isinstance(told.get("class_name"), str):
        return None
    return told["class_name"].rpartition(">")[2], settings


def _is_keras2(
    root: Node, metadata: Mapping[str, Any], optimizers: Mapping[str, Node], tensors: Mapping[str, Tensor]
) -> bool:
    """Whether tf_keras wrote it: its version, else what only one of the two puts into a file."""
    version = metadata.get(VERSION)
    if isinstance(version, str) and version:
        return version.partition(".")[0] in ("1", "2")
    if any(node.label for node in root.walk()):
        return False
    if OLD_LAYERS in root.children or METRICS & root.children.keys():
        return True
    lists = [[tensors[path] for path in node.own.values() if path in tensors] for node in optimizers.values()]
    return not any(len(found) > 1 and found[1].shape == () for found in lists)


def _layout(walk: Walk, named: Sequence[Named], variables: Mapping[str, Variable]) -> tuple[Layer, ...]:
    by_path = {variable.key: variable.name for variable in variables.values()}
    attributes: list[list[tuple[str, str]]] = [[] for _ in walk.layers]
    for one in named:
        if one.layer >= 0 and one.path in by_path:
            attributes[one.layer].append((one.below, by_path[one.path]))
    return tuple(Layer(name, kind, tuple(held)) for (name, kind), held in zip(walk.layers, attributes, strict=True))
