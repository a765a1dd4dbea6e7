"""Some bytes of an open file as a file of their own, for HDF5 to read from, and a bound on what it may allocate.

HDF5 gets no path that it could go on from, no heap that it would walk without end, and no tree whose nodes it would
write beyond. It reads each structure by itself, from its signature on: there they are looked at.
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, III.A.2 and III.E.
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
from ckptmigrate.wire.remote import want

_HEAP = b"GCOL"
_OBJECT = struct.Struct("<H6xQ")  # header of an object in a heap: index, number of references, reserved, size
_TREE = struct.Struct("<4xBBIHHxxQHQ")  # header of a version 2 tree: version, type, sizes of nodes and records...
_RECORDS = {1: 24, 2: 36, 3: 16, 4: 28, 5: 11, 6: 15, 8: 17, 9: 13}  # sizes by type
_VARIED = (7, 10, 11)  # types whose records differ in size: of shared messages and of chunks
_MAX_RECORD = 20 + 8 * 32  # bytes: of a filtered chunk with as many dimensions as a dataset has
_NODE_OVERHEAD = 10  # bytes of a node that hold no records
_NODES = range(128, 1 << 17)  # bytes; HDF5 writes 512 to 2048
_MAX_DEPTH = 16  # two records in each node make 65,536 at the least
_FRACTAL = struct.Struct("<5xHHxI96xHQQHH8xH")  # header of a fractal heap: its sizes, and those of its doubling table
_MAX_ID = 4096  # bytes of an object's place in such a heap; HDF5 writes 7 and 8
_MAX_BLOCK = 1 << 24  # bytes; HDF5 writes 64 KiB
_MAX_WIDTH = 1 << 10  # blocks in a row of the table; HDF5 writes 4


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
        want(self._file, self._base + self._at, len(view))
        found = os.preadv(self._descriptor, [view], self._base + self._at)
        signature = bytes(view[:4])
        if signature in _CHECKS:
            size = self._heap_size(view[:found]) if signature == _HEAP else found
            whole = view[:found] if size <= found else self._read(size)
            _CHECKS[signature](whole, f"{self._file}, byte {self._base + self._at}")
        self._at += found
        return found

    def _heap_size(self, begin: memoryview) -> int:
        """What a heap says that it takes, as far as there is so much: HDF5 reads large ones in two parts."""
        return min(int.from_bytes(begin[8:16], "little"), self._size - self._at)

    def _read(self, size: int) -> memoryview:
        want(self._file, self._base + self._at, size)
        return memoryview(os.pread(self._descriptor, size, self._base + self._at))


def _check_heap(heap: memoryview, what: str) -> None:
    """Refuses a heap of strings with an object of no size, or one beyond its end, which HDF5 may round up to none.

    HDF5 1.14 looks for the end of such a heap for ever.

    Signature, version, size of the heap; then objects with index, count, and size; index 0 is what is free, its size
    includes its own header. Lengths are of 8 bytes in all files that h5py writes.
    """
    at, end = _OBJECT.size, min(len(heap), int.from_bytes(heap[8:16], "little"))
    while at + _OBJECT.size <= end:
        index, size = _OBJECT.unpack_from(heap, at)
        taken = _OBJECT.size + (size + 7) // 8 * 8 if index else size
        if not 0 < taken <= end - at:
            raise DamagedError(f"an object of {taken} bytes in the last {end - at} of its heap", where=what)
        at += taken


def _check_tree(tree: memoryview, what: str) -> None:
    """Refuses a tree whose nodes can't hold its records: HDF5 1.14 takes room for nodes and writes records."""
    if len(tree) < _TREE.size:
        return  # HDF5 says that the file is truncated
    _, kind, node, record, depth, _, count, _ = _TREE.unpack_from(tree)
    is_known = (kind in _VARIED and 0 < record <= _MAX_RECORD) or record == _RECORDS.get(kind)
    if not is_known or node not in _NODES or depth > _MAX_DEPTH or count * record > node - _NODE_OVERHEAD:
        message = f"a tree of type {kind} with {count} records of {record} bytes in nodes of {node}, {depth} deep"
        raise DamagedError(message, where=what)


def _check_fractal(heap: memoryview, what: str) -> None:
    """Refuses a heap whose table of blocks can't be: HDF5 1.14 writes beyond the rows that it took room for."""
    if len(heap) < _FRACTAL.size:
        return  # HDF5 says that the file is truncated
    place, filters, largest, width, first, last, bits, begun, rows = _FRACTAL.unpack_from(heap)
    are_powers = all(size and not size & (size - 1) for size in (width, first, last))
    most = bits - (first * width).bit_length() + 2
    is_table = are_powers and width <= _MAX_WIDTH and first <= last <= _MAX_BLOCK and last.bit_length() <= bits <= 64
    if filters or not is_table or not 0 < place <= _MAX_ID or largest > last or max(begun, rows) > most:
        message = f"a heap of {rows} rows of {width} blocks, of {first} to {last} bytes, {bits} bits in all"
        raise DamagedError(message, where=what)


_CHECKS = {_HEAP: _check_heap, b"BTHD": _check_tree, b"FRHP": _check_fractal}
