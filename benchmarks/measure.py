"""Whole processes, measured: wall seconds, CPU seconds and peak resident memory of commands run in turn."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Command = Sequence[str | Path]

FAILED = -1
_ENOUGH = 3.0  # seconds a command has run in all, after which it isn't run once more
_KILLED = (-9, 137)  # what `timeout -s KILL` ends with


class Run(NamedTuple):
    """One finished process, or the medians of several.

    Attributes:
        seconds: From start to end.
        cpu: User and system seconds, its children's too.
        peak_mib: Largest resident set.
        runs: How many; 0 where it was stopped after `seconds`, FAILED where it ended with an error.
    """

    seconds: float
    cpu: float
    peak_mib: float
    runs: int = 1


def timed(command: Command, limit: float = 600, clear: Path | None = None) -> Run:
    """Runs a command to its end, or kills it after `limit` seconds; empties the folder `clear` before, untimed.

    A failure is told, and doesn't end what goes on around it: at some size a tool may run out of memory.
    """
    if clear is not None:
        shutil.rmtree(clear, ignore_errors=True)
        clear.mkdir()
    os.sync()
    words = ["timeout", "-s", "KILL", str(limit), *map(str, command)]
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    outcome = {0: 1, **dict.fromkeys(_KILLED, 0)}.get(process.returncode, FAILED)
    if outcome == FAILED:
        print(f"{' '.join(words)} ended with {process.returncode}:\n{errors.decode()[-2000:]}", file=sys.stderr)
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, outcome)


def medians(commands: Mapping[str, Command], runs: int, limit: float, clear: Path) -> dict[str, Run]:
    """Medians of each command, the commands in turn; slow ones run fewer times."""
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            if sum(run.seconds for run in found[name]) < _ENOUGH:
                found[name].append(timed(command, limit, clear))
    return {name: _median(taken) for name, taken in found.items()}


def _median(runs: Sequence[Run]) -> Run:
    seconds, cpu, peak, finished = zip(*runs, strict=True)
    times = sum(finished) if min(finished) > 0 else min(finished)
    return Run(statistics.median(seconds), statistics.median(cpu), max(peak), times)


def bare_peak() -> float:
    """MiB that Python takes with numpy imported, and nothing done."""
    return timed([sys.executable, "-c", "import numpy"]).peak_mib
