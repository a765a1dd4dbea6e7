"""Makes the checkpoints that are measured; a process of its own, so that the measuring one stays small."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ckptmigrate.wire.bundle_writer import BundleWriter

FLOAT32 = 1
SIDE = 2048  # of the square kernels in checkpoints of a given size: 16 MiB each, a power of two


def bundle_of_size(prefix: Path, mib: int) -> None:
    """A TF1 checkpoint of `mib` MiB in square tensors."""
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    _bundle(prefix, mib // 16, lambda number: values + np.float32(number))


def bundle_of_count(prefix: Path, count: int) -> None:
    """A TF1 checkpoint of `count` small variables."""
    _bundle(prefix, count, lambda number: np.full((3, 3, 4), number, np.float32))


def _bundle(prefix: Path, count: int, values: object) -> None:
    with BundleWriter(prefix.parent, prefix.name) as writer:
        for number in range(count):
            writer.add_array(f"block_{number // 8}/unit_{number % 8}/weights", FLOAT32, values(number))
        writer.finish()


def hdf5_of_size(path: Path, mib: int) -> None:
    """A whole-model .h5 by tf_keras, of `mib` MiB in Dense layers."""
    import tf_keras

    layers = [tf_keras.layers.Input((SIDE,))]
    layers += [tf_keras.layers.Dense(SIDE, kernel_initializer="ones", name=f"layer_{n}") for n in range(mib // 16)]
    tf_keras.Sequential(layers).save(path)


def hdf5_of_count(path: Path, count: int) -> None:
    """A .weights.h5 of `count` small variables, as Keras 3 lays them out; building such a model takes minutes."""
    import h5py

    with h5py.File(path, "x") as file:
        for number in range(count // 2):
            layer = file.create_group("layers/dense" + f"_{number}" * bool(number))
            layer.attrs["name"] = f"layer_{number}"
            layer["vars/0"], layer["vars/1"] = np.full((3, 4), number, np.float32), np.zeros(4, np.float32)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
