"""Where an output goes, and what stands there already, of which nothing is replaced but an older output."""

from __future__ import annotations

import fnmatch
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import DamagedError, OutputError, output_errors
from ckptmigrate.urls import is_remote
from ckptmigrate.wire.names import STAGE_MARK, index_file
from ckptmigrate.wire.reading import head
from ckptmigrate.wire.remote import known
from ckptmigrate.wire.state_file import MAX_STATE_BYTES, STATE_NAME, decode_state, last_part

_DEVICES = Path("/dev")  # what stands there may lead to a file: `/dev/stdout`
_SHOWN = 8  # names in a message


class Destination(NamedTuple):
    """Where an output goes.

    Attributes:
        folder: The folder its files stand in.
        name: Base name: the prefix of a bundle, or the file's own name.
        is_folder: The user named a folder, so that a bundle gets a `checkpoint` state file.
    """

    folder: Path
    name: str
    is_folder: bool = False

    @property
    def path(self) -> Path:
        """The path to hand to the next command."""
        return self.folder / self.name


def destination_of(text: str, default_name: str, *, writes_folder: bool = False) -> Destination:
    """Reads DST of the command line.

    Args:
        text: A prefix or file; a folder, or anything that ends in `/`, where `default_name` isn't empty.
        default_name: The base name inside a folder.
        writes_folder: The output is a folder, which is what is named.

    Raises:
        OutputError: No path, a name as stages have, or a folder was named, and the format writes a single file.
    """
    path = known(text) if is_remote(text) else Path(text)
    if not text or "\0" in text or (writes_folder and path.name in ("", "..")):
        raise OutputError("is no path", where=repr(text), hint="name the file, the prefix or the folder to write")
    if STAGE_MARK in path.name:
        raise OutputError(f"names with {STAGE_MARK} are those of unfinished outputs", where=text, hint="name another")
    if writes_folder:
        return Destination(path.parent, path.name)
    with output_errors(path):
        is_folder = text.endswith(("/", os.sep)) or path.is_dir()
    if is_folder:
        if not default_name:
            hint = str(path / f"model{path.suffix}")
            raise OutputError("is a folder, expected the name of a file", where=text, hint=hint)
        return Destination(path, default_name, is_folder=True)
    if default_name and path.suffix == ".index":
        path = path.with_suffix("")
    return Destination(path.parent, path.name)


def existing_outputs(destination: Destination, patterns: Sequence[str]) -> list[Path]:
    """Files of an older output at the destination, links that lead nowhere too, the commit file first.

    Args:
        destination: Where the new output goes.
        patterns: Of their names, as `Writer.outputs` gives them.
    """
    found: list[Path] = []
    with output_errors(destination.folder):
        names = os.listdir(destination.folder) if destination.folder.is_dir() else []  # noqa: PTH208 of thousands
        for pattern in (*patterns, *[STATE_NAME] * destination.is_folder):
            first, _, rest = pattern.partition("/")
            fitting = [destination.folder / name for name in sorted(fnmatch.filter(names, first))]
            found += [path for top in fitting for path in sorted(top.glob(rest))] if rest else fitting
    return list(dict.fromkeys(found))


def refuse_strange(destination: Destination, existing: Sequence[Path]) -> None:
    """Raises OutputError when what is to be replaced is a device, or a folder or state file not of its output alone.

    Args:
        destination: Of the output.
        existing: What stands there of an older output, as `existing_outputs` gives it.
    """
    for old in existing:
        is_device = old.parent.resolve() == _DEVICES or not (old.is_file() or old.is_dir())
        if is_device and old.exists():
            hint = "name a file, which may be a new one"
            raise OutputError("is a device, a pipe or a socket, which no file replaces", where=str(old), hint=hint)
        if destination.is_folder and old.name == STATE_NAME and old.is_file():
            _refuse_state(destination, old)
    for folder in (old for old in existing if old.is_dir()):
        if destination.path not in (folder, *folder.parents):
            hint = "name another destination, or move the folder away"
            raise OutputError("is a folder, where a file of the output goes", where=str(folder), hint=hint)
        strange = sorted(path.name for path in folder.iterdir() if path not in existing)
        is_listed = folder == destination.path or any(old.parent == folder for old in existing)
        if strange and is_listed:
            shown = ", ".join(strange[:_SHOWN]) + (", ..." if len(strange) > _SHOWN else "")
            message = f"is a folder that holds other things, which would be lost: {shown}"
            raise OutputError(message, where=str(folder), hint=f"name a new folder: {destination.path / 'model'}")


def _refuse_state(destination: Destination, file: Path) -> None:
    """Of a folder where others train, the state file says where they go on."""
    hint = f"name a prefix, which leaves it alone: {destination.path}; or another folder"
    try:
        state = decode_state(head(file, MAX_STATE_BYTES), str(file))
    except (DamagedError, OSError):
        raise OutputError("is no state file, as an output has one", where=str(file), hint=hint) from None
    named = [destination.folder / last_part(path) for path in sorted({state.newest, *state.all})]
    standing = (path for path in named if path.is_file() or index_file(path).is_file())
    others = [path.name for path in standing if path != destination.path]
    if others:
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        raise OutputError(f"is the state file of other checkpoints, too: {shown}", where=str(file), hint=hint)


def refuse_source(existing: Sequence[Path], sources: Sequence[Path], others: Sequence[Path] = ()) -> None:
    """Raises OutputError when what is to be replaced is read, or holds what is.

    Args:
        existing: What stands at the destination.
        sources: The source's files; a state file beside them is the source's, too.
        others: Mappings, configurations; not templates, which one may want to have with other values.
    """
    states = [source.with_name(STATE_NAME) for source in sources]
    for files, role in (([*sources, *states], "the source"), (others, "read from, too")):
        for old, file in itertools.product(existing, dict.fromkeys(files)):
            if old.exists() and file.exists() and (old.samefile(file) or _is_in(file, old)):
                message = f"the destination is {role}, which is never written to"
                raise OutputError(message, where=str(old), hint="name another destination")


def _is_in(file: Path, folder: Path) -> bool:
    return folder.is_dir() and file.resolve().is_relative_to(folder.resolve())
