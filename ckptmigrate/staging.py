"""Where an output goes, and how it appears there: whole or not at all.

An output is written into a hidden sibling folder `.NAME.ckptmigrate-<random>/` under its final base names, verified
there, and then published by hard links that fail where a file exists, the file that makes the output exist last. A
killed run therefore leaves no commit file, or a complete output. What it left is found again by the next run: published
parts are the same inode as the staged ones, and a lock tells a dead stage from one that is still being written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ckptmigrate.errors import OutputError
from ckptmigrate.wire.state_file import STATE_NAME

STAGE_MARK = ".ckptmigrate-"
COMMIT_NOTE = ".commit"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}


@dataclass(frozen=True, slots=True)
class Destination:
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


def destination_of(text: str, default_name: str) -> Destination:
    """Reads DST of the command line.

    Args:
        text: A prefix or file; a folder, or anything that ends in `/`, where `default_name` isn't empty.
        default_name: The base name inside a folder.

    Raises:
        OutputError: A folder was named, and the format writes a single file.
    """
    path = Path(text)
    if text.endswith(("/", os.sep)) or path.is_dir():
        if not default_name:
            raise OutputError("is a folder, expected the name of a file", where=text, hint=f"{path / 'model'}")
        return Destination(path, default_name, is_folder=True)
    if default_name and path.suffix == ".index":
        path = path.with_suffix("")
    return Destination(path.parent, path.name)


@contextmanager
def output_errors(where: Path) -> Iterator[None]:
    """Turns what the operating system says about a write into an OutputError."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "free some space, or name a destination on another disk",
            errno.EDQUOT: "the disk quota is used up",
            errno.EACCES: "check the folder's permissions",
            errno.EROFS: "the file system is read-only",
        }
        reason = os.strerror(error.errno) if error.errno else str(error)
        path = error.filename or where
        raise OutputError(
            f"can't be written: {reason}", where=str(path), hint=hints.get(error.errno or 0, "")
        ) from error


@dataclass(frozen=True, slots=True)
class Stage:
    """A staging folder that is being written."""

    folder: Path
    destination: Destination

    def publish(self, files: Sequence[str], commit: str, *, existing: Sequence[Path] = ()) -> None:
        """Makes the staged files appear, the commit file last.

        Args:
            files: Names in this folder, in order.
            commit: The one that makes the output exist.
            existing: Files of an older output to be replaced (`--force`); its commit file goes first.

        Raises:
            OutputError: A file of that name appeared meanwhile.
        """
        target = self.destination.folder
        placed: list[Path] = []
        with output_errors(target):
            (self.folder / COMMIT_NOTE).write_text(commit, encoding="utf-8")
            for old in sorted(existing, key=lambda path: path.name != commit):
                old.unlink(missing_ok=True)
            try:
                for name in [*(f for f in files if f != commit), commit]:
                    _place(self.folder / name, target / name)
                    placed.append(target / name)
            except BaseException:
                for path in placed:
                    path.unlink(missing_ok=True)
                raise
            _fsync_folder(target)


@contextmanager
def stage(destination: Destination) -> Iterator[Stage]:
    """A fresh staging folder beside the destination; whatever is left in it at the end is removed."""
    made = _make_parents(destination.folder)
    published = False
    try:
        with output_errors(destination.folder):
            clear_stale(destination)
            folder = destination.folder / f".{destination.name}{STAGE_MARK}{secrets.token_hex(4)}"
            folder.mkdir()
        try:
            with _lock(folder):
                yield Stage(folder, destination)
                published = True
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if not published:
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()


def clear_stale(destination: Destination) -> None:
    """Removes what killed runs left of this destination: dead stages, and parts published without a commit."""
    for folder in destination.folder.glob(f".{_escaped(destination.name)}{STAGE_MARK}*"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # another process is writing it now
        else:
            _unpublish(folder, destination.folder)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def existing_outputs(destination: Destination, patterns: Sequence[str]) -> list[Path]:
    """Files of an older output at the destination; `patterns` as `Writer.outputs` gives them."""
    if not destination.folder.is_dir():
        return []
    found: dict[Path, None] = {}
    for pattern in (*patterns, STATE_NAME) if destination.is_folder else patterns:
        found.update(dict.fromkeys(sorted(destination.folder.glob(pattern))))
    return list(found)


def refuse_source(destination: Destination, existing: Sequence[Path], sources: Sequence[Path]) -> None:
    """Raises OutputError when a file to be replaced is a file of the source."""
    for old in existing:
        for source in sources:
            if old.exists() and source.exists() and old.samefile(source):
                raise OutputError(
                    "the destination is the source, which is never written to",
                    where=str(old),
                    hint="name another destination",
                )


def copy_mode(like: Path, files: Sequence[Path]) -> None:
    """Gives staged files the permissions of the source's file, so that a private checkpoint stays private."""
    mode = stat.S_IMODE(like.stat().st_mode) & 0o666 | 0o600
    for path in files:
        path.chmod(mode)


def _unpublish(folder: Path, target: Path) -> None:
    """Removes the parts a dead stage published, unless its commit file stands: then the output is complete."""
    note = folder / COMMIT_NOTE
    commit = note.read_text(encoding="utf-8") if note.is_file() else ""
    if commit and _same(folder / commit, target / commit):
        return
    for staged in folder.iterdir():
        if _same(staged, target / staged.name):
            (target / staged.name).unlink()


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.samefile(b)


def _place(staged: Path, target: Path) -> None:
    try:
        if staged.is_dir():
            _rename_folder(staged, target)
        else:
            os.link(staged, target)
    except FileExistsError:
        raise OutputError("exists", where=str(target), hint="name another destination, or add --force") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():  # no hard links here: the gap between look and rename is the best there is
            raise OutputError("exists", where=str(target), hint="name another destination, or add --force") from None
        staged.rename(target)


def _rename_folder(staged: Path, target: Path) -> None:
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    staged.rename(target)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: stale stages then stay
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _make_parents(folder: Path) -> list[Path]:
    """Makes the folder; gives the folders that were made, the innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return missing


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
