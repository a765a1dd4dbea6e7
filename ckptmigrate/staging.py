"""Where an output goes, and how it appears there: whole or not at all.

An output is written into a hidden sibling folder `.NAME.ckptmigrate-<random>/` under its final base names, verified
there, and then published by hard links that fail where a file exists, the file that makes the output exist last. A
killed run therefore leaves no commit file, or a complete output. What it left is found again by the next run: published
parts are the same inode as the staged ones, and a lock tells a dead stage from one that is still being written.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import OutputError, output_errors
from ckptmigrate.urls import is_remote
from ckptmigrate.wire.output_file import write_file
from ckptmigrate.wire.remote import image
from ckptmigrate.wire.remote_output import push
from ckptmigrate.wire.state_file import STATE_NAME

STAGE_MARK = ".ckptmigrate-"
NOTE = ".publishing"  # in a stage, while it is published: the names of the commit file and of the files it replaces
REPLACED = ".replaced"  # in a stage: those files
_SHOWN = 8  # names in a message
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}


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
        OutputError: No path, or a folder was named, and the format writes a single file.
    """
    path = image(text) if is_remote(text) else Path(text)
    if not text or "\0" in text or (writes_folder and path.name in ("", "..")):
        raise OutputError("is no path", where=repr(text), hint="name the file, the prefix or the folder to write")
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
        with output_errors(target), _lock(target):
            note = [commit, *(old.name for old in existing)]
            (self.folder / NOTE).write_text(json.dumps(note), encoding="ascii")
            (self.folder / REPLACED).mkdir()
            try:
                replaced = sorted(existing, key=lambda path: path.name != commit)
                for old in replaced:
                    with suppress(FileNotFoundError):
                        old.rename(self.folder / REPLACED / old.name)
                for name in [*(f for f in files if f != commit), commit]:
                    _place(self.folder / name, target / name)
                _fsync_folder(target)
                push(target, [*(f for f in files if f != commit), commit], [old.name for old in replaced])
            except BaseException:
                _withdraw(self.folder, target, files)
                raise
            (self.folder / NOTE).unlink()  # before anything else goes: the output is no longer this stage's


@contextmanager
def stage(destination: Destination) -> Iterator[Stage]:
    """A fresh staging folder beside the destination; whatever is left in it at the end is removed."""
    with ExitStack() as undo:
        with output_errors(destination.folder):
            _make_parents(destination.folder, undo)
            clear_stale(destination)
            folder = _locked_folder(destination, undo)
        yield Stage(folder, destination)


def publish_file(path: str | Path, content: bytes) -> None:
    """Makes a small file appear whole, in the place of an older one; one that can't be written leaves that alone.

    Raises:
        OutputError: It is a folder, or can't be written.
    """
    destination = destination_of(str(path), "")
    with stage(destination) as staged:
        name = destination.name
        write_file(staged.folder / name, content)
        staged.publish([name], name, existing=existing_outputs(destination, [_escaped(name)]))


def clear_stale(destination: Destination) -> None:
    """Removes what killed runs left of this destination: dead stages, and parts published without a commit."""
    with output_errors(destination.folder):
        for folder in destination.folder.glob(f".{_escaped(destination.name)}{STAGE_MARK}*"):
            with suppress(FileNotFoundError, NotADirectoryError), _opened(folder) as handle:
                if _is_free(handle):
                    _unpublish(folder, destination.folder)
                    shutil.rmtree(folder, ignore_errors=True)


def existing_outputs(destination: Destination, patterns: Sequence[str]) -> list[Path]:
    """Files of an older output at the destination, links that lead nowhere too, the commit file first.

    Args:
        destination: Where the new output goes.
        patterns: Of their names, as `Writer.outputs` gives them.
    """
    found: dict[Path, None] = {}
    with output_errors(destination.folder):
        present = sorted(destination.folder.iterdir()) if destination.folder.is_dir() else []
        links = [path for path in present if path.is_symlink()]  # glob passes over those that lead nowhere
        for pattern in (*patterns, *[STATE_NAME] * destination.is_folder):
            found.update(dict.fromkeys(sorted(destination.folder.glob(pattern))))
            found.update(dict.fromkeys(path for path in links if fnmatchcase(path.name, pattern)))
    return list(found)


