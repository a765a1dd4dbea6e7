"""How an output appears: whole or not at all.

An output is written into a hidden sibling folder `.NAME.ckptmigrate-<random>/` under its final base names, verified
there, and then published by hard links that fail where a file exists, the file that makes the output exist last. A
killed run therefore leaves no commit file, or a complete output. What it left is found again by the next run: published
parts are the same inode as the staged ones, and a lock tells a dead stage from one that is still being written.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.destination import Destination, destination_of, existing_outputs, refuse_strange
from ckptmigrate.errors import OutputError, output_errors
from ckptmigrate.locks import locked, opened, take
from ckptmigrate.urls import url_of
from ckptmigrate.wire.names import STAGE_MARK
from ckptmigrate.wire.output_file import write_file
from ckptmigrate.wire.remote_output import send

NOTE = f"{STAGE_MARK}publishing"  # in a stage, while it is published: what its `_Note` says
REPLACED = f"{STAGE_MARK}replaced"  # in a stage: the files that it replaces
_RANDOM = 4  # bytes in a stage's name, in hexadecimal digits
_TRIES = 100  # to make a stage, while other runs clear it or its folder away
_LONGEST = 255  # bytes of a file's name
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}


class _Note(NamedTuple):
    """What a stage says of itself while it is published.

    Attributes:
        commit: The name of the file that makes the output exist.
        files: Those of all files.
        replaced: Those of an older output's files, its commit file first.
    """

    commit: str = ""
    files: Sequence[str] = ()
    replaced: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A staging folder that is being written."""

    folder: Path
    destination: Destination

    def publish(self, files: Sequence[str], commit: str, *, replacing: Sequence[str] = ()) -> None:
        """Makes the staged files appear, the commit file last.

        Args:
            files: Names in this folder, in order.
            commit: The one that makes the output exist.
            replacing: Patterns of what may stand there of an older output and is replaced (`--force`), its commit file
                first; see `existing_outputs`.

        Raises:
            OutputError: A file of that name appeared meanwhile, or what stands there is not an older output alone.
        """
        target = self.destination.folder
        with output_errors(target), locked(target):
            existing = existing_outputs(self.destination, replacing) if replacing else []
            refuse_strange(self.destination, existing)
            outer = [old for old in existing if old.parent == target]  # what lies in a folder goes with it
            replaced = sorted(outer, key=lambda path: path.name != commit)
            ordered = [*(f for f in files if f != commit), commit]
            if url_of(target):
                send(self.folder, target, ordered, [old.name for old in replaced])
            else:
                self._appear(ordered, replaced)

    def _appear(self, files: Sequence[str], replaced: Sequence[Path]) -> None:
        """Puts the files into their folder, the last one as that which makes the output exist."""
        target = self.destination.folder
        note = _Note(files[-1], files, [old.name for old in replaced])
        write: Callable[[Path, bytes], object] = write_file if replaced else Path.write_bytes
        write(self.folder / NOTE, json.dumps(note).encode("ascii"))  # a power cut must leave what is to be put back
        (self.folder / REPLACED).mkdir()
        try:
            for old in replaced:
                with suppress(FileNotFoundError):
                    old.rename(self.folder / REPLACED / old.name)
            for name in files:
                _place(self.folder / name, target / name)
            _fsync_folder(target)
        except BaseException:
            _withdraw(self.folder, target, note)
            raise
        (self.folder / NOTE).unlink()  # before anything else goes: the output is no longer this stage's


@contextmanager
def stage(destination: Destination) -> Iterator[Stage]:
    """A fresh staging folder beside the destination; whatever is left in it at the end is removed."""
    with ExitStack() as undo:
        with output_errors(destination.folder):
            clear_stale(destination)
            folder = _locked_folder(destination, undo)
        yield Stage(folder, destination)


def publish_file(path: str | Path, content: bytes) -> None:
    """Makes a small file appear whole, in the place of an older one; one that can't be written leaves that alone.

    Raises:
        OutputError: It is a folder or a device, or can't be written.
    """
    destination = destination_of(str(path), "")
    name = destination.name
    with stage(destination) as staged:
        write_file(staged.folder / name, content)
        staged.publish([name], name, replacing=[glob.escape(name)])


def clear_stale(destination: Destination) -> None:
    """Removes what killed runs left of this destination: dead stages, and parts published without a commit."""
    with output_errors(destination.folder):
        for folder in destination.folder.glob(glob.escape(_stage_name(destination)) + "[0-9a-f]" * 2 * _RANDOM):
            # another user's is that user's to clear
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError), opened(folder) as handle:
                if _is_free(handle):
                    _remove(folder, destination.folder)


