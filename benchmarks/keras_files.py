"""Times the Keras formats as whole processes against cp and h5py, and prints a table."""

from __future__ import annotations

import sys
from pathlib import Path

from harness import CKPTMIGRATE, CONVERT, against, copy_and_sync, made, main, medians, row, timed, within

H5PY_LIST = """
import sys, h5py
def look(name, item):
    if isinstance(item, h5py.Dataset):
        print(name, item.shape, item.dtype)
h5py.File(sys.argv[1]).visititems(look)
"""
WAYS = (
    ("large.h5", "keras-v3", "out.weights.h5"),
    ("large.h5", "tf2", "ckpt-0"),
    ("large.h5", "keras-h5", "out.h5"),
    ("large.weights.h5", "keras-v3", "out.weights.h5"),
    ("large.weights.h5", "tf2", "ckpt-0"),
)


def measure_inspect(folder: Path, runs: int) -> None:
    """`inspect` of 1 GiB in a few variables, and of 10,000 small ones against h5py."""
    large = made("keras-large", folder / "large.h5", 1024)
    many = made("keras-many", folder / "many.weights.h5", 10_000)
    listed, ours, h5py = medians(
        runs,
        ([*CKPTMIGRATE, "inspect", str(large)], None),
        ([*CKPTMIGRATE, "inspect", str(many)], None),
        ([sys.executable, "-c", H5PY_LIST, str(many)], None),
    )
    within("inspect, .h5 of 1 GiB", 0.6, listed)
    against("inspect, .weights.h5 of 10,000 variables / h5py's visititems", 2.0, ours, h5py)


def measure_moves(folder: Path, runs: int) -> None:
    """1 GiB from each of Keras' HDF5 files into other formats."""
    made("keras-large", folder / "large.weights.h5", 1024)
    out, copied = folder / "out", folder / "copied"
    for name, to, target in WAYS:
        source = folder / name
        convert = [*CONVERT, str(source), f"{out}/{target}", "--to", to, "--verify", "none"]
        ours, cp = medians(runs, (convert, out), (copy_and_sync(str(source), copied), copied))
        against(f"{name.removeprefix('large')} -> {to}, 1 GiB, --verify none / cp + sync", 1.5, ours, cp)


def measure_memory(folder: Path, _runs: int) -> None:
    """Peak resident memory of verified copies, over `import numpy`."""
    bare, out, limit = timed([sys.executable, "-c", "import numpy"]).peak_kib, folder / "out", 2 * 2 * 16 + 64
    for name, to, target in WAYS[:2]:
        command = [*CONVERT, str(folder / name), f"{out}/{target}", "--to", to]
        peak = (timed(command, clear=out).peak_kib - bare) / 1024
        verdict = "ok" if peak <= limit else "MISSED"
        row(f"peak memory, .h5 -> {to}, 1 GiB, verified", f"{peak:.0f} MiB", "", "", f"<= {limit} MiB {verdict}")


if __name__ == "__main__":
    main(__doc__, (measure_inspect, measure_moves, measure_memory))
