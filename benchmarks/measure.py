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

_ENOUGH = 4.0  # seconds a command has run in all, after which it isn't run once more
_KILLED = (-9, 137)  # what `timeout -s KILL` ends with


class Run(NamedTuple):
    """One finished process, or the medians of several.

    Attributes:
        seconds: From start to end.
        cpu: User and system seconds, its children's too.
        peak_mib: Largest resident set.
        runs: How many; 0 where it was stopped after `seconds`.
    """

    seconds: float
    cpu: float
    peak_mib: float
    runs: int = 1


def timed(command: Command, limit: float = 600, clear: Path | None = None) -> Run:
    """Runs a command to its end, or kills it after `limit` seconds; empties the folder `clear` before, untimed.

    Raises:
        SystemExit: The command failed.
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
    if process.returncode not in (0, *_KILLED):
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{errors.decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, int(process.returncode == 0))


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
    return Run(statistics.median(seconds), statistics.median(cpu), max(peak), sum(finished))


def bare_peak() -> float:
    """MiB that Python takes with numpy imported, and nothing done."""
    return timed([sys.executable, "-c", "import numpy"]).peak_mib