def refuse_strange_folder(destination: Destination, existing: Sequence[Path]) -> None:
    """Raises OutputError when a folder is to be replaced that is no output, or holds anything but its parts.

    Args:
        destination: Of the output.
        existing: What stands there of an older output, as `existing_outputs` gives it.
    """
    for folder in (old for old in existing if old.is_dir() and destination.path not in old.parents):
        if folder != destination.path:
            hint = "name another destination, or move the folder away"
            raise OutputError("is a folder, where a file of the output goes", where=str(folder), hint=hint)
        strange = sorted(path.name for path in folder.iterdir() if path not in existing)
        if strange:
            shown = ", ".join(strange[:_SHOWN]) + (", ..." if len(strange) > _SHOWN else "")
            message = f"is a folder that holds other things, which would be lost: {shown}"
            raise OutputError(message, where=str(folder), hint=f"name a new folder: {folder / 'model'}")


def refuse_source(destination: Destination, existing: Sequence[Path], sources: Sequence[Path]) -> None:
    """Raises OutputError when what is to be replaced is a file of the source, its state file, or holds one of them."""
    files = {*sources, *(source.with_name(STATE_NAME) for source in sources)}
    for old in existing:
        for source in files:
            if old.exists() and source.exists() and (old.samefile(source) or _is_in(source, old)):
                raise OutputError(
                    "the destination is the source, which is never written to",
                    where=str(old),
                    hint="name another destination",
                )


def _is_in(file: Path, folder: Path) -> bool:
    return folder.is_dir() and file.resolve().is_relative_to(folder.resolve())


def copy_mode(like: Path, files: Sequence[Path]) -> None:
    """Gives staged files, those in folders too, the permissions of the source's, so that what is private stays so."""
    with output_errors(like):
        mode = stat.S_IMODE(like.stat().st_mode) & 0o666 | 0o600
        for path in files:
            for file in path.rglob("*") if path.is_dir() else (path,):
                if file.is_file():
                    file.chmod(mode)


def _unpublish(folder: Path, target: Path) -> None:
    """Takes back what a dead stage published, unless its commit file stands: then the output is complete."""
    commit, *_ = _note(folder) or [""]
    if commit and not _same(folder / commit, target / commit):
        _withdraw(folder, target, ())


def _withdraw(folder: Path, target: Path, moved: Sequence[str]) -> None:
    """Takes back what a stage published, the commit file first, and puts back what that replaced, the commit file last.

    Args:
        folder: The stage.
        target: The folder it published into.
        moved: Names whose files may have been moved rather than linked.
    """
    commit, *replaced = _note(folder)
    names = {*moved, *(path.name for path in folder.iterdir())}
    for name in sorted(names, key=lambda name: name != commit):
        if _same(folder / name, target / name) or (name in moved and not (folder / name).exists()):
            _take_back(target / name, folder / name)
    kept = {path.name for path in (folder / REPLACED).glob("*")}
    for name in (name for name in reversed(replaced) if name in kept):
        with suppress(FileExistsError):
            _rename_new(folder / REPLACED / name, target / name)


def _take_back(placed: Path, staged: Path) -> None:
    if placed.is_dir():
        placed.rename(staged)
    else:
        placed.unlink(missing_ok=True)


def _note(folder: Path) -> list[str]:
    """The names in a stage's note: of its commit file, and of the files it replaces, the commit file first."""
    with suppress(OSError, ValueError):
        return [str(name) for name in json.loads((folder / NOTE).read_text(encoding="ascii"))]
    return []


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.samefile(b)


def _place(staged: Path, target: Path) -> None:
    try:
        if staged.is_dir():
            _rename_new(staged, target)
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


def _rename_new(staged: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    staged.rename(target)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time: two that replace the same output must not mix their files."""
    with _opened(folder) as handle:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_free(handle: int) -> bool:
    """Takes the lock of a stage; False where another process writes it now, or where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _locked_folder(destination: Destination, undo: ExitStack) -> Path:
    """A new stage that others leave alone, until `undo` removes it."""
    while True:
        folder = destination.folder / f".{destination.name}{STAGE_MARK}{secrets.token_hex(4)}"
        undo.callback(_remove, folder)
        folder.mkdir()
        handle = undo.enter_context(_opened(folder))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another run takes it for a dead one
        except OSError:
            return folder  # a file system without locks: dead stages then stay
        if folder.exists():
            return folder


def _remove(folder: Path) -> None:
    """Removes a folder; a signal meanwhile doesn't leave the rest."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _make_parents(folder: Path, undo: ExitStack) -> None:
    """Makes the folder and those above it; `undo` removes those that were made, unless something is in them."""
    for parent in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        undo.callback(_remove_empty, parent)
        parent.mkdir(exist_ok=True)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _fsync_folder(folder: Path) -> None:
    with _opened(folder) as handle:
        os.fsync(handle)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
