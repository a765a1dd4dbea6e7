"""Opening files that may be anything, and bounded reads of raw bytes, checksummed while they are warm."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.crc32c import crc32c
from ckptmigrate.wire.remote import is_image, want

CHUNK = 1 << 20  # bytes per read: stays in the second-level cache until its checksum is taken

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024  # bytes, by git-lfs' docs/spec.md

_LARGE = 1 << 30  # bytes from which on the memory of the machine is asked for


class _Wanting(io.FileIO):
    """An image of a remote file that says what it wants before it reads."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        super().__init__(path if descriptor is None else descriptor, closefd=descriptor is None)
        self._path = path

    def readinto(self, buffer: Any) -> int | None:
        want(self._path, self.tell(), len(memoryview(buffer).cast("B")))
        return super().readinto(buffer)

    def readall(self) -> bytes:
        at = self.tell()
        want(self._path, at, max(0, os.fstat(self.fileno()).st_size - at))
        return super().readall()


def stream(path: Path, descriptor: int | None = None) -> BinaryIO:
    """A file for reading, of which those bytes are fetched that are read.

    Args:
        path: The file.
        descriptor: Of the file, where it is open (with 0 as its size) and stays so.

    Raises:
        OSError: It can't be opened.
    """
    if is_image(path):
        return io.BufferedReader(_Wanting(path, descriptor))
    return path.open("rb") if descriptor is None else os.fdopen(descriptor, "rb", closefd=False)


def lacks(path: Path) -> str:
    """What is said of a file that isn't there; "" for one that is. Never raises."""
    try:
        if not path.is_file():
            return "doesn't exist"
        if path.stat().st_size <= _LARGEST_POINTER and head(path, len(LFS_POINTER)) == LFS_POINTER:
            return "is a Git LFS pointer, not the file itself (git lfs pull)"
    except OSError:
        pass  # reading it says what is wrong
    return ""


def head(path: Path, size: int) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: It can't be read.
    """
    with stream(path) as file:
        return file.read(size)


@contextmanager
def opened(path: Path, offset: int = 0, size: int | None = None) -> Iterator[int]:
    """A descriptor of a regular file, for reading; pipes and devices, which may never answer, are refused.

    Args:
        path: The file.
        offset, size: The range that is going to be read, which is all that is fetched of a remote file. No size
            stands for all of it; whoever gives 0 says later what it wants.

    Raises:
        SourceError: The file can't be opened, or isn't a regular one.
    """
    want(path, offset, size)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise SourceError(f"can't be opened: {getattr(error, 'strerror', error)}", where=str(path)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SourceError("not a regular file", where=str(path))
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def source_errors(where: str) -> Iterator[None]:
    """Turns what the operating system says about a read into a SourceError."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=where) from error


def read_bytes(path: Path, offset: int, size: int, what: str) -> tuple[np.ndarray[Any, Any], int]:
    """A range of a file as a flat, writable uint8 array, and its CRC-32C.

    Raises:
        SourceError: The file is missing, or the bytes don't fit into memory.
        DamagedError: The file ends before the range does.
    """
    where = f"{path}, {what!r} at byte {offset}"
    with opened(path, offset, size) as descriptor:
        end = os.fstat(descriptor).st_size
        if offset + size > end:
            raise DamagedError(f"{size} bytes expected, {max(end - offset, 0)} found: truncated", where=where)
        try:
            values = _allocated(size)
        except MemoryError as error:
            raise SourceError(f"{size} bytes don't fit into memory", where=where) from error
        with source_errors(where):
            return values, _fill(descriptor, values.data, offset, where)


def _allocated(size: int) -> np.ndarray[Any, Any]:
    """An array of `size` bytes. A sparse file may be larger than all memory, which the system would still promise."""
    if size > _LARGE and size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError
    return np.empty(size, np.uint8)


def _fill(descriptor: int, target: memoryview, offset: int, where: str) -> int:
    crc = at = 0
    while at < len(target):
        count = os.preadv(descriptor, [target[at : at + CHUNK]], offset + at)
        if not count:
            raise DamagedError(f"{len(target)} bytes expected, {at} found: the file shrank", where=where)
        crc = crc32c(target[at : at + count], crc)
        at += count
    return crc
