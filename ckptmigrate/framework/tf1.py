"""Name-based bundles judged by TensorFlow: a Saver restores every key into variables made from the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ckptmigrate.dtypes import STRING, VARIANT
from ckptmigrate.framework.compare import Array, Finding, differing_keys, differing_values, stored_tensors
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor

BATCH_BYTES = 1 << 28  # of tensors restored at once; a checkpoint need not fit into memory

# Types that TensorFlow's files hold but its variables don't (no kernels); the restore op itself reads them.
SMALLEST = "float8_e4m3fnuz float8_e4m3b11fnuz float8_e5m2fnuz int2 uint2 float4_e2m1fn"
QUANTISED = "qint8 quint8 qint16 quint16 qint32"
WITHOUT_KERNELS = frozenset((SMALLEST + " " + QUANTISED).split())


def check(checkpoint: Checkpoint) -> Finding:
    """Restores all keys through `tf.compat.v1.train.Saver` and compares bits."""
    import tensorflow as tf

    prefix = str(checkpoint.path)
    tensors = stored_tensors(checkpoint)
    seen = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    issues: list[Issue] = [*differing_keys(tensors, seen, "TensorFlow")]
    both = {key: t for key, t in tensors.items() if key in seen and t.dtype is not VARIANT}  # no op reads any variant
    for batch in _batches(both):
        restored = _restore(tf, prefix, batch)
        issues += differing_values(batch, restored.__getitem__)
    return Finding(tuple(issues), {"checked_by": f"tensorflow {tf.__version__} Saver", "restored": len(both)})


def _batches(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    batch: dict[str, Tensor] = {}
    size = 0
    for key, tensor in tensors.items():
        if batch and size + tensor.nbytes > BATCH_BYTES:
            yield batch
            batch, size = {}, 0
        batch[key] = tensor
        size += tensor.nbytes
    if batch:
        yield batch


def _restore(tf: Any, prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    by_op = {key for key, tensor in tensors.items() if tensor.dtype.name in WITHOUT_KERNELS}
    values = {key: restore_by_op(tf, prefix, key, tensors[key]) for key in by_op}
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {
            key: v1.Variable(zeros(tf, tensor), name=f"v{i}", use_resource=True, trainable=False)
            for i, (key, tensor) in enumerate(tensors.items())
            if key not in by_op
        }
        if variables:
            v1.train.Saver(variables).restore(session, prefix)
            values |= session.run({key: v.read_value() for key, v in variables.items()})
    return values


def restore_by_op(tf: Any, prefix: str, key: str, tensor: Tensor) -> Array:
    """One tensor read by the restore op, without a variable."""
    dtype = tf.as_dtype(tensor.dtype.tf)
    value: Array = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=[key], shape_and_slices=[""], dtypes=[dtype])[
        0
    ].numpy()
    return value


def zeros(tf: Any, tensor: Tensor) -> Any:
    """A value of the right type and shape, to be overwritten."""
    if tensor.dtype is STRING:
        return tf.fill(tensor.shape, "")
    if tensor.dtype.storage.startswith("ml_dtypes.") and tensor.dtype.name != "bfloat16":
        return tf.constant(np.zeros(tensor.shape, tensor.dtype.numpy))
    return tf.zeros(tensor.shape, tf.as_dtype(tensor.dtype.tf))
