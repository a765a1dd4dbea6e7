"""Sending an output to a store: whole, or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ckptmigrate.errors import OutputError
from ckptmigrate.urls import url_of
from ckptmigrate.wire.names import STAGE_MARK
from ckptmigrate.wire.remote import forget
from ckptmigrate.wire.store import WHOLE_FOLDER, filesystem_of, remote_errors


def send(stage: Path, target: Path, names: Sequence[str], replaced: Sequence[str] = ()) -> None:
    """Sends what lies in a stage; nothing of it appears in the image, where others may look at what was sent already.

    New objects are made, never overwritten, in the order given; when one fails, those before it are deleted. Where
    older ones are replaced, the new ones are first sent to keys of their own: until they are all there nothing of the
    old output is touched. Then its first file goes, and the new ones are copied into place within the store.

    Args:
        stage: Where the files lie.
        target: The folder they go to: the image of a remote one.
        names: Files and folders; the one that makes the output exist last.
        replaced: Files and folders of the older output; the one that makes it exist first.

    Raises:
        OutputError: Something of that name is there, or the store can't take it.
    """
    url = url_of(target)
    with remote_errors(url, OutputError):
        filesystem = filesystem_of(url)
        files = [file for name in names for file in _files(stage / name)]
        _replace(filesystem, stage, url, files, replaced) if replaced else _create(filesystem, stage, url, files)
        filesystem.invalidate_cache()
    for name in replaced:
        _remove(target / name)


def _remove(path: Path) -> None:
    """The image of what isn't there any more; a later reader fetches what is."""
    forget(path)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.is_file())
    return sorted(found, key=lambda file: file.parent == path and file.name in WHOLE_FOLDER)


def _create(filesystem: Any, stage: Path, url: str, files: Sequence[Path]) -> None:
    sent: list[str] = []
    try:
        for file in files:
            target = f"{url}/{file.relative_to(stage).as_posix()}"
            filesystem.put_file(str(file), target, mode="create")
            sent.append(target)
            _check(filesystem, file, target)
    except BaseException:
        for target in reversed(sent):
            with suppress(Exception):
                filesystem.rm_file(target)
        raise


def _replace(filesystem: Any, stage: Path, url: str, files: Sequence[Path], replaced: Sequence[str]) -> None:
    kept = f"{url}/{STAGE_MARK}{secrets.token_hex(8)}"
    keys = [file.relative_to(stage).as_posix() for file in files]
    try:
        for file, key in zip(files, keys, strict=True):
            filesystem.put_file(str(file), f"{kept}/{key}", mode="create")
            _check(filesystem, file, f"{kept}/{key}")
    except BaseException:
        with suppress(Exception):
            filesystem.rm(kept, recursive=True)
        raise
    try:
        for name in replaced:
            with suppress(FileNotFoundError):
                filesystem.rm(f"{url}/{name}", recursive=True)
        for key in keys:
            filesystem.cp_file(f"{kept}/{key}", f"{url}/{key}")
    except Exception as error:
        hint = f"the new output is whole in {kept}: copy it into place"
        raise OutputError(f"the older output couldn't be replaced: {error}", where=url, hint=hint) from error
    with suppress(Exception):  # the output is complete
        filesystem.rm(kept, recursive=True)


def _check(filesystem: Any, file: Path, target: str) -> None:
    filesystem.invalidate_cache()
    size = filesystem.info(target)["size"]
    if size != file.stat().st_size:
        raise OutputError(f"{file.stat().st_size} bytes were sent, {size} are there", where=target)
