"""Measures transposes alone: numpy's copy, ours whole, and ours piece by piece, CPU milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ckptmigrate.tiles import contiguous, pieces

CASES = (
    ((4096, 4096), (1, 0)),
    ((8192, 8192), (1, 0)),
    ((5000, 5003), (1, 0)),
    ((30522, 768), (1, 0)),
    ((3, 3, 1024, 1024), (3, 2, 0, 1)),
    ((1024, 1024, 3, 3), (2, 3, 1, 0)),
    ((64, 1_000_000), (1, 0)),
    ((1_000_000, 64), (1, 0)),
    ((768, 12, 64), (1, 2, 0)),
    ((256, 256), (1, 0)),
)


Way = Callable[[np.ndarray], object]
WAYS: tuple[Way, ...] = (np.ascontiguousarray, contiguous, lambda array: [len(piece) for piece in pieces(array)])


def best(way: Way, array: np.ndarray, runs: int = 5) -> float:
    """The least CPU milliseconds of several runs."""
    taken = []
    for _ in range(runs):
        started = time.process_time()
        way(array)
        taken.append(1000 * (time.process_time() - started))
    return min(taken)


def main() -> None:
    """Prints the table."""
    print("| dtype | shape | axes | numpy | whole | pieces |\n|---|---|---|---:|---:|---:|")
    for dtype in ("float32", "float16"):
        for shape, axes in CASES:
            array = np.ones(shape, dtype).transpose(axes)
            times = " | ".join(f"{best(way, array):.2f}" for way in WAYS)
            print(f"| {dtype} | {list(shape)} | {list(axes)} | {times} |", flush=True)


if __name__ == "__main__":
    main()
