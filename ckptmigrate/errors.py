"""The errors that ckptmigrate raises, one class per exit code.

CkptMigrateError          1
+-- UsageError            2   a wrong option, or an extra that isn't installed
+-- SourceError           3   missing, unknown or unsupported source
+-- DamagedError          4   damaged or hostile source
+-- MappingError          5   mapping invalid, ambiguous or incomplete
+-- TargetError           6   the target can't hold something, or a needed value is missing
+-- OutputError           7   the output exists or can't be written
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ckptmigrate.urls import spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ckptmigrate.issues import Issue

# What to do about a failed write, by what the operating system says.
_WRITE_HINTS = {
    errno.ENOSPC: "the disk is full: free space or choose another destination",
    errno.EDQUOT: "the disk quota is used up: free space or choose another destination",
    errno.EFBIG: "the file would grow past a limit: raise it (`ulimit -f`) or give a smaller shard size",
    errno.EACCES: "the folder can't be written: check its permissions or choose another destination",
    errno.EPERM: "what stands there is another user's, or protected: choose another destination",
    errno.EROFS: "the file system is read-only: choose another destination",
}


class CkptMigrateError(Exception):
    """Root of the tree: a message (what, expected, found), where it was met, and what to do next.

    Paths that stand for remote files are told as URLs.

    Args:
        message: What went wrong; expected and found values where there are any.
        where: File, and key or offset in it.
        hint: The next command to type, or the next thing to look at.
        issues: All problems of the kind, when there is more than one.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "", issues: Iterable[Issue] = ()) -> None:
        self.message, self.where, self.hint = spoken(message), spoken(where), spoken(hint)
        super().__init__(self.message)
        self.issues = tuple(issues)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(CkptMigrateError):
    """A wrong option, or an extra that isn't installed."""

    exit_code = 2


class SourceError(CkptMigrateError):
    """The source is missing, of an unknown kind, or of a kind that is not supported."""

    exit_code = 3


class DamagedError(CkptMigrateError):
    """The source is of a known format but damaged or hostile."""

    exit_code = 4


class MappingError(CkptMigrateError):
    """A mapping file is invalid, ambiguous or incomplete for this checkpoint."""

    exit_code = 5


class TargetError(CkptMigrateError):
    """The target format can't hold something, or a value that is needed is missing."""

    exit_code = 6


class OutputError(CkptMigrateError):
    """The output exists or can't be written."""

    exit_code = 7


@contextmanager
def output_errors(where: Path) -> Iterator[None]:
    """Turns what the operating system says about a write into an OutputError; `where` is its file or folder."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
        hint = _WRITE_HINTS.get(error.errno or 0, "")
        raise OutputError(f"can't be written: {reason}", where=str(error.filename or where), hint=hint) from error
