"""Standard output and standard error, which may be pipes that nobody reads, full disks, or terminals that are gone."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TextIO

from ckptmigrate.errors import OutputError

_COMMAND = re.compile(r"  hint:  (?:[\d,]+ of [\d,]+: )?(?:ckptmigrate|printf|rm|pip) ")
_SENTENCES = ("error: ", "loss: ", "warning: ", "note: ", "  hint:  ")


def reopen_closed() -> None:
    """Makes standard streams that the shell closed (`>&-`) lead nowhere.

    The next files opened, outputs among them, would take their numbers, and what is printed would be written into them.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: PTH123, SIM115 it lives as long as the process
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


class Messages:
    """Standard error as a file to write to. Once it can't be written, nothing is: no work ends because of it."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError:
            _abandon(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _abandon(self._stream)


def emit(text: str) -> None:
    """Prints to stdout. A reader that went away (`| head`) is no error: it has what it wanted.

    Raises:
        OutputError: Standard output can't be written, such as to a full disk.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout)
    except OSError as error:
        _abandon(sys.stdout)
        raise OutputError(f"can't be written: {error.strerror}", where="standard output") from error


def say(lines: Iterable[str]) -> None:
    """Prints to stderr, if anybody is there."""
    messages = Messages()
    for line in fitted(lines, sys.stderr):
        messages.write(f"{line}\n")
    messages.flush()


def fitted(lines: Iterable[str], stream: TextIO) -> Iterator[str]:
    """On a terminal, sentences broken between words; names, commands, and everything elsewhere, as they are."""
    width = shutil.get_terminal_size().columns if stream.isatty() else 0
    for line in lines:
        if 0 < width < len(line) and line.startswith(_SENTENCES) and not _COMMAND.match(line):
            indent = " " * (9 if line.startswith(" ") else 6)
            yield from textwrap.wrap(
                line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
        else:
            yield line


def _abandon(stream: TextIO) -> None:
    """Sends what is still buffered, and all that follows, nowhere, so that Python doesn't complain at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    with suppress(OSError):
        stream.flush()
