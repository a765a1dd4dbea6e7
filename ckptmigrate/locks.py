"""One process at a time: locks of files and folders, which end with whoever holds them, killed or not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


def lock(handle: int) -> None:
    """Waits for the lock of an open file or folder, until it is closed; a file system without locks has none."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)


def take(handle: int) -> bool | None:
    """Takes the lock of an open file or folder if nobody has it: whether it did; None where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """A folder's descriptor, closed at the end."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While this runs, no other run publishes into the folder: what stands there stays, and no outputs get mixed.

    One that isn't there isn't locked: nothing stands there.
    """
    with ExitStack() as held:
        with suppress(FileNotFoundError, NotADirectoryError):
            lock(held.enter_context(opened(folder)))
        yield
