"""The program at a pseudo-terminal, as people see it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckptmigrate.locks import locked

OPENED = 'exec "$@" <"$0"'  # the first terminal that a session opens is its own: Ctrl-C is for it


class Terminal:
    """`ckptmigrate WORDS` at a terminal of its own, so many columns wide."""

    def __init__(self, columns: int, folder: Path, words: tuple[str, ...], kind: str) -> None:
        self.screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.running = subprocess.Popen(
            ["sh", "-c", OPENED, os.ttyname(theirs), sys.executable, "-m", "ckptmigrate", *words],
            cwd=folder,
            env={**{k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}, "TERM": kind},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = b""

    def wait_for(self, pattern: bytes) -> None:
        """Reads until it shows this."""
        while not re.search(pattern, self.shown):
            assert self._read(), self.shown.decode()

    def press(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def hang_up(self) -> None:
        """Closes the terminal under the program, and waits for its end."""
        os.close(self.screen)
        self.screen = -1
        self.running.wait()

    def end(self) -> str:
        """All that was shown, once it and all that it started have ended."""
        while self._read():
            pass
        self.running.wait()
        return self.shown.decode()

    def close(self) -> None:
        self.running.kill()
        self.running.wait()
        if self.screen >= 0:
            os.close(self.screen)

    def _read(self) -> bool:
        try:
            new = os.read(self.screen, 1 << 16)
        except OSError:  # nobody has the terminal open any more
            return False
        self.shown += new
        return bool(new)


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """While this runs, a batch's first job, which writes into new/run0, waits, and so the batch doesn't end."""
    first = folder / "new" / "run0"
    first.mkdir(parents=True)
    with locked(first):
        yield


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts `ckptmigrate` at a terminal: (columns, folder, words, kind)."""
    started: list[Terminal] = []

    def start(columns: int, folder: Path, *words: str, kind: str = "xterm-256color") -> Terminal:
        started.append(Terminal(columns, folder, words, kind))
        return started[-1]

    yield start
    for one in started:
        one.close()
