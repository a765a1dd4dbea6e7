"""Measures ckptmigrate against TensorFlow, safetensors, h5py and cp on the same files, and writes docs/performance.md.

`python benchmarks/run.py` measures everything. --sizes and --counts measure parts, which replace those points in the
results; --render only draws table and plot of the results anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases import CKPTMIGRATE, COPY, RENAME, TRANSPOSE, Files, cases
from machine import machine
from measure import Run, bare_peak, medians, timed
from render import render

RESULTS = Path(__file__).with_name("results.json")
LIMIT = 40  # seconds, after which a command is stopped, said to take longer, and not tried with more


def main() -> None:
    """Parses the command line, measures, and renders."""
    arguments = _arguments()
    results = json.loads(arguments.json.read_text("utf-8")) if arguments.json.exists() else {}
    if not arguments.render:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed command has its modules compiled
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        with tempfile.TemporaryDirectory(dir=arguments.workdir, prefix="benchmark-") as folder:
            _measure(Path(folder), arguments, results)
    for line in render(results, arguments.docs):
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=_numbers(float), default=[0.25, 1.0, 4.0], help="GiB, comma-separated; '' for none"
    )
    parser.add_argument("--counts", type=_numbers(int), default=[100, 10_000, 100_000], help="numbers of variables")
    parser.add_argument("--runs", type=int, default=3, help="of each command; those that take seconds run fewer times")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where results are kept")
    parser.add_argument("--docs", type=Path, default=RESULTS.parents[1] / "docs", help="where table and plot go")
    parser.add_argument("--workdir", type=Path, help="on the disk to measure; six times the largest size goes there")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    arguments.workdir = arguments.workdir or arguments.json.absolute().parent
    return arguments


def _numbers(kind: type) -> Any:
    return lambda text: [kind(word) for word in text.split(",") if word]


def _measure(folder: Path, arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measures every point; results are written after each, so that a stopped run leaves what it has."""
    started = time.monotonic()
    results |= {"machine": machine(folder), "import_numpy_mib": round(bare_peak(), 1)}
    _warm_up(folder, results)
    points = [(f"{size:g} GiB", "size", round(size * 1024)) for size in sorted(arguments.sizes)]
    points += [(f"{count:,}", "count", count) for count in sorted(arguments.counts)]
    stopped: dict[tuple[str, str, str], Run] = {}
    for point, kind, number in points:
        files = _made(folder, kind, number)
        for case in cases(files):
            _say(started, f"{point}: {case.operation}")
            known = {t: stopped[kind, case.operation, t] for t in case.commands if (kind, case.operation, t) in stopped}
            tried = {tool: command for tool, command in case.commands.items() if tool not in known}
            if COPY in tried:  # memory that a virtual machine gave back costs whoever takes it first
                timed(tried[COPY], LIMIT, files.out)
            found = known | medians(tried, arguments.runs, LIMIT, files.out)
            stopped |= {(kind, case.operation, tool): run for tool, run in found.items() if run.runs < 1}
            at = results.setdefault("points", {}).setdefault(point, {})
            at[case.operation] = {t: [round(value, 3) for value in found[t]] for t in case.commands}
        shutil.rmtree(files.bundle.parent)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    _say(started, "done")


def _warm_up(folder: Path, results: dict[str, Any]) -> None:
    """Compiles modules and brings libraries into memory; start-up is measured on the way."""
    for _ in range(2):
        start = timed([*CKPTMIGRATE, "--help"])
    results["help_seconds"] = round(start.seconds, 3)
    timed([sys.executable, "-c", "import tensorflow, h5py, safetensors.numpy"])


def _made(folder: Path, kind: str, number: int) -> Files:
    """The checkpoints of one point, and an output of ours to inspect and to verify."""
    here = folder / "point"
    here.mkdir()
    hdf5 = here / ("model.h5" if kind == "size" else "model.weights.h5")
    names = ("rename.yaml", "transpose.yaml", "verified.safetensors", "out")
    files = Files(here / "model.ckpt", hdf5, *(here / name for name in names))
    files.rename.write_text(RENAME, "utf-8")
    files.transpose.write_text(TRANSPOSE.replace("AXES", "[1, 0]" if kind == "size" else "[2, 1, 0]"), "utf-8")
    maker = [sys.executable, Path(__file__).with_name("make.py")]
    subprocess.run([*maker, f"bundle_of_{kind}", files.bundle, str(number)], check=True)
    subprocess.run([*maker, f"hdf5_of_{kind}", files.hdf5, str(number)], check=True, stderr=subprocess.DEVNULL)
    timed([*CKPTMIGRATE, "convert", files.bundle, files.verified, "--to", "safetensors"])
    return files


def _say(started: float, what: str) -> None:
    print(f"{time.monotonic() - started:6.1f} s  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
