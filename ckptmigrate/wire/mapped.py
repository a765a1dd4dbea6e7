"""Large protobuf files, mapped: a message is a view of the file, its fields are walked one by one, none is loaded."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.protobuf import BYTES, FIXED32, FIXED64, MalformedError, read_varint
from ckptmigrate.wire.reading import opened


class Mapped:
    """A file mapped for reading. The map goes with the last view of it.

    Attributes:
        path: The file.
        view: All of it.
    """

    def __init__(self, path: Path) -> None:
        """Maps a file.

        Raises:
            SourceError: It can't be opened or mapped.
        """
        self.path = path
        with opened(path) as descriptor:
            try:
                self.view = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
            except ValueError:  # an empty file can't be mapped
                self.view = memoryview(b"")
            except OSError as error:
                raise SourceError(f"can't be mapped: {error.strerror}", where=str(path)) from error
        self._start = _address(self.view)

    def offset(self, view: memoryview) -> int:
        """Where in the file a view begins."""
        return _address(view) - self._start if len(view) else 0

    def fields(self, message: memoryview) -> Iterator[tuple[int, Any]]:
        """The fields of a message in file order as (tag, value): unsigned integers, or views where it has a length.

        Raises:
            DamagedError: The bytes are no message; says at which byte of the file.
        """
        try:
            yield from walk(message)
        except MalformedError as error:
            raise self.damaged(str(error), message, error.offset) from error

    def damaged(self, message: str, view: memoryview, at: int = 0) -> DamagedError:
        """The error of a message that can't be, with its place in the file."""
        return DamagedError(f"{message}, at byte {self.offset(view) + at}", where=str(self.path))


def walk(message: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message one by one; `protobuf.fields` makes a list, which a hostile file could make huge.

    Raises:
        MalformedError: It isn't one.

    >>> list(walk(memoryview(bytes.fromhex("08 01 12 02 12 00")))) == [(8, 1), (18, b"\\x12\\x00")]
    True
    """
    at, end = 0, len(message)
    while at < end:
        start = at
        tag, at = read_varint(message, at)
        kind = tag & 7
        if not kind:
            value, at = read_varint(message, at)
            yield tag, value
            continue
        if kind == BYTES:
            size, at = read_varint(message, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise MalformedError(f"unknown wire type {kind}", start)
        if at + size > end:
            raise MalformedError(f"a field of {size} bytes runs past the end, {end - at} are left", start)
        part = message[at : at + size]
        yield tag, part if kind == BYTES else int.from_bytes(part, "little")
        at += size


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0] if len(view) else 0
    return address
