"""What benchmarks share: whole processes timed in turn, ratios within one run, and the rows of a table."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed command has its modules compiled

CKPTMIGRATE = [sys.executable, "-m", "ckptmigrate"]
CONVERT = [*CKPTMIGRATE, "convert"]


@dataclass(frozen=True)
class Run:
    """One finished process: wall seconds and peak resident KiB."""

    seconds: float
    peak_kib: int


def timed(command: list[str], *, clear: Path | None = None) -> Run:
    """Runs a command to its end; removes `clear` before it, outside the time."""
    if clear is not None:
        shutil.rmtree(clear, ignore_errors=True)
        clear.mkdir()
    os.sync()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.decode()}")
    return Run(seconds, usage.ru_maxrss)


def medians(runs: int, *commands: tuple[list[str], Path | None]) -> list[Run]:
    """Medians of several runs of each command, the commands in turn, after one warm-up of each."""
    found: list[list[Run]] = [[] for _ in commands]
    for number in range(runs + 1):
        for kept, (command, clear) in zip(found, commands, strict=True):
            run = timed(command, clear=clear)
            if number:
                kept.append(run)
    return [Run(statistics.median(r.seconds for r in f), max(r.peak_kib for r in f)) for f in found]


def made(kind: str, path: Path, *sizes: int) -> Path:
    """A checkpoint to measure, made by `make.py`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, Path(__file__).with_name("make.py"), kind, path, *map(str, sizes)], check=True)
    return path


def copy_and_sync(files: str, out: Path) -> list[str]:
    """`cp` of files, given as the shell has them, and `sync` of the copies."""
    return ["sh", "-c", f"cp {files} {out}/ && sync {out}/*"]


def row(title: str, ours: str, other: str, ratio: str, bar: str) -> None:
    """Prints one line of the table."""
    print(f"| {title} | {ours} | {other} | {ratio} | {bar} |", flush=True)


def within(title: str, bar: float, ours: Run) -> None:
    """A row of a time against a bar in seconds."""
    row(title, f"{ours.seconds:.3f} s", "", "", f"< {bar} s {'ok' if ours.seconds < bar else 'MISSED'}")


def against(title: str, bar: float, ours: Run, other: Run) -> None:
    """A row of one ratio against a bar."""
    ratio = ours.seconds / other.seconds
    verdict = "ok" if ratio <= bar else "MISSED"
    row(title, f"{ours.seconds:.3f} s", f"{other.seconds:.3f} s", f"{ratio:.2f}", f"<= {bar} {verdict}")


def main(doc: str | None, measures: Sequence[Callable[[Path, int], None]]) -> None:
    """Runs measurements in a folder of their own and prints the table.

    Args:
        doc: The program's docstring.
        measures: Each is given the folder and the number of runs.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder, prefix="ckptmigrate-bench-"))
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        print("| what | ckptmigrate | other | ratio | bar |\n|---|---|---|---|---|")
        for measure in measures:
            measure(folder, arguments.runs)
    finally:
        shutil.rmtree(folder)
