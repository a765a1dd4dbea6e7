"""SavedModels judged by TensorFlow: loaded as TensorFlow loads them, every variable in the loaded model compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ckptmigrate.dtypes import VARIANT
from ckptmigrate.formats.object_paths import locals_of
from ckptmigrate.framework.compare import Array, Finding, differing_keys, differing_values, stored_tensors
from ckptmigrate.framework.tf1 import restore_by_op
from ckptmigrate.issues import Issue
from ckptmigrate.objects import ATTRIBUTES, GRAPH_KEY, OBJECT_CONFIG
from ckptmigrate.table import Checkpoint, Tensor


def check(checkpoint: Checkpoint) -> Finding:
    """Loads the SavedModel, compares the variables that the model then has, and every key of the bundle, bit by bit."""
    import tensorflow as tf

    tensors = stored_tensors(checkpoint)
    held, issues = _loaded(tf, checkpoint)
    issues += differing_values({key: tensors[key] for key in held if key in tensors}, held.__getitem__)
    issues += _bundle(tf, checkpoint, tensors)
    details = {"checked_by": f"tensorflow {tf.__version__} SavedModel loader", "restored": len(held)}
    return Finding(tuple(issues), details)


def _loaded(tf: Any, checkpoint: Checkpoint) -> tuple[dict[str, Array], list[Issue]]:
    """Stored key -> value of the variable in the loaded model."""
    tags = checkpoint.metadata["meta_graphs"][0]["tags"]
    if checkpoint.structure.objects is None:
        return _of_session(tf, str(checkpoint.path), tags), []
    root = tf.saved_model.load(str(checkpoint.path), tags)
    held, issues = {}, []
    for variable in checkpoint.variables.values():
        found = None if ATTRIBUTES in variable.name else _at(root, variable.name)
        if isinstance(found, tf.Variable):
            held[variable.key] = np.asarray(found.numpy())
        elif found is None and ATTRIBUTES not in variable.name:
            issues.append(Issue("framework", "error", variable.name, "the loaded model has no such object"))
    return held, issues


def _at(root: Any, name: str) -> Any:
    """The object at the end of an object path; None where the path leads nowhere."""
    for local in locals_of(name):
        if isinstance(root, (list, tuple)) and local.isdecimal() and int(local) < len(root):
            root = root[int(local)]
        elif isinstance(root, dict):
            root = root.get(local)
        else:
            root = getattr(root, local, None)
    return root


def _of_session(tf: Any, path: str, tags: list[str]) -> dict[str, Array]:
    """What the variables of a graph hold once TF1's loader has restored them; parts of variables are left out."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.saved_model.load(session, tags, path)
        whole = [v for v in v1.global_variables() if v._get_save_slice_info() is None]
        return {v.op.name: np.asarray(session.run(v)) for v in whole}


def _bundle(tf: Any, checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> Iterator[Issue]:
    prefix = str(checkpoint.path / "variables" / "variables")
    seen = set(tf.train.load_checkpoint(prefix).get_variable_to_shape_map()) - {GRAPH_KEY}
    yield from (i for i in differing_keys(tensors, seen, "TensorFlow") if not i.name.endswith(OBJECT_CONFIG))
    readable = {key: t for key, t in tensors.items() if key in seen and t.dtype is not VARIANT}
    yield from differing_values(readable, lambda key: np.asarray(restore_by_op(tf, prefix, key, readable[key])))
