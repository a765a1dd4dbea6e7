"""Paths: what the programs that restore say to the path that was typed, and the one that they want.

Measured with TensorFlow 2.21, tf_keras 2.21 and Keras 3.15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptmigrate.doctor.case import Case
from ckptmigrate.issues import Issue

_NO_TABLE = "'not an sstable (bad magic number)'"
_FOLDER = "'Is a directory'"
_KERAS3 = "'File format not supported'"

# What a typed path ends with -> what is said to it.
_SAID = (
    (r"\.index", "tf.train.Checkpoint.restore takes it for an empty checkpoint: it restores nothing and says nothing"),
    (r"\.data-\d{5,}-of-\d{5,}", f"TensorFlow says {_NO_TABLE} to a data file"),
    (r"\.meta", f"TensorFlow says {_NO_TABLE} to a .meta file, which holds the graph"),
)


def examine_path(case: Case) -> Iterator[Issue]:
    """A path that ckptmigrate understands and the programs that restore don't."""
    given, wanted = str(case.given).rstrip("/"), str(case.checkpoint.path)
    if case.checkpoint.format in ("tf1", "tf2"):
        said = next((text for ending, text in _SAID if re.search(f"{ending}$", given)), "")
        if not said and given != wanted:
            said = (
                f"Saver.restore and Checkpoint.restore say {_FOLDER} to a folder; tf.train.latest_checkpoint takes one"
            )
        if said:
            yield Issue("path", "note", given, said, f"give them the prefix: {wanted}")
    elif case.checkpoint.format == "savedmodel":
        said = (
            f"Saver.restore says {_FOLDER} to a SavedModel, Keras 3's load_weights and load_model {_KERAS3}; "
            "Checkpoint.restore takes it where the model itself is the root"
        )
        yield Issue("path", "note", given, said, f"give Saver the prefix: {wanted}/variables/variables")


def said_between(mine: str, other: str) -> str:
    """What a program that saves `other` says when it is given a file of format `mine`; "" where it may work."""
    bundles, files = {"tf1", "tf2", "tf1-v1"}, {"keras-h5", "keras-v3", "safetensors", "npz", "frozen-graph"}
    if mine in files and other in bundles:
        return f"TensorFlow says {_NO_TABLE} to such a file"
    if mine in bundles | {"savedmodel"} and other == "keras-v3":
        return f"Keras 3 says {_KERAS3} to it"
    if mine in bundles and other == "keras-h5":
        return "Keras takes the path for a name to look for, and says 'No file or directory found' or " + _KERAS3
    if mine in ("safetensors", "npz", "frozen-graph") and other != mine:
        return "no TensorFlow or Keras program restores from such a file"
    return ""
