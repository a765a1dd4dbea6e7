"""Some bytes of an open file as a file of their own, for HDF5 to read from, and a bound on what it may allocate.

HDF5 gets no path that it could go on from, and no heap that it would walk without end.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptmigrate.errors import DamagedError

_HEAP = b"GCOL"  # strings of any length lie in such a collection
_OBJECT = struct.Struct("<H6xQ")  # header of an object in it: index, number of references, reserved, size


@contextmanager
def growing_by(allowance: int) -> Iterator[None]:
    """Allocations that make this process grow by more fail while this lasts; on Linux, which tells its size."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError):
        yield
        return
    limit = used + allowance
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Window(io.RawIOBase):
    """`size` bytes of an open file from `base` on, read-only."""

    def __init__(self, descriptor: int, file: Path, base: int, size: int) -> None:
        self._descriptor, self._file, self._base, self._size, self._at = descriptor, file, base, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place, from the window's beginning, its end or where it is; gives that place."""
        self._at = offset if whence == io.SEEK_SET else offset + (self._size if whence == io.SEEK_END else self._at)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the window reaches; gives the number of bytes."""
        view = memoryview(buffer).cast("B")
        if self._at + len(view) > self._size:
            view = view[: max(0, self._size - self._at)]
        found = os.preadv(self._descriptor, [view], self._base + self._at)
        if view[: len(_HEAP)] == _HEAP:
            _check_heap(view[:found], f"{self._file}, byte {self._base + self._at}")
        self._at += found
        return found


def _check_heap(heap: memoryview, what: str) -> None:
    """Refuses a heap of strings with free space of no size: HDF5 1.14 looks for the end of it for ever.

    File format, III.E: signature, version, size of the heap; then objects with index, count, and size; index 0 is what
    is free, its size includes its own header. Lengths are of 8 bytes in all files that h5py writes.
    """
    at, end = _OBJECT.size, min(len(heap), int.from_bytes(heap[8:16], "little"))
    while at + _OBJECT.size <= end:
        index, size = _OBJECT.unpack_from(heap, at)
        if not index and not size:
            raise DamagedError("free space of no size", where=what)
        at += _OBJECT.size + (size + 7) // 8 * 8 if index else size
