"""The parent's side: children that run cases, watched from outside, and what they found."""

from __future__ import annotations

import collections
import json
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
SECONDS = 8  # without a word: more than a case may take, which a signal ends unless C code doesn't let it
STARTING = 60


@dataclass
class Found:
    """What cases of one reader ended with.

    Attributes:
        outcomes: How many by the class of the error, `read` for none.
        failures: A line for each case that went wrong.
        slowest: Seconds.
        grown: MiB by which a child grew.
    """

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    grown: int = 0

    def add(self, other: Found) -> None:
        """Takes in what others ended with."""
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.slowest, self.grown = max(self.slowest, other.slowest), max(self.grown, other.grown)


def run(reader: str, first: int, count: int) -> Found:
    """Runs cases in children: when one dies or hangs, that is a failure of its case, and another one goes on."""
    found, end = Found(), first + count
    while first < end:
        with tempfile.TemporaryFile("w+") as said:
            command = [sys.executable, str(CHILD), reader, str(first), str(end - first)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
                for case, told, wrong, seconds, grown in _answers(process):
                    first = case + 1
                    found.outcomes[told] += 1
                    found.failures += [f"{reader} {case}: {told}: {wrong}"] if wrong else []
                    found.slowest, found.grown = max(found.slowest, seconds), max(found.grown, grown)
                is_silent = process.poll() is None
                process.kill()
            if process.returncode or first < end:
                said.seek(0)
                ended = "hung" if is_silent else f"died with {process.returncode}"
                found.outcomes[ended] += 1
                found.failures.append(f"{reader} {first}: {ended}: {said.read()[-400:]}")
                first += 1
    return found


def _answers(process: subprocess.Popen[bytes]) -> Iterator[tuple[int, str, str, float, int]]:
    """A child's lines, until it ends or says nothing for too long."""
    assert process.stdout is not None
    patience = STARTING
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        rest = b""
        while selector.select(patience):
            data = process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not data:
                process.wait()
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)
            patience = SECONDS
