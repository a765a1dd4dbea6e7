"""What a Keras v3 file is made of, whichever of its three forms: groups, datasets, configuration, assets."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats.keras_config import MAX_CONFIG_BYTES
from ckptmigrate.formats.keras_v3.naming import (
    CONFIG_MEMBER,
    METADATA_MEMBER,
    MODEL_CONFIG,
    SHARDED_SUFFIX,
    WEIGHTS_MEMBER,
)
from ckptmigrate.formats.shard_index import beside, missing_shards, read_weight_map
from ckptmigrate.issues import Issue
from ckptmigrate.table import ASSETS, Extent, Tensor
from ckptmigrate.wire.hdf5 import Dataset, Place, read_tree
from ckptmigrate.wire.hdf5_attributes import Attribute
from ckptmigrate.wire.reading import head, lacks
from ckptmigrate.wire.zipped import Member, check_stored, open_archive

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """The parts of a file.

    Attributes:
        path, files: What was opened, and every file of it.
        groups: Group -> its attributes.
        tensors: Path of a dataset -> its tensor.
        blobs: Configuration, metadata and assets.
        issues: What reading found.
        closers: To be called in the end.
    """

    path: Path
    files: tuple[Path, ...]
    groups: Mapping[str, Mapping[str, Attribute]]
    tensors: Mapping[str, Tensor]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    closers: tuple[Callable[[], None], ...] = ()


class Blobs(Mapping[str, bytes]):
    """Configuration and assets, each read when it is asked for."""

    def __init__(self, readers: Mapping[str, Callable[[], bytes]]) -> None:
        self._readers = readers

    def __getitem__(self, name: str) -> bytes:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def open_source(path: Path) -> Source:
    """Opens a file of any of the three forms; reads no elements.

    Raises:
        SourceError: It can't be read, or is of a form that isn't supported.
        DamagedError: It is damaged or hostile.
    """
    if path.name.endswith(SHARDED_SUFFIX):
        return _of_shards(path)
    is_zip = head(path, 4) == b"PK\x03\x04"
    return _of_archive(path) if is_zip else _of_places(path, (path,), [Place(path)])


def _of_places(path: Path, files: tuple[Path, ...], places: list[Place], **rest: Any) -> Source:
    groups: dict[str, dict[str, Attribute]] = {}
    datasets: dict[str, Dataset] = {}
    for place in places:
        tree = read_tree(place)
        for group, attributes in tree.groups.items():
            groups[group] = groups.get(group, {}) | attributes
        for name, dataset in tree.datasets.items():
            if name in datasets:
                raise DamagedError(f"{name!r} is in {datasets[name].place.file.name}, too", where=str(place.file))
            datasets[name] = dataset
    guard = rest.pop("guard", None)
    issues = rest.pop("issues", ())
    unread = [
        Issue("unsupported", "error", name, f"element type {d.stored} isn't supported", where=str(d.place.file))
        for name, d in datasets.items()
        if d.dtype is None
    ]
    tensors = {name: _tensor(d, guard) for name, d in datasets.items() if d.dtype is not None}
    return Source(path, files, groups, tensors, issues=(*issues, *unread), **rest)


def _tensor(dataset: Dataset, guard: Callable[[], None] | None) -> Tensor:
    assert dataset.dtype is not None
    if guard is not None:
        return Tensor(dataset.shape, dataset.dtype, lambda: _guarded(dataset, guard))
    raw = dataset.raw
    extents = (Extent(dataset.place.file, raw.offset, raw.nbytes, big_endian=raw.is_big_endian),) if raw else ()
    return Tensor(dataset.shape, dataset.dtype, dataset.read, extents)


def _guarded(dataset: Dataset, guard: Callable[[], None]) -> Array:
    """Scalars are read on opening: they don't pay for reading all the rest."""
    if dataset.shape:
        guard()
    return dataset.read()


class _Checked:
    """Checks the CRC of an archive's weights once, when the first of them is wanted."""

    def __init__(self, path: Path, member: Member) -> None:
        self._path, self._member = path, member
        self._lock = threading.Lock()
        self._is_done = False

    def __call__(self) -> None:
        with self._lock:
            if not self._is_done:
                check_stored(self._path, self._member)
                self._is_done = True


def _of_archive(path: Path) -> Source:
    with ExitStack() as stack:
        archive = open_archive(path)
        stack.callback(archive.close)
        members = {member.name: member for member in archive.members}
        for name in members:
            _check_name(path, name)
        weights = members.get(WEIGHTS_MEMBER)
        if weights is None or CONFIG_MEMBER not in members:
            missing = WEIGHTS_MEMBER if weights is None else CONFIG_MEMBER
            raise SourceError(f"no {missing} in it", where=str(path), hint="save it again with Keras: model.save(path)")
        readers = {
            _blob(name): _reader(path, member)
            for name, member in members.items()
            if name in (CONFIG_MEMBER, METADATA_MEMBER) or name.startswith(ASSETS)
        }
        known = {WEIGHTS_MEMBER, CONFIG_MEMBER, METADATA_MEMBER}
        others = [name for name in members if name not in known and not name.startswith(ASSETS)]
        issues = tuple(Issue("unlisted", "note", name, "not read: Keras knows no such member") for name in others)
        if weights.is_stored:
            place, guard = Place(path, weights.offset, weights.nbytes), _Checked(path, weights)
        else:
            place, guard = Place(_unpacked(path, weights, stack)), None
        source = _of_places(path, (path,), [place], blobs=Blobs(readers), issues=issues, guard=guard or _nothing)
        return replace(source, closers=(stack.pop_all().close,))


def _nothing() -> None:
    """zipfile compared the CRC while it unpacked."""


def _blob(name: str) -> str:
    return MODEL_CONFIG if name == CONFIG_MEMBER else name


def _reader(path: Path, member: Member) -> Callable[[], bytes]:
    def read() -> bytes:
        if not member.name.startswith(ASSETS) and member.nbytes > MAX_CONFIG_BYTES:
            message = f"{member.nbytes} bytes; at most {MAX_CONFIG_BYTES} are read"
            raise DamagedError(message, where=f"{path}, member {member.name!r}")
        return member.read().tobytes()

    return read


def _check_name(path: Path, name: str) -> None:
    """Members become files when Keras unpacks them: a name that leads elsewhere is an attack."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in name.split("/", maxsplit=1)[0]:
        raise DamagedError(f"the member {name!r} would lead out of a folder it is unpacked in", where=str(path))


def _unpacked(path: Path, member: Member, stack: ExitStack) -> Path:
    """A file with the weights of an archive that somebody packed again; Keras itself never compresses them."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptmigrate-"))
    target = Path(folder) / WEIGHTS_MEMBER
    try:
        member.read().tofile(target)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SourceError(
            f"compressed, and there is no room to unpack {member.nbytes} bytes: {error.strerror}",
            where=f"{path}, member {member.name!r}",
            hint=f"unpack it and give the {WEIGHTS_MEMBER} inside",
        ) from error
    return target


def _of_shards(path: Path) -> Source:
    _, weight_map = read_weight_map(path, "groups and files")
    lost: dict[Path, list[str]] = {}
    files: dict[Path, None] = {}
    for group, told in weight_map.fields().items():
        for name in told if isinstance(told, list) else [told]:
            file = beside(path, weight_map, name)
            if lacks(file):
                lost.setdefault(file, []).append(group)
            else:
                files[file] = None
    issues = tuple(missing_shards(lost, "groups"))
    return _of_places(path, (path, *files), [Place(file) for file in files], issues=issues)
