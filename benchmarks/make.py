"""Makes the checkpoints that are measured; a process of its own, so that the measuring one stays small."""

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


def make_keras_large(path: Path, mib: int) -> None:
    """A model of `mib` MiB in Dense layers of 16 MiB: `.h5` by tf_keras, `.weights.h5` by Keras 3."""
    import keras
    import tf_keras

    is_weights = path.name.endswith(".weights.h5")
    layers = (keras if is_weights else tf_keras).layers
    model = (keras if is_weights else tf_keras).Sequential([layers.Input((2048,))])
    for number in range(mib // 16):
        model.add(layers.Dense(2048, name=f"layer_{number}"))
    (model.save_weights if is_weights else model.save)(path)


def make_keras_many(path: Path, count: int) -> None:
    """A `.weights.h5` of `count` small variables, as Keras 3 lays them out; building such a model takes minutes."""
    import h5py

    with h5py.File(path, "x") as file:
        for number in range(count // 2):
            layer = file.create_group("layers/dense" + f"_{number}" * bool(number))
            layer.attrs["name"] = f"layer_{number}"
            layer["vars/0"], layer["vars/1"] = np.full((3, 4), number, np.float32), np.zeros(4, np.float32)


if __name__ == "__main__":
    make = {
        "large": make_large,
        "many": make_many,
        "keras-large": make_keras_large,
        "keras-many": make_keras_many,
    }[sys.argv[1]]
    make(Path(sys.argv[2]), *map(int, sys.argv[3:]))