def copy_mode(like: Path, files: Sequence[Path]) -> None:
    """Gives staged files, those in folders too, the permissions of the source's, so that what is private stays so."""
    with output_errors(like):
        mode = stat.S_IMODE(like.stat().st_mode) & 0o666 | 0o600
        for path in files:
            for file in path.rglob("*") if path.is_dir() else (path,):
                if file.is_file():
                    file.chmod(mode)


def _withdraw(folder: Path, target: Path, note: _Note) -> None:
    """Takes back what a stage published, the commit file first, and puts back what that replaced, the commit file last.

    Args:
        folder: The stage.
        target: The folder it published into.
        note: What it says; without its files nothing was published.
    """
    present = {path.name for path in folder.iterdir()}
    for name in sorted(note.files, key=lambda name: name != note.commit):
        if name not in present or _same(folder / name, target / name):
            _take_back(target / name, folder / name)
    kept = {path.name for path in (folder / REPLACED).glob("*")}
    for name in (name for name in reversed(note.replaced) if name in kept):
        with suppress(FileExistsError):
            _rename_new(folder / REPLACED / name, target / name)
    (folder / NOTE).unlink(missing_ok=True)


def _take_back(placed: Path, staged: Path) -> None:
    """Only what isn't in the stage any more, or is there under the same inode, is this stage's."""
    with suppress(FileNotFoundError):
        if staged.exists():
            placed.unlink()
        else:
            placed.rename(staged)


def _note(folder: Path) -> _Note:
    """A stage's note; an empty one where it isn't being published. Names in it are of files in its own folders."""
    with suppress(OSError, ValueError, TypeError):
        commit, files, replaced = json.loads((folder / NOTE).read_text(encoding="ascii"))
        return _Note(str(commit), [Path(str(f)).name for f in files], [str(name) for name in replaced])
    return _Note()


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.samefile(b)


def _place(staged: Path, target: Path) -> None:
    try:
        if staged.is_dir() or not _linked(staged, target):
            _rename_new(staged, target)  # the gap between its look and the rename is the best there is
    except FileExistsError:
        raise OutputError("exists", where=str(target), hint="name another destination, or add --force") from None


def _linked(staged: Path, target: Path) -> bool:
    """Makes a hard link, which fails where a file exists; False on file systems that have none."""
    try:
        os.link(staged, target)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _rename_new(staged: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    staged.rename(target)


def _is_free(handle: int) -> bool:
    """Takes the lock of a stage; False where another process writes it now, where there are no locks, and of others'.

    What another user left is that user's to clear: its note could name anybody's files.
    """
    return os.fstat(handle).st_uid == os.geteuid() and bool(take(handle))


def _locked_folder(destination: Destination, undo: ExitStack) -> Path:
    """A new stage that others leave alone, until `undo` removes it.

    Other runs may take one for dead before it is locked, and one that fails removes the folder that it has made: there
    is nothing of ours in it yet.
    """
    for left in reversed(range(_TRIES)):
        folder = destination.folder / (_stage_name(destination) + secrets.token_hex(_RANDOM))
        try:
            _make_parents(destination.folder, undo)
            undo.callback(_remove, folder, destination.folder)
            folder.mkdir(0o700)  # until an output has its source's permissions, it is private
            handle = undo.enter_context(opened(folder))
        except FileNotFoundError:
            if left:
                continue
            raise
        undo.callback(_remove, folder, destination.folder)  # while it is locked: without, others take it for a dead one
        is_ours = take(handle)
        if is_ours is None or (is_ours and folder.exists()):
            return folder  # without locks dead stages stay
    raise OutputError("other runs remove what is made here", where=str(destination.folder), hint="try again")


def _stage_name(destination: Destination) -> str:
    """How its stages' names begin. Cut ones may be those of other outputs too: a stage's note says what it is of."""
    room = _LONGEST - len(f".{STAGE_MARK}") - 2 * _RANDOM
    return f".{os.fsencode(destination.name)[:room].decode(errors='ignore')}{STAGE_MARK}"


def _remove(folder: Path, target: Path) -> None:
    """Removes a stage; a signal meanwhile doesn't leave the rest."""
    try:
        _clear(folder, target)
    except BaseException:
        _clear(folder, target)
        raise


def _clear(folder: Path, target: Path) -> None:
    """Removes a stage, once nothing in it is the only copy of what it was to replace; else the next run tries again."""
    note = _note(folder)
    is_published = not (folder / note.commit).exists() or _same(folder / note.commit, target / note.commit)
    if note.commit and not is_published:
        try:
            _withdraw(folder, target, note)
        except OSError:
            return
    shutil.rmtree(folder, ignore_errors=True)


def _make_parents(folder: Path, undo: ExitStack) -> None:
    """Makes the folder and those above it; `undo` removes those that were made, unless something is in them."""
    for parent in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        undo.callback(_remove_empty, parent)
        parent.mkdir(exist_ok=True)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _fsync_folder(folder: Path) -> None:
    with opened(folder) as handle:
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that has no such thing for folders
                raise
