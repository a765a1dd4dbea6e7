"""The long run: `python tests/fuzz/long.py --cases 100000`; writes the table in docs/fuzz.md.

What is done is kept in the file of `--log`, a line for each 2,000 cases: a run that was stopped goes on from there.
Cases that failed run again, one by one, once they are mended: `--again`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import cases
import h5py
from cases import Found
from readers import READERS, ROOT

CHUNK = 2000
DOCUMENT = ROOT / "docs/fuzz.md"
HEAD = "| reader | cases | outcomes | failures | slowest | memory grown |\n|---|--:|---|--:|--:|--:|\n"


def read_log(log: Path) -> dict[tuple[str, int], Found]:
    """What was found, by reader and first case."""
    found = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        reader, first, outcomes, *rest = json.loads(line)
        found[reader, first] = Found(Counter(outcomes), *rest)
    return found


def row(reader: str, found: Found) -> str:
    """A line of the table."""
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(found.outcomes.items()))
    count, failures = found.outcomes.total(), len(found.failures)
    return f"| {reader} | {count:,} | {told} | {failures} | {found.slowest:.2f} s | {found.grown} MiB |\n"


def machine() -> str:
    """When and where this ran."""
    hdf5 = f"h5py {version('h5py')} with HDF5 {h5py.version.hdf5_version}"
    today = datetime.now(timezone.utc).date()
    return (
        f"\nRun on {today}, one process at a time, on one core of a {platform.machine()} machine with"
        f" Python {platform.python_version()}, NumPy {version('numpy')}, {hdf5}, PyYAML {version('pyyaml')}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--readers", nargs="*", default=list(READERS))
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    done = read_log(given.log)
    for first in range(0, given.cases, CHUNK):  # of every reader some, so that a run that is stopped says something
        for reader in given.readers:
            if (reader, first) in done and not (given.again and done[reader, first].failures):
                continue
            found = cases.run(reader, first, min(CHUNK, given.cases - first))
            done[reader, first] = found
            with given.log.open("a") as log:
                parts = [reader, first, found.outcomes, found.failures, found.slowest, found.grown]
                log.write(json.dumps(parts) + "\n")
            print(reader, first, *found.failures, sep="\n  " if found.failures else " ", file=sys.stderr, flush=True)
    text = DOCUMENT.read_text()
    rows = ""
    for reader in READERS:
        whole = Found()
        for (known, _), found in done.items():
            if known == reader:
                whole.add(found)
        rows += row(reader, whole)
    DOCUMENT.write_text(text[: text.index(HEAD)] + HEAD + rows + machine())


if __name__ == "__main__":
    main()
