"""Bounded reads of raw bytes, checksummed while they are warm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.crc32c import crc32c

CHUNK = 1 << 20  # bytes per read: stays in the second-level cache until its checksum is taken


def read_bytes(path: Path, offset: int, size: int, what: str) -> tuple[np.ndarray[Any, Any], int]:
    """A range of a file as a flat, writable uint8 array, and its CRC-32C.

    Raises:
        SourceError: The file is missing, or the bytes don't fit into memory.
        DamagedError: The file ends before the range does.
    """
    where = f"{path}, {what!r} at byte {offset}"
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise SourceError(f"can't be opened for {what!r}: {error.strerror}", where=str(path)) from error
    try:
        end = os.fstat(descriptor).st_size
        if offset + size > end:
            raise DamagedError(f"{size} bytes expected, {max(end - offset, 0)} found: truncated", where=where)
        values = np.empty(size, np.uint8)
        return values, _fill(descriptor, values.data, offset, where)
    except MemoryError as error:
        raise SourceError(f"{size} bytes don't fit into memory", where=where) from error
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=where) from error
    finally:
        os.close(descriptor)


def _fill(descriptor: int, target: memoryview, offset: int, where: str) -> int:
    crc = at = 0
    while at < len(target):
        count = os.preadv(descriptor, [target[at : at + CHUNK]], offset + at)
        if not count:
            raise DamagedError(f"{len(target)} bytes expected, {at} found: the file shrank", where=where)
        crc = crc32c(target[at : at + count], crc)
        at += count
    return crc
