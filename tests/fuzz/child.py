"""Runs cases of one reader: `python child.py READER FIRST COUNT`; one JSON object on standard output.

The number of the case that is running goes to standard error, so that a crash is found by it.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import mutate

from ckptmigrate.batch.manifest import read_manifest
from ckptmigrate.detection.prototext import parse
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.listing import inspect_json
from ckptmigrate.mapping.load import load

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
SECONDS = 5
MEMORY = 1536 << 20
READ_BYTES = 1 << 20
MANIFEST = b"""ckptmigrate-batch: 1
defaults: {to: tf2, mapping: auto, verify: bits}
entries:
  - {from: 'archive/*/model.ckpt-*.index', to: 'new/{parent}/{stem}/'}
  - {from: 'keras/**/*.h5', to: 'new/{stem}.keras', format: keras-v3, mapping: '', max-shard-size: 5GB}
"""
CONFIG = b'model { ssd { num_classes: 3 feature_extractor { type: "ssd_mobilenet_v2" } anchors: [1, 2.5, -3e4] } }\n'


def everything(path: Path) -> None:
    """Opens, lists, and reads each tensor of at most a mebibyte."""
    with open_checkpoint(path) as checkpoint:
        inspect_json(checkpoint)
        for row in checkpoint.rows():
            if not row.tensor.is_open and row.tensor.nbytes <= READ_BYTES:
                row.tensor.read()


def config(path: Path) -> None:
    parse(path.read_bytes().decode("utf-8", "replace"), str(path))


def smallest(pattern: str) -> Path:
    return min(sorted(FIXTURES.glob(pattern)), key=lambda path: path.stat().st_size)


def of_bytes(change):  # type: ignore[no-untyped-def]
    return lambda path, rng: change(path.read_bytes(), rng)


# Of each reader: the seed (a file, or its bytes), the name it has, how it's changed, how it's read.
READERS = {
    "bundle": (lambda: smallest("tf2/**/*.index"), "", mutate.table, everything),
    "v1": (lambda: FIXTURES / "tf1-v1/adam/model.ckpt", "", mutate.table, everything),
    "safetensors": (lambda: smallest("safetensors/**/*.safetensors"), "", of_bytes(mutate.safetensors), everything),
    "hdf5": (lambda: smallest("keras-h5/**/*.h5"), "", of_bytes(mutate.raw), everything),
    "keras": (lambda: smallest("keras-v3/**/*.keras"), "", of_bytes(mutate.archive), everything),
    "npz": (lambda: smallest("npz/**/*.npz"), "", of_bytes(mutate.archive), everything),
    "graph": (lambda: smallest("frozen-graph/**/*.pb"), "", of_bytes(mutate.message), everything),
    "mapping": (lambda: ROOT / "mappings/rnn/tf1_lstm.yaml", "", of_bytes(mutate.raw), load),
    "manifest": (lambda: MANIFEST, "m.yaml", of_bytes(mutate.raw), read_manifest),
    "config": (lambda: CONFIG, "pipeline.config", of_bytes(mutate.raw), config),
}


class HangError(BaseException):
    """A case took longer than it may."""


def _late(*_: object) -> None:
    raise HangError


def run(reader: str, first: int, count: int) -> dict[str, object]:
    """Outcomes of the cases by class, those that failed, the slowest, the growth of memory in MiB."""
    seed, name, change, read = READERS[reader]
    given = seed()
    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (name or given.name)
        if isinstance(given, Path):
            for beside in given.parent.iterdir():
                if beside.is_file():
                    shutil.copy(beside, folder)
        original = given.read_bytes() if isinstance(given, Path) else given
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for case in range(first, first + count):
            print(case, file=sys.stderr, flush=True)
            path.write_bytes(original)
            path.write_bytes(change(path, random.Random(f"{reader} {case}")))
            start = time.monotonic()
            signal.alarm(SECONDS)
            try:
                read(path)
                outcome = "read"
            except CkptMigrateError as error:
                outcome = type(error).__name__
                if not 2 <= error.exit_code <= 7:
                    failures.append(f"{case}: exit code {error.exit_code}")
            except (Exception, HangError) as error:  # noqa: BLE001 - that is what is looked for
                outcome = f"uncaught {type(error).__name__}"
                failures.append(f"{case}: {outcome}: {error}"[:300])
            finally:
                signal.alarm(0)
            outcomes[outcome] += 1
            slowest = max(slowest, time.monotonic() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    return {"outcomes": outcomes, "failures": failures, "slowest": slowest, "grown": grown}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
