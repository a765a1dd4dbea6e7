"""A file for HDF5 to write to that never tells it of a failure.

HDF5 1.14 keeps what it couldn't write, and reads freed memory when the file is closed. So the first failure is kept for
whoever writes the file, and what comes after it goes nowhere.
"""

from __future__ import annotations

import io
from typing import Any

from ckptmigrate.wire.output_file import OutputFile


class Sink(io.RawIOBase):
    """An output file as Python's files are.

    Attributes:
        error: What failed first, a signal among it; to be raised once HDF5 has closed the file.
    """

    def __init__(self, file: OutputFile) -> None:
        self._file, self._at, self._end = file, 0, 0
        self.error: BaseException | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place, from the beginning, the end or where it is; gives that place."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Reads back what was written; gives the number of bytes."""
        try:
            count = self._file.read_into(memoryview(buffer).cast("B"), self._at)
        except BaseException as error:  # noqa: BLE001 raised later
            self.error, count = self.error or error, 0
        self._at += count
        return count

    def write(self, data: Any) -> int:
        """Writes all of it, or nothing any more; gives its size."""
        view = memoryview(data).cast("B")
        try:
            if self.error is None:
                self._file.write(view, self._at)
        except BaseException as error:  # noqa: BLE001 raised later
            self.error = error
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Makes the file this long; gives that."""
        self._end = self._at if size is None else size
        try:
            if self.error is None:
                self._file.resize(self._end)
        except BaseException as error:  # noqa: BLE001 raised later
            self.error = error
        return self._end
