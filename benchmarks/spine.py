"""Times ckptmigrate's main paths as whole processes against cp, TensorFlow and safetensors, and prints a table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from harness import CKPTMIGRATE, CONVERT, Run, against, copy_and_sync, made, main, medians, row, timed, within

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


def measure_start(folder: Path, runs: int) -> None:
    """`--help` and `inspect` of a small checkpoint."""
    small = made("many", folder / "small" / "model.ckpt", 20)
    helped, listed = medians(runs, ([*CKPTMIGRATE, "--help"], None), ([*CKPTMIGRATE, "inspect", str(small)], None))
    within("--help", 0.5, helped)
    within("inspect, 20 variables", 0.5, listed)


def measure_inspect(folder: Path, runs: int) -> None:
    """`inspect` of 10,000 variables against TensorFlow."""
    many = made("many", folder / "many" / "model.ckpt", 10_000)
    ours, tf = medians(
        runs,
        ([*CKPTMIGRATE, "inspect", str(many)], None),
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
    ours, cp = medians(runs, (port, out), (copy_and_sync(f"{prefix}.index {prefix}.data-*", copied), copied))
    against("rename-only tf1 -> tf2, 1 GiB, --verify none / cp + sync", 1.2, ours, cp)
    to_safetensors = [*CONVERT, str(prefix), f"{out}/model.safetensors", "--to", "safetensors"]
    plain, checked, cp, tf = medians(
        runs,
        ([*to_safetensors, "--verify", "none"], out),
        (to_safetensors, out),
        (copy_and_sync(f"{prefix}.index {prefix}.data-*", copied), copied),
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


def measure_memory(folder: Path, _runs: int) -> None:
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


if __name__ == "__main__":
    main(__doc__, (measure_start, measure_inspect, measure_moves, measure_cloning, measure_memory))
