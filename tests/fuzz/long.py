"""The long run: `python tests/fuzz/long.py --cases 100000`; writes the table in docs/fuzz.md."""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import time
from pathlib import Path

from child import READERS, ROOT

CHUNK = 500


def chunk(reader: str, first: int, count: int) -> dict[str, object]:
    """What the child found; a child that died is a failure of the last case it named."""
    command = [sys.executable, str(Path(__file__).with_name("child.py")), reader, str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode == 0:
        found: dict[str, object] = json.loads(done.stdout)
        return found
    last = done.stderr.strip().splitlines()[-12:]
    failure = f"exit {done.returncode}: {last}"
    return {"outcomes": {"died": count}, "failures": [failure], "slowest": 0.0, "grown": 0}


def row(reader: str, cases: int) -> tuple[str, list[str]]:
    """A line of the table, and the failures."""
    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    slowest, grown = 0.0, 0
    for first in range(0, cases, CHUNK):
        found = chunk(reader, first, min(CHUNK, cases - first))
        outcomes.update(found["outcomes"])  # type: ignore[arg-type]
        failures += found["failures"]  # type: ignore[operator]
        slowest = max(slowest, found["slowest"])  # type: ignore[type-var,assignment]
        grown = max(grown, found["grown"])  # type: ignore[type-var,assignment]
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items()))
    return f"| {reader} | {cases:,} | {told} | {len(failures)} | {slowest:.2f} s | {grown} MiB |", failures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100_000)
    cases = parser.parse_args().cases
    start = time.monotonic()
    rows = []
    for reader in READERS:
        line, failures = row(reader, cases)
        print(line, *failures, sep="\n", flush=True)
        rows.append(line)
    text = (ROOT / "docs/fuzz.md").read_text()
    head = text[: text.index("| reader |")]
    table = ["| reader | cases | outcomes | failures | slowest | memory grown |", "|---|--:|---|--:|--:|--:|", *rows]
    took = f"\n{cases:,} cases of each reader took {time.monotonic() - start:.0f} s in all, one process at a time.\n"
    (ROOT / "docs/fuzz.md").write_text(head + "\n".join(table) + "\n" + took)


if __name__ == "__main__":
    main()
