"""A file that is being written: bytes of this process, and of other files, which the kernel copies or shares.

What is put into it starts on its way to the disk at once, so that the fsync at the end has little left to do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from ckptmigrate.errors import DamagedError, output_errors
from ckptmigrate.wire.reading import opened, source_errors
from ckptmigrate.wire.remote import want

_FICLONE = 0x40049409  # linux/fs.h: share the other file's blocks, where the filesystem can (btrfs, xfs)
_STEP = 16 << 20  # bytes per call of the kernel, so that progress shows and the disk gets its work early
_GAP = 1 << 20  # bytes between two writes that are told of together
_CHUNK = 1 << 18  # bytes that come through this process at a time: they stay in the second-level cache
_PAGE = 1 << 12  # bytes

# What the calls answer where kernel or filesystem can't: then the next way is tried.
_UNSUPPORTED = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.EBADF}


class OutputFile:
    """A file open for writing at any place; as a context manager it is closed at the end.

    Args:
        path: Where. Nothing may be there, unless `is_new` is False: then the file is filled further.

    Attributes:
        path: Where it stands; whoever renames it says so.

    Raises:
        OutputError: From every method, when the system can't.
    """

    def __init__(self, path: Path, *, is_new: bool = True) -> None:
        self.path = path
        with output_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0), 0o666)
        self._late = 0, 0  # from where to where bytes lie that the disk wasn't told of
        self._source = Path()  # the file that was copied from last, which stays open
        self._source_descriptor = -1
        self._sources = ExitStack()
        self._buffer = memoryview(bytearray())  # made once: fresh memory costs more than the bytes that go through it

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes it; what isn't synced may be lost."""
        self._sources.close()
        self._source = Path()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def sync(self) -> None:
        """Brings everything to the disk."""
        with output_errors(self.path):
            os.fsync(self._descriptor)

    def write(self, data: bytes | memoryview, at: int) -> int:
        """Writes all bytes at an offset, whatever number of calls that takes; gives their number."""
        view = memoryview(data)
        done = 0
        with output_errors(self.path):
            while done < len(view):
                count = os.pwrite(self._descriptor, view[done : done + _STEP], at + done)
                self._begin_writing(at + done, count)
                done += count
        return done

    def read_into(self, buffer: memoryview, at: int) -> int:
        """Fills a buffer with what was written at an offset, as far as there is any; gives the number of bytes."""
        with output_errors(self.path):
            return os.preadv(self._descriptor, [buffer], at)

    def resize(self, size: int) -> None:
        """Makes the file this long, with zeros at the end or what is there cut off."""
        with output_errors(self.path):
            os.ftruncate(self._descriptor, size)

    def share(self, file: Path) -> int | None:
        """Makes this empty file share all blocks of another; gives their bytes, or None where that can't be done.

        Raises:
            SourceError: The other file can't be opened.
        """
        want(file)
        source = self._opened(file)
        try:
            import fcntl

            fcntl.ioctl(self._descriptor, _FICLONE, source)
        except ImportError:
            return None
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return None
            with output_errors(self.path):
                raise
        return os.fstat(source).st_size

    def copy(
        self,
        file: Path,
        offset: int,
        size: int,
        at: int,
        *,
        name: str = "",
        on_bytes: Callable[[int], None],
        look: Callable[[memoryview], None] | None = None,
    ) -> bool:
        """Puts `size` bytes of another file, from `offset` on, at a place of this one.

        The kernel copies page by page: what lies elsewhere in its pages there than here would touch two of them for
        each, which takes longer than bringing it through this process.

        Args:
            file, offset, size: The bytes.
            at: The place.
            name: Of the tensor, for messages.
            on_bytes: Told how many bytes were just copied.
            look: Shown the bytes in order, piece by piece; they come through this process then.

        Returns:
            True when the kernel copied, False when the bytes came through this process.

        Raises:
            SourceError: The other file can't be opened or read.
            DamagedError: It ends before the range does.
        """
        where = f"{file}, {name!r} at byte {offset}" if name else f"{file}, byte {offset}"
        want(file, offset, size)
        is_even = size <= _CHUNK or (offset - at) % _PAGE == 0
        source, in_kernel, done = self._opened(file), look is None and is_even and hasattr(os, "copy_file_range"), 0
        while done < size:
            count = self._kernel_copy(source, offset + done, min(_STEP, size - done), at + done) if in_kernel else -1
            if count < 0:
                in_kernel = False
                count = self._passed_on(source, offset + done, size - done, at + done, look)
            if not count:
                raise DamagedError(f"{size} bytes expected, {done} found: truncated", where=where)
            done += count
            on_bytes(count)
        return in_kernel

    def _opened(self, file: Path) -> int:
        if file != self._source:
            self._sources.close()
            self._source_descriptor = self._sources.enter_context(opened(file, 0, 0))
            self._source = file
        return self._source_descriptor

    def _passed_on(
        self, source: int, offset: int, size: int, at: int, look: Callable[[memoryview], None] | None
    ) -> int:
        """Bytes that came through this process; 0 at the end of the source."""
        self._buffer = self._buffer or memoryview(bytearray(_CHUNK))
        chunk = self._buffer[: min(_CHUNK - at % _PAGE, size)]  # whole pages of this file
        with source_errors(f"{self._source}, byte {offset}"):
            chunk = chunk[: os.preadv(source, [chunk], offset)]
        if look is not None:
            look(chunk)
        return self.write(chunk, at)

    def _kernel_copy(self, source: int, offset: int, size: int, at: int) -> int:
        """Bytes copied, or -1 where the kernel can't copy between these files."""
        try:
            count = os.copy_file_range(source, self._descriptor, size, offset, at)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return -1
            with source_errors(f"{self._source}, byte {offset}"):  # the error doesn't say which file it is about
                os.pread(source, 1, offset)
            with output_errors(self.path):
                raise
        self._begin_writing(at, count)
        return count

    def _begin_writing(self, at: int, count: int) -> None:
        """Has the disk begin with what was written once that is worth it.

        Linux starts writing dirty pages that won't be needed (mm/fadvise.c), which costs no thread and no wait. What
        lies apart from the rest, such as HDF5's headers, waits for the end: advice on all between would cost more.
        """
        begin, end = self._late
        if not begin <= at <= end + _GAP:
            begin, end = at, at
        end = max(end, at + count)
        self._late = begin, end
        if end - begin >= _STEP:
            self._late = 0, 0
            if hasattr(os, "posix_fadvise"):
                with suppress(OSError):  # advice only
                    os.posix_fadvise(self._descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)


def write_file(path: Path, data: bytes) -> None:
    """Writes a new small file and brings it to the disk.

    Raises:
        OutputError: It can't be written.
    """
    with OutputFile(path) as file:
        file.write(data, 0)
        file.sync()
