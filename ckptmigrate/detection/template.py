"""The checkpoint that a TF2 detection model would save: names, shapes, objects, and no values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ckptmigrate.detection.tracked import Shape, Tracked, graph_of, plain, walk
from ckptmigrate.detection.tracked import Variable as Held
from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.errors import SourceError
from ckptmigrate.formats.object_paths import layer_path
from ckptmigrate.formats.roles import role_of
from ckptmigrate.objects import VALUE_SUFFIX
from ckptmigrate.table import Checkpoint, Structure, Tensor, Variable

MAX_ELEMENTS = 1 << 28  # of a variable; a head of 20,000 classes has a tenth of them
_COUNTERS = {"step": "global_step", "save_counter": "save_counter"}


def template_of(root: Mapping[str, Tracked], where: str) -> Checkpoint:
    """A template with these objects below its root, and the counters that the API's training saves beside them.

    Args:
        root: What is saved, by its name at the root: `model`.
        where: What reports call the template.
    """
    counters = {name: Tracked(variable=Held(full, ())) for name, full in _COUNTERS.items()}
    whole = Tracked({**root, "optimizer": plain(), **counters})
    variables = {path: _variable(path, item.variable) for item, path in walk(whole) if item.variable is not None}
    return Checkpoint(Path(where), "template", variables, structure=Structure(objects=graph_of(whole)))


def shapes_of(template: Checkpoint) -> dict[str, Shape]:
    """Key -> shape of every variable of a template."""
    return {v.key: v.tensor.shape for v in template.variables.values()}


def _variable(path: str, held: Held) -> Variable:
    if min(held.shape, default=1) < 1 or math.prod(held.shape) > MAX_ELEMENTS:
        raise SourceError(f"the configuration's model would have a variable {held.name} of shape {list(held.shape)}")
    dtype = INT64 if path in _COUNTERS else FLOAT32
    aliases = {"full_name": (held.name,)}
    if (named := layer_path(path, held.name)) != path:
        aliases["layer_path"] = (named,)
    role = role_of(path, dtype, held.shape)
    return Variable(path, Tensor(held.shape, dtype), path + VALUE_SUFFIX, role, aliases=aliases)
