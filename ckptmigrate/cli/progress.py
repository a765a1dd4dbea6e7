"""Progress on stderr: lines drawn anew on a terminal, silence elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO, cast

from ckptmigrate.cli.streams import Messages
from ckptmigrate.cli.text import size
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ckptmigrate.batch.jobs import Job
    from ckptmigrate.batch.run import Listener
    from ckptmigrate.batch.work import Outcome

Progress = Callable[[str, int, int], None]
Rows = Callable[[int], Sequence["RenderableType"]]  # width in columns -> what is drawn, a line each

_MARGIN = 2  # columns: the ^C that a terminal shows after the last line must not break it
_BAR = range(10, 41)  # columns of a bar; where there is less room there is none


@contextmanager
def progress(wanted: bool = True) -> Iterator[Progress]:
    """Gives what to call with (phase, done, total); each phase has its line. They vanish at the end."""
    if not _is_seen(wanted):
        yield lambda phase, done, total: None
        return
    phases: dict[str, _Phase] = {}

    def report(phase: str, done: int, total: int) -> None:
        phases.setdefault(phase, _Phase(phase, done, time.monotonic())).reach(done, total)

    with _drawn(lambda width: [phase.row(width) for phase in list(phases.values())]):
        yield report


@contextmanager
def batch_progress(wanted: bool = True) -> Iterator[Listener]:
    """Gives the listener of a batch: a line for each running job, and one for all with the time left and the rate."""
    if not _is_seen(wanted):
        yield lambda status, job, outcome: None
        return
    jobs = _Jobs()
    with _drawn(jobs.rows) as redraw:

        def listen(status: str, job: Job, outcome: Outcome | None) -> None:
            jobs.hear(status, job, outcome)
            if status == "started":
                redraw()

        yield listen


@dataclass(slots=True)
class _Phase:
    """How far a phase is: it was first heard of at `first` of `total`, `begun` on the clock."""

    name: str
    first: int
    begun: float
    done: int = 0
    total: int = 0
    told: str = ""

    def reach(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        left = _left(time.monotonic() - self.begun, done - self.first, total - done)
        self.told = ", ".join([f"{done / total:4.0%}", *left] if total else [])

    def row(self, width: int) -> RenderableType:
        return _row(f"{self.name:7}", self.done, self.total, [self.told], width)


@dataclass(slots=True)
class _Jobs:
    """The jobs of a batch: how many there are, have ended, were converted just now; and who runs since when."""

    jobs: int = 0
    ended: int = 0
    converted: int = 0
    nbytes: int = 0
    begun: float = 0.0
    heard: float = 0.0
    running: dict[str, tuple[str, float]] = field(default_factory=dict)

    def hear(self, status: str, job: Job, outcome: Outcome | None) -> None:
        now = time.monotonic()
        if outcome is not None:
            del self.running[job.destination]
            self.ended += 1
            if status == "skipped":  # takes no time, and says nothing of the others
                return
            self.converted, self.nbytes, self.heard = self.converted + 1, self.nbytes + outcome.nbytes, now
        elif status == "waiting":
            self.jobs, self.begun = self.jobs + 1, now
        else:
            self.running[job.destination] = (visible(job.source), now)

    def rows(self, width: int) -> list[RenderableType]:
        from rich.text import Text

        now = time.monotonic()
        told = [f"{self.ended:,} of {self.jobs:,}"]
        if self.converted:
            seconds = self.heard - self.begun
            told += _left(seconds, self.converted, self.jobs - self.ended, now - self.heard)
            told += [f"{size(int(self.nbytes / max(seconds, 1e-3)))}/s"]
        rows = [_row("all", self.ended, self.jobs, told, width)]
        for name, since in list(self.running.values()):
            clock = _clock(now - since)
            rows.append(Text(f"{clock}  {_end_of(name, width - len(clock) - 2)}"))
        return rows


def _left(seconds: float, done: int, rest: int, ago: float = 0.0) -> list[str]:
    """The time that the rest takes, at the mean of what is done; nothing when that can't be told, or is over.

    >>> _left(60.0, 2, 6), _left(60.0, 2, 6, ago=20.0), _left(0.0, 0, 6), _left(60.0, 2, 1, ago=40.0)
    (['0:03:00 left'], ['0:02:40 left'], [], [])
    """
    left = seconds / done * rest - ago if done > 0 else -1.0
    return [f"{_clock(left)} left"] if left >= 0 else []


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _end_of(name: str, width: int) -> str:
    """The end of a name that is too wide, which tells it from others.

    >>> _end_of("archive/2019/run17/model.ckpt-300", 20)
    '...17/model.ckpt-300'
    """
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    end = name[max(len(name) - width, 0) :]
    while end and cell_len(end) > width - 3:
        end = end[1:]
    return f"...{end}"


def _row(label: str, done: int, total: int, told: Sequence[str], width: int) -> RenderableType:
    """`all ━━━━━━━━━━ 23 of 69, 0:00:28 left`: as much of what is told as fits, and a bar if there is room yet."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    kept = max((n for n in range(len(told) + 1) if len(label) + 1 + len(", ".join(told[:n])) <= width), default=0)
    text = ", ".join(told[:kept])
    room = min(width - len(label) - len(text) - 2, _BAR[-1])
    row = Table.grid(padding=(0, 1))
    bar = [ProgressBar(total or None, done, width=room)] if room in _BAR else []
    row.add_row(label, *bar, text)
    return row


def _is_seen(wanted: bool) -> bool:
    return wanted and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def _drawn(rows: Rows) -> Iterator[Callable[[], None]]:
    """Draws the rows again and again, until they vanish; gives what draws them at once."""
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(file=cast(TextIO, Messages()))
    with Live(console=console, transient=True, get_renderable=lambda: Group(*rows(console.width - _MARGIN))) as live:
        yield live.refresh
