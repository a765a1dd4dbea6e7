"""Copying file bytes without carrying them through Python: shared blocks, kernel copies, else a plain copy."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from ckptmigrate.errors import DamagedError

_FICLONE = 0x40049409  # linux/fs.h: share the other file's blocks, where the filesystem can (btrfs, xfs)
_STEP = 64 << 20  # bytes per call, so that progress shows
_CHUNK = 1 << 20
WRITE_BEHIND_BYTES = 64 << 20  # a smaller copy is over before a thread would help
FLUSH_SECONDS = 0.01
_FLUSH = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter

# What the calls answer where kernel or filesystem can't: then the next way is tried.
_UNSUPPORTED = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.EBADF}


def clone_file(source: int, target: int) -> bool:
    """Makes the empty target share all blocks of the source; False where that can't be done."""
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except ImportError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def copy_range(
    source: int, offset: int, size: int, target: int, at: int, *, what: str, on_bytes: Callable[[int], None]
) -> bool:
    """Copies `size` bytes of the source descriptor at `offset` to the target at `at`.

    Returns:
        True when the kernel copied, False when the bytes came through this process.

    Raises:
        DamagedError: The source ends before the range does; `what` says where that is.
        OSError: As the system calls raise it.
    """
    with write_behind(target) if size >= WRITE_BEHIND_BYTES else nullcontext():
        return _copy_range(source, offset, size, target, at, what=what, on_bytes=on_bytes)


def _copy_range(
    source: int, offset: int, size: int, target: int, at: int, *, what: str, on_bytes: Callable[[int], None]
) -> bool:
    in_kernel = hasattr(os, "copy_file_range")
    done = 0
    while done < size:
        count = _kernel_copy(source, offset + done, min(_STEP, size - done), target, at + done) if in_kernel else -1
        if count < 0:
            in_kernel = False
            chunk = os.pread(source, min(_CHUNK, size - done), offset + done)
            count = write_all(target, chunk, at + done)
        if not count:
            raise DamagedError(f"{size} bytes expected, {done} found: truncated", where=what)
        done += count
        on_bytes(count)
    return in_kernel


@contextmanager
def write_behind(target: int) -> Iterator[None]:
    """Lets the disk work while more is being put into a file, so that the fsync at the end has little left to do.

    Raises:
        OSError: What the disk answered meanwhile; a later fsync would not say it again.
    """
    done = threading.Event()
    errors: list[OSError] = []

    def flush() -> None:
        while not done.wait(FLUSH_SECONDS) and not errors:
            try:
                _FLUSH(target)
            except OSError as error:
                errors.append(error)

    thread = threading.Thread(target=flush, name="write-behind", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if errors:
        raise errors[0]


def _kernel_copy(source: int, offset: int, size: int, target: int, at: int) -> int:
    """Bytes copied, or -1 where the kernel can't copy between these files."""
    try:
        return os.copy_file_range(source, target, size, offset, at)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return -1
        raise


def write_all(target: int, data: bytes | memoryview, at: int) -> int:
    """Writes all bytes at an offset, whatever number of calls that takes; gives their number."""
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(target, view[done:], at + done)
    return done
