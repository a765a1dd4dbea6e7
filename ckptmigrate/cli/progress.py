"""Progress on stderr: bars on a terminal, silence elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ckptmigrate.cli.text import size
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ckptmigrate.batch.jobs import Job
    from ckptmigrate.batch.run import Listener
    from ckptmigrate.batch.work import Outcome

Progress = Callable[[str, int, int], None]


@contextmanager
def progress(wanted: bool = True) -> Iterator[Progress]:
    """Gives what to call with (phase, done, total); a new phase starts a new bar. Bars vanish at the end."""
    if not _is_seen(wanted):
        yield lambda phase, done, total: None
        return
    from rich.progress import TaskProgressColumn, TimeRemainingColumn

    with _bars(TaskProgressColumn(), TimeRemainingColumn()) as bars:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total or None)
            bars.update(tasks[phase], completed=done, total=total or None)

        yield report


@contextmanager
def batch_progress(wanted: bool = True) -> Iterator[Listener]:
    """Gives the listener of a batch: a line for each running job, and one for all with the rate and the time left."""
    if not _is_seen(wanted):
        yield lambda status, job, outcome: None
        return
    from rich.progress import TextColumn, TimeElapsedColumn

    with _bars(TimeElapsedColumn(), TextColumn("{task.fields[told]}", markup=False)) as bars:
        running: dict[str, TaskID] = {}
        whole = bars.add_task("all", total=None, told="")
        jobs = ended = nbytes = 0
        begun = time.monotonic()

        def listen(status: str, job: Job, outcome: Outcome | None) -> None:
            nonlocal jobs, ended, nbytes
            if outcome is not None:
                bars.remove_task(running.pop(job.destination))
                ended, nbytes = ended + 1, nbytes + outcome.nbytes
            elif status == "waiting":
                jobs += 1
            elif job.destination not in running:  # else it is tried once more
                running[job.destination] = bars.add_task(visible(job.source), total=None, told="")
            rate = _rate(ended, jobs, nbytes, time.monotonic() - begun) if nbytes else ""
            bars.update(whole, total=jobs, completed=ended, told=f"{ended:,} of {jobs:,}{rate}")

        yield listen


def _rate(ended: int, jobs: int, nbytes: int, seconds: float) -> str:
    """Bytes a second so far, and the time that the other jobs take at the mean of those that ended.

    >>> _rate(2, 8, 3_000_000, 60.0)
    ', 50 kB/s, 0:03:00 left'
    """
    left = int(seconds / ended * (jobs - ended))
    return f", {size(int(nbytes / seconds))}/s, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


def _is_seen(wanted: bool) -> bool:
    return wanted and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _bars(*columns: object) -> Bars:
    """Bars with a description each, and these columns after them."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    first = TextColumn("{task.description}", markup=False)
    return Bars(first, BarColumn(), *columns, console=Console(stderr=True), transient=True)  # type: ignore[arg-type]
