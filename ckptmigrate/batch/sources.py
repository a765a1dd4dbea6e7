"""Sources: the checkpoints that a path or a pattern of a manifest names, each of them once."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.formats.paths import SAVED_MODEL, resolve
from ckptmigrate.urls import is_remote, parts_of
from ckptmigrate.wire import store
from ckptmigrate.wire.names import INDEX_SUFFIX
from ckptmigrate.wire.state_file import STATE_NAME

_PART = re.compile(r"\.(data-\d+-of-\d+|meta)$")  # of a bundle, whose index stands for it
_SHARDS = (  # the name of a shard's end, and its index'
    (re.compile(r"-\d{5,}-of-\d{5,}\.safetensors$"), ".safetensors.index.json"),
    (re.compile(r"_\d{5,}\.weights\.h5$"), ".weights.json"),
)
_ANY_DEPTH = "**"


def sources_of(source: str, base: Path) -> list[str]:
    """The checkpoints that a path or a pattern names, as resolved.

    What a pattern fits and can't be resolved is given as it is, for its job to say why.

    Args:
        source: As in the manifest.
        base: The folder that relative paths start from.

    Raises:
        SourceError: A path at which there is nothing; a store that can't be listed.
    """
    if is_remote(source):
        return _in_store(source) if glob.has_magic(source) else [source.removesuffix(INDEX_SUFFIX)]
    if not is_pattern(source, base):
        return [str(resolve(base / source).path)]
    found = [Path(name) for name in matches(base, source)]
    return list(dict.fromkeys(map(str, _checkpoints(sorted(found)))))


def is_pattern(source: str, base: Path) -> bool:
    """Whether a source is a pattern, and no path that has such characters in it."""
    return glob.has_magic(source) and not os.path.exists(base / source)  # noqa: PTH110 Path.exists raises of long names


def fixed_part(source: str) -> str:
    """The folders of a path or pattern that are fixed.

    >>> fixed_part("archive/2019/*/model.h5"), fixed_part("s3://bucket/**/*.index"), fixed_part("*.h5")
    ('archive/2019', 's3://bucket', '')
    """
    *folders, _ = source.split("/")
    return "/".join(folders[: next((n for n, name in enumerate(folders) if glob.has_magic(name)), len(folders))])


def matches(base: Path, pattern: str) -> Iterator[str]:
    """Paths that a pattern fits, as in shells: `**` is any folders, hidden names are named.

    Each folder is looked into once, however many links lead to it or around in circles. One that can't be looked into
    is given in place of what may be in it.
    """
    top = Path(pattern).anchor or str(base)
    parts = [part for part in pattern.split("/") if part]
    if parts[-1] == _ANY_DEPTH:
        parts.append("*")
    found = _matches(top, parts)
    return filter(os.path.isdir, found) if pattern.endswith("/") else found


def _matches(folder: str, parts: Sequence[str]) -> Iterator[str]:
    name, *rest = parts
    if name == _ANY_DEPTH:
        for below in _folders(folder):
            yield from _matches(below, rest)
        return
    try:
        fitting = _named(folder, name) if glob.has_magic(name) else [name]
    except OSError:
        yield folder
        return
    for path in (os.path.join(folder, name) for name in fitting):  # noqa: PTH118 of thousands of names
        if not rest:
            if os.path.lexists(path):
                yield path
        elif os.path.isdir(path):  # noqa: PTH112
            yield from _matches(path, rest)


def _named(folder: str, pattern: str) -> list[str]:
    names = [name for name in os.listdir(folder) if fnmatchcase(name, pattern)]  # noqa: PTH208
    return sorted(name for name in names if pattern.startswith(".") or not name.startswith("."))


def _folders(top: str) -> Iterator[str]:
    """A folder and all below it, each once: by its own path, if there is one, rather than by a link's."""
    seen = {str(above) for above in Path(os.path.realpath(top)).parents}
    folders, links = deque([top]), deque[str]()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        yield folder
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue  # who looks for names there will say so
        for entry in entries:
            if not entry.name.startswith(".") and os.path.isdir(entry):  # noqa: PTH112 a link in a circle is none
                (links if entry.is_symlink() else folders).append(entry.path)


def _in_store(pattern: str) -> list[str]:
    """What a pattern of URLs fits, by names alone: not the parts of what is among them, nor the folders on the way."""
    urls = [url for url in store.glob(pattern) if not _PART.search(url) and PurePosixPath(url).name != STATE_NAME]
    models = {url.rpartition("/")[0] for url in urls if PurePosixPath(url).name in SAVED_MODEL}
    ways = {folder for url in urls for folder in _folders_of(url)}
    there: dict[str, bool] = {}
    found: dict[str, None] = {}
    for url in urls:
        if inside := models & _folders_of(url):
            found[min(inside, key=len)] = None
        elif url not in ways:
            whole = next((w for shard, index in _SHARDS if (w := shard.sub(index, url)) != url), url)
            if whole not in there:
                there[whole] = whole == url or bool(store.glob(whole))
            found[(whole if there[whole] else url).removesuffix(INDEX_SUFFIX)] = None
    return list(found)


def _folders_of(url: str) -> set[str]:
    scheme, *names = parts_of(url)
    return {f"{scheme}://{'/'.join(names[:end])}" for end in range(1, len(names))}


def _checkpoints(paths: Sequence[Path]) -> Iterator[Path]:
    """What paths stand for: not the parts of what is among them, state files, or the folders on the way to others."""
    found = {path: _checkpoint_at(path) for path in paths if path.name != STATE_NAME or path.is_dir()}
    ways = {os.path.realpath(folder) for folder in {parent for path in found for parent in path.parents}}
    models = {path for path in found.values() if path and any((path / name).is_file() for name in SAVED_MODEL)}
    for path, checkpoint in found.items():
        is_way = checkpoint is None and (os.path.realpath(path) in ways or path.suffix == ".meta")
        if not is_way and models.isdisjoint((checkpoint or path).parents):
            yield checkpoint or path


def _checkpoint_at(path: Path) -> Path | None:
    """What a path stands for; of a shard that is all of them. None where that can't be told."""
    for shard, index in _SHARDS:
        whole = path.with_name(shard.sub(index, path.name))
        if whole != path and whole.is_file():
            path = whole
    try:
        return resolve(path).path
    except CkptMigrateError:
        return None
