"""Names inside Keras v3 files: groups, counters, members of the archive, files of a sharded output.

https://github.com/keras-team/keras/blob/v3.15.0/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FORMAT_ID = "keras-v3"

WEIGHTS_SUFFIX = ".weights.h5"
ARCHIVE_SUFFIX = ".keras"
SHARDED_SUFFIX = ".weights.json"

# Members of a .keras archive
WEIGHTS_MEMBER = "model.weights.h5"
CONFIG_MEMBER = "config.json"
METADATA_MEMBER = "metadata.json"

# Names of blobs: what a legacy .h5 file calls the same configuration, and the member it is here
MODEL_CONFIG = "model_config"

VARS = "vars"
NAME = "name"  # attribute of `vars`, from Keras 3.6.0 on: the layer's own name
LAYERS = "layers"
OLD_LAYERS = "_layer_checkpoint_dependencies"  # the same container as TF 2.12 to 2.14 called it
OPTIMIZER = "optimizer"
METRICS = frozenset({"metrics", "compile_metrics"})
# Attributes that only we write, which Keras passes over: where a file is from, by which Keras' conventions it is, what
# the variables of a group are called (`variable:slot` in an optimizer's list), and the optimizer's kind.
PROVENANCE = "ckptmigrate.provenance"
VERSION = "keras_version"
NAMES = "ckptmigrate.names"
KIND = "ckptmigrate.kind"

_COUNTED = re.compile(r"(?P<base>.+?)(?:_(?P<count>0|[1-9][0-9]*))?", re.ASCII | re.DOTALL)
_SHARD = "{stem}_{number:05}" + WEIGHTS_SUFFIX


def snake_case(class_name: str) -> str:
    """A class as groups are called after it (keras/src/utils/naming.py, `to_snake_case`).

    >>> snake_case("Conv2DTranspose"), snake_case("PReLU"), snake_case("ConvLSTM2D")
    ('conv2d_transpose', 'p_re_lu', 'conv_lstm2d')
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def counted(group: str) -> tuple[str, int]:
    """A group's name without its counter, and the counter; 0 where there is none.

    >>> counted("dense_12"), counted("conv2d"), counted("dense_")
    (('dense', 12), ('conv2d', 0), ('dense_', 0))
    """
    parts = _COUNTED.fullmatch(group)
    if parts is None or not parts["count"] or len(parts["count"]) > 9:
        return group, 0
    return parts["base"], int(parts["count"])


def of_class(groups: Iterable[str], class_name: str) -> list[str]:
    """The groups of one container that hold elements of a class, in their order.

    TF 2.12 and 2.13 count in steps of two; elements that stand elsewhere, too, leave gaps.

    >>> of_class(["dense_4", "dense", "dropout", "dense_2"], "Dense")
    ['dense', 'dense_2', 'dense_4']
    """
    base = snake_case(class_name)
    numbered = {(0 if g == base else counted(g)[1]): g for g in groups if g == base or _follows(g, base)}
    return [numbered[number] for number in sorted(numbered)]


def _follows(group: str, base: str) -> bool:
    found, count = counted(group)
    return found == base and count > 0


def next_name(class_name: str, used: dict[str, int]) -> str:
    """The name of the next element of a class in a container; `used` counts them (`_get_unique_name`)."""
    base = snake_case(class_name)
    used[base] = used.get(base, -1) + 1
    return f"{base}_{used[base]}" if used[base] else base


def shard_name(name: str, number: int) -> str:
    """The file of one shard, numbered from 0.

    >>> shard_name("m.weights.json", 3)
    'm_00003.weights.h5'
    """
    return _SHARD.format(stem=name.removesuffix(SHARDED_SUFFIX), number=number)


def natural(key: str) -> tuple[int, int, str]:
    """For sorting what stands in `vars`: numbers by their value, then other names."""
    is_number = key.isascii() and key.isdigit() and len(key) < 10
    return (0, int(key), key) if is_number else (1, 0, key)
