"""Makes the checkpoints that `spine.py` measures; a process of its own, so that the measuring one stays small."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ckptmigrate.wire.bundle_writer import BundleWriter

FLOAT32 = 1


def make_large(prefix: Path, mib: int, tensor_mib: int = 16) -> None:
    """A TF1 checkpoint of `mib` MiB in tensors of `tensor_mib` MiB."""
    values = np.random.default_rng(0).standard_normal((tensor_mib * 256, 1024), np.float32)
    with BundleWriter(prefix.parent, prefix.name) as writer:
        for number in range(mib // tensor_mib):
            writer.add_array(f"layer_{number}/weights", FLOAT32, values + np.float32(number))
        writer.finish()


def make_many(prefix: Path, count: int) -> None:
    """A TF1 checkpoint of `count` small variables in ResNet-like names."""
    with BundleWriter(prefix.parent, prefix.name) as writer:
        for number in range(count):
            name = f"tower/block_{number // 8}/unit_{number % 8}/conv/weights"
            writer.add_array(name, FLOAT32, np.full((3, 3, 4), number, np.float32))
        writer.finish()


if __name__ == "__main__":
    make = {"large": make_large, "many": make_many}[sys.argv[1]]
    make(Path(sys.argv[2]), *map(int, sys.argv[3:]))
