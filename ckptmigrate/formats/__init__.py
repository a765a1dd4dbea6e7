"""The formats: which there are, which one a path is of, and opening it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import SourceError, UsageError
from ckptmigrate.formats import frozen_graph, keras_h5, keras_v3, npz, safetensors, savedmodel, tf1, tf1_v1, tf2
from ckptmigrate.formats.format import Format
from ckptmigrate.formats.paths import resolve
from ckptmigrate.formats.strangers import pointer, stranger
from ckptmigrate.table import Checkpoint
from ckptmigrate.urls import is_remote, spoken
from ckptmigrate.wire.remote import hold, release

FORMATS: tuple[Format, ...] = (
    tf1.FORMAT,
    tf1_v1.FORMAT,
    tf2.FORMAT,
    savedmodel.FORMAT,
    keras_h5.FORMAT,
    keras_v3.FORMAT,
    safetensors.FORMAT,
    npz.FORMAT,
    frozen_graph.FORMAT,
)


class Found(NamedTuple):
    """What a path turned out to be: its format, what to open, and how that was chosen."""

    format: Format
    path: Path
    note: str = ""


def by_name(name: str) -> Format:
    """The format of an id.

    Raises:
        UsageError: There is none; the hint lists them.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    raise UsageError(f"no format {name!r}", hint=f"formats: {', '.join(known.name for known in FORMATS)}")


def identify(path: str | Path) -> Found:
    """The format of a path as people have it: prefix, one of a bundle's files, folder, state file, file.

    Raises:
        SourceError: Nothing is there, or nothing that can be read; the hint says what to do.
    """
    resolved = resolve(path)
    if (answer := pointer(resolved.path)) is not None:
        raise answer
    for known in FORMATS:
        if known.identify(resolved.path):
            return Found(known, resolved.path, resolved.note)
    answer = stranger(resolved.path)
    if answer is None:
        names = ", ".join(known.name for known in FORMATS)
        hint = f"if you know its format, name it: --from FORMAT ({names})"
        answer = SourceError("not a checkpoint of any known format", where=str(resolved.path), hint=hint)
    raise answer


def open_checkpoint(path: str | Path, format: str = "") -> Checkpoint:
    """Opens a checkpoint, lazily; `metadata["used"]` says what was opened, and why that.

    Args:
        path: As people have it, see `identify`; or a URL that fsspec knows. Of remote files those bytes are fetched
            that are read.
        format: The id of its format; "" finds out.

    Raises:
        SourceError: Missing, unreachable, unknown or unsupported.
        DamagedError: Of a known format, but damaged.
        UsageError: No such format.
    """
    if is_remote(path):
        return _open_remote(str(path), format)
    if format:
        resolved = resolve(path)
        found = Found(by_name(format), resolved.path, resolved.note)
        if found.path.exists() and not (found.path.is_file() or found.path.is_dir()):
            raise SourceError("not a regular file", where=str(path))  # a pipe or a device may never answer
    else:
        found = identify(path)
    checkpoint = found.format.read(found.path)
    used = f"{found.path} ({found.note})" if found.note else str(found.path)
    return replace(checkpoint, metadata={**checkpoint.metadata, "used": spoken(used)})


def _open_remote(url: str, format: str) -> Checkpoint:
    """Opens images of remote files, which go when it is closed."""
    with ExitStack() as undo:
        path = hold(url)
        undo.callback(release, path)  # not at the end of this object: its tensors may outlive it
        checkpoint = open_checkpoint(f"{path}/" if url.endswith("/") else path, format)
        return replace(checkpoint, closers=(*checkpoint.closers, undo.pop_all().close))
