"""Runs cases of one reader: `python child.py READER FIRST COUNT`; one JSON line for each case as it ends.

A case that ends with neither a result nor an error of ours is a failure. One that doesn't end is its parent's to see.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from readers import LARGEST, READERS, ROOT, SOME, Reader

from ckptmigrate.errors import CkptMigrateError

SECONDS = 5
MEMORY = 1536 << 20


class HangError(BaseException):
    """A case took longer than it may."""


def _late(*_: object) -> None:
    raise HangError


def seeds(reader: Reader) -> list[Path]:
    """The small files of a reader, in an order that doesn't change; of folders their smallest."""
    found = sorted(path for pattern in reader.seeds for path in ROOT.glob(pattern))
    return [path for path in found if path.is_dir() or path.stat().st_size <= LARGEST]


def beside(seed: Path) -> dict[str, bytes]:
    """The files that come along with a seed, and itself: all in its folder, or below it."""
    files = seed.rglob("*") if seed.is_dir() else seed.parent.iterdir()
    top = seed.parent
    return {str(f.relative_to(top)): f.read_bytes() for f in files if f.is_file() and f.name != "listing.json"}


def outcome(reader: Reader, path: Path, *, also: bool) -> tuple[str, str]:
    """What became of a case: the error's class or `read`; and what is wrong with that, "" for nothing."""
    signal.alarm(SECONDS)
    try:
        reader.read(path)
        if also:
            reader.also(path)
    except CkptMigrateError as error:
        code = error.exit_code
        return type(error).__name__, "" if 2 <= code <= 7 else f"exit code {code}"
    except (Exception, HangError) as error:  # noqa: BLE001 - that is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"uncaught {type(error).__name__}", f"{error} at {Path(last.filename).name}:{last.lineno}"[:300]
    finally:
        signal.alarm(0)
    return "read", ""


def run(name: str, first: int, count: int) -> None:
    """Runs cases, each in a folder made anew."""
    reader = READERS[name]
    given = seeds(reader)
    kept = {seed: beside(seed) for seed in given}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "case"
        for case in range(first, first + count):
            seed = given[case % len(given)]
            for file, content in kept[seed].items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(content)
            reader.change(folder / seed.name, random.Random(f"{name} {case}"))
            start = time.monotonic()
            told, wrong = outcome(reader, folder / seed.name, also=case % SOME == 0)
            seconds = time.monotonic() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
            print(json.dumps([case, told, wrong and f"{seed.parent.name}: {wrong}", seconds, grown]), flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter("ignore")
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
