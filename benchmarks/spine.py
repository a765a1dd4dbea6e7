"""Times ckptmigrate's main paths as whole processes against cp, TensorFlow and safetensors, and prints a table."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CONVERT = [sys.executable, "-m", "ckptmigrate", "convert"]
TF_LIST = "import sys, tensorflow as tf; tf.train.load_checkpoint(sys.argv[1]).get_variable_to_shape_map()"
TF_COPY = """
import sys, tensorflow as tf
from safetensors.numpy import save_file
reader = tf.train.load_checkpoint(sys.argv[1])
save_file({k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map()}, sys.argv[2])
"""
MAPPING = """ckptmigrate: 1
title: benchmark
rename:
  "layer_{i:int}/weights": model/layer_{i}/kernel
"""


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


def made(kind: str, prefix: Path, *sizes: int) -> Path:
    """A checkpoint to measure, made by `make.py`."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, Path(__file__).with_name("make.py"), kind, prefix, *map(str, sizes)], check=True)
    return prefix


def row(title: str, ours: str, other: str, ratio: str, bar: str) -> None:
    """Prints one line of the table."""
    print(f"| {title} | {ours} | {other} | {ratio} | {bar} |", flush=True)


def copy_and_sync(prefix: Path, out: Path) -> list[str]:
    """`cp` of a bundle's files and `sync` of the copies."""
    return ["sh", "-c", f"cp {prefix}.index {prefix}.data-* {out}/ && sync {out}/*"]


def against(title: str, bar: float, ours: Run, other: Run) -> None:
    """A row of one ratio against a bar."""
    ratio = ours.seconds / other.seconds
    verdict = "ok" if ratio <= bar else "MISSED"
    row(title, f"{ours.seconds:.3f} s", f"{other.seconds:.3f} s", f"{ratio:.2f}", f"<= {bar} {verdict}")


def measure_start(folder: Path, runs: int) -> None:
    """`--help` and `inspect` of a small checkpoint."""
    small = made("many", folder / "small" / "model.ckpt", 20)
    ckptmigrate = [sys.executable, "-m", "ckptmigrate"]
    helped, listed = medians(runs, ([*ckptmigrate, "--help"], None), ([*ckptmigrate, "inspect", str(small)], None))
    for title, run in (("--help", helped), ("inspect, 20 variables", listed)):
        verdict = "ok" if run.seconds < 0.5 else "MISSED"
        row(title, f"{run.seconds:.3f} s", "", "", f"< 0.5 s {verdict}")


def measure_inspect(folder: Path, runs: int) -> None:
    """`inspect` of 10,000 variables against TensorFlow."""
    many = made("many", folder / "many" / "model.ckpt", 10_000)
    ours, tf = medians(
        runs,
        ([sys.executable, "-m", "ckptmigrate", "inspect", str(many)], None),
        ([sys.executable, "-c", TF_LIST, str(many)], None),
    )
    against("inspect, 10,000 variables / TensorFlow", 0.1, ours, tf)


def measure_moves(folder: Path, runs: int) -> None:
    """Rename-only port and full copy of 1 GiB."""
    prefix = made("large", folder / "1g" / "model.ckpt", 1024)
    mapping = folder / "rename.yaml"
    mapping.write_text(MAPPING, encoding="utf-8")
    out, copied = folder / "out", folder / "copied"
    port = [*CONVERT, str(prefix), f"{out}/ckpt-0", "--to", "tf2", "--mapping", str(mapping), "--verify", "none"]
    ours, cp = medians(runs, (port, out), (copy_and_sync(prefix, copied), copied))
    against("rename-only tf1 -> tf2, 1 GiB, --verify none / cp + sync", 1.2, ours, cp)
    to_safetensors = [*CONVERT, str(prefix), f"{out}/model.safetensors", "--to", "safetensors"]
    plain, checked, cp, tf = medians(
        runs,
        ([*to_safetensors, "--verify", "none"], out),
        (to_safetensors, out),
        (copy_and_sync(prefix, copied), copied),
        ([sys.executable, "-c", TF_COPY, str(prefix), f"{copied}/model.safetensors"], copied),
    )
    against("tf1 -> safetensors, 1 GiB, --verify none / cp + sync", 1.3, plain, cp)
    against("tf1 -> safetensors, 1 GiB, verified / cp + sync", 2.0, checked, cp)
    against("tf1 -> safetensors, 1 GiB, verified / TensorFlow + safetensors", 1.0, checked, tf)


def measure_cloning(folder: Path, runs: int) -> None:
    """Rename-only ports where files can be cloned: 16 tensors of any size, against the same command on 16 MiB."""
    probe = folder / "probe"
    probe.write_bytes(b"x" * 4096)
    if subprocess.run(["cp", "--reflink=always", probe, f"{probe}2"], capture_output=True, check=False).returncode:
        row("rename-only on a cloning filesystem", "", "", "", "skipped: this filesystem doesn't clone")
        return
    mapping, out = folder / "rename.yaml", folder / "out"
    mapping.write_text(MAPPING, encoding="utf-8")
    options = ["--to", "tf2", "--mapping", str(mapping), "--verify", "none"]
    start: Run | None = None
    for mib in (16, 256, 4096):
        prefix = made("large", folder / f"clone{mib}" / "model.ckpt", mib, mib // 16)
        (ours,) = medians(runs, ([*CONVERT, str(prefix), f"{out}/ckpt-0", *options], out))
        start = start or ours
        over = ours.seconds - start.seconds
        verdict = "ok" if over <= 0.05 else "MISSED"
        row(f"rename-only, cloned, {mib} MiB", f"{ours.seconds:.3f} s", "", f"+{over:.3f} s", f"<= +0.05 s {verdict}")
        shutil.rmtree(prefix.parent)


def measure_memory(folder: Path) -> None:
    """Peak resident memory of a verified full copy and of a port with transposes."""
    bare = timed([sys.executable, "-c", "import numpy"]).peak_kib
    mapping = folder / "transpose.yaml"
    rule = "rules:\n  - {from: 'layer_{i:int}/weights', to: 'layer_{i}/kernel', do: [transpose: [1, 0]]}\n"
    mapping.write_text(MAPPING.split("rename:", maxsplit=1)[0] + rule, encoding="utf-8")
    limit = 2 * 2 * 16 + 64
    for mib in (512, 4096):
        prefix, out = made("large", folder / f"memory{mib}" / "model.ckpt", mib), folder / "out"
        target = [str(prefix), f"{out}/model.safetensors", "--to", "safetensors"]
        for title, extra in (("copied", []), ("transposed", ["--mapping", str(mapping)])):
            peak = (timed([*CONVERT, *target, *extra], clear=out).peak_kib - bare) / 1024
            verdict = "ok" if peak <= limit else "MISSED"
            row(f"peak memory, {mib} MiB {title}, verified", f"{peak:.0f} MiB", "", "", f"<= {limit} MiB {verdict}")
        shutil.rmtree(prefix.parent)


def main() -> None:
    """Runs everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder, prefix="ckptmigrate-bench-"))
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        print("| what | ckptmigrate | other | ratio | bar |\n|---|---|---|---|---|")
        measure_start(folder, arguments.runs)
        measure_inspect(folder, arguments.runs)
        measure_moves(folder, arguments.runs)
        measure_cloning(folder, arguments.runs)
        measure_memory(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
