"""What people do without ckptmigrate: the same work in a few lines of TensorFlow, safetensors or h5py.

`python benchmarks/others.py NAME PATH...`, a process of its own; nothing is imported that the work doesn't need.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any


def list_bundle(prefix: str) -> None:
    """Names and shapes, by tf.train.load_checkpoint."""
    import tensorflow as tf

    for name, shape in sorted(tf.train.load_checkpoint(prefix).get_variable_to_shape_map().items()):
        print(name, shape)


def list_safetensors(path: str) -> None:
    """Names and shapes, by safe_open."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            print(name, file.get_slice(name).get_shape())


def list_hdf5(path: str) -> None:
    """Names and shapes, by visititems."""
    import h5py

    with h5py.File(path) as file:
        file.visititems(lambda name, item: print(name, item.shape) if isinstance(item, h5py.Dataset) else None)


def rename_by_saver(source: str, target: str) -> None:
    """Restores into a graph's variables and saves them under new names, by tf.compat.v1.train.Saver."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        reader = tf.train.load_checkpoint(source)
        types = reader.get_variable_to_dtype_map()
        variables = {
            name: v1.get_variable(_renamed(name), shape, types[name])
            for name, shape in reader.get_variable_to_shape_map().items()
        }
        v1.train.Saver(variables).restore(session, source)
        v1.train.Saver().save(session, target, write_meta_graph=False)


def rename_by_checkpoint(source: str, target: str) -> None:
    """Every tensor into a variable of an object tree, written by tf.train.Checkpoint."""
    import tensorflow as tf

    root = tf.train.Checkpoint()
    for name, value in _bundle(source):
        *parents, leaf = _renamed(name).split("/")
        node: Any = root
        for parent in parents:
            if not hasattr(node, parent):
                setattr(node, parent, tf.train.Checkpoint())
            node = getattr(node, parent)
        setattr(node, leaf, tf.Variable(value))
    root.write(target)


def bundle_to_safetensors(source: str, target: str) -> None:
    """Every tensor by tf.train.load_checkpoint, all written by save_file."""
    from safetensors.numpy import save_file

    save_file(dict(_bundle(source)), target)


def transpose_to_safetensors(source: str, target: str) -> None:
    """The same with every tensor's first and last axis exchanged."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value.swapaxes(0, -1)) for name, value in _bundle(source)}, target)


def compare_safetensors(source: str, target: str) -> None:
    """Every tensor by tf.train.load_checkpoint against the same by safe_open."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(target, "numpy") as file:
        for name, value in _bundle(source):
            if not np.array_equal(value, file.get_tensor(name)):
                raise SystemExit(f"{name} differs")


def copy_hdf5(source: str, target: str) -> None:
    """Every dataset read and written by h5py."""
    import h5py

    with h5py.File(source) as file, h5py.File(target, "w") as out:
        file.visititems(lambda name, item: out.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)


def hdf5_to_safetensors(source: str, target: str) -> None:
    """Every dataset by h5py, all written by save_file."""
    import h5py
    from safetensors.numpy import save_file

    found = {}
    with h5py.File(source) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    save_file(found, target)


def _bundle(prefix: str) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    for name in reader.get_variable_to_shape_map():
        yield name, reader.get_tensor(name)


def _renamed(name: str) -> str:
    return re.sub(r"^block_(\d+)/unit_(\d+)/weights$", r"model/block_\1/unit_\2/kernel", name)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
