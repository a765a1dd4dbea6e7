"""Flavors: what variables are called in a target without a template, so that Keras finds them there.

Object-based targets take the object paths of tf_keras or Keras 3, Keras' files the names of layers. With a template,
names are the template's; with a mapping, those that its rules give.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ckptmigrate.chosen import Chosen
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.formats.keras_config import Configured, read_config
from ckptmigrate.formats.keras_objects import flat_model, object_paths
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.options import OBJECT_BASED
from ckptmigrate.mapping.pairing import layer_name, one_spelling
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, Variable

_KERAS_FILES = frozenset({"keras-h5", "keras-v3"})
_MODEL_CONFIG = "model_config"
_MARKS = {"tf_keras": "layer_with_weights-", "keras3": "_operations/"}
_NUMBER = re.compile(r"(?:layer_with_weights-|_operations/)(\d+)(?=/)", re.ASCII)
_SHOWN = 20  # names in a message
_UNTOLD = Issue(
    "flavor",
    "warning",
    "",
    "the source doesn't tell classes of layers: weights that a TimeDistributed wraps are taken for its own",
    "give --template CKPT, a checkpoint of the target model, where there is one",
)


def named_for(source: Checkpoint, chosen: Chosen, target: str, flavor: str) -> Chosen:
    """The choice with targets called as a format's files call them.

    Args:
        source: The checkpoint to move.
        chosen: Names without regard to the target.
        target: The target format's id.
        flavor: tf_keras | keras3 | paths, or "" for the source's.
    """
    if chosen.template is not None or chosen.mapping:
        return _as_given(chosen, target, flavor)
    if target in _KERAS_FILES and source.origin == "tf2":
        return _by_layers(source, chosen, target)
    if target not in OBJECT_BASED or flavor == "paths":
        return chosen
    return _by_objects(source, chosen, flavor)


def _as_given(chosen: Chosen, target: str, flavor: str) -> Chosen:
    if target not in OBJECT_BASED or not flavor or (flavor == "paths" and chosen.template is None):
        return chosen
    if chosen.template is not None:
        message = f"--flavor {flavor} has no effect on names: they are the template's"
        return _with(chosen, Issue("flavor", "warning", "", message))
    message = f"--flavor {flavor}: the mapping's names don't tell the order of layers"
    hint = "give --template CKPT, a checkpoint of the target model"
    return _with(chosen, Issue("flavor", "error", "", message, hint))


def _with(chosen: Chosen, *issues: Issue) -> Chosen:
    return replace(chosen, issues=(*chosen.issues, *issues))


# Objects, as tf.train.Checkpoint and Keras find them


def _by_objects(source: Checkpoint, chosen: Chosen, flavor: str) -> Chosen:
    wanted = flavor or (_flavor_of(source) if _MODEL_CONFIG in source.structure.blobs else "")
    if not wanted or (source.origin == "tf2" and (not flavor or _has_objects_of(source, flavor))):
        return chosen
    try:
        paths = _object_paths(source, wanted)
    except (LookupError, CkptMigrateError) as error:
        if not flavor:
            return chosen
        hint = "give --template CKPT, a checkpoint of the target model, or write --flavor paths"
        return _with(chosen, Issue("flavor", "error", "", f"--flavor {flavor}: {_message(error)}", hint))
    message = f"object paths are those of {wanted}, the model being the root"
    hint = "--flavor paths keeps the names of layers"
    names = {name: (path, layer_name(source.variables[name])) for name, path in paths.items()}
    found = _with(_renamed(chosen, names, "full_name"), Issue("flavor", "note", "", message, hint))
    return found if _MODEL_CONFIG in source.structure.blobs else _with(found, _UNTOLD)


def _message(error: Exception) -> str:
    return error.message if isinstance(error, CkptMigrateError) else str(error.args[0])


def _flavor_of(source: Checkpoint) -> str:
    """Which Keras wrote the source; "" where that isn't told."""
    version = source.metadata.get("keras_version")
    if not isinstance(version, str) or not version:
        return ""
    return "keras3" if version.startswith("3") else "tf_keras"


def _has_objects_of(source: Checkpoint, flavor: str) -> bool:
    return any(_MARKS[flavor] in name for name in source.variables)


def _object_paths(source: Checkpoint, flavor: str) -> dict[str, str]:
    """Variable -> object path.

    Raises:
        LookupError: The source doesn't tell the layers that it takes.
        DamagedError: Its configuration can't be read.
    """
    layout, config = source.structure.layout, source.structure.blobs.get(_MODEL_CONFIG)
    if layout is None:
        raise LookupError("the source doesn't tell the order of the model's layers")
    model: Configured | None
    if config is not None:
        model = read_config(config, str(source.path))
    elif flavor == "keras3":
        raise LookupError("without the model's configuration nothing tells which objects Keras 3 has")
    else:
        model = flat_model(layout)
    if model is None:
        raise LookupError("without the model's configuration nothing tells the order of layers in an inner model")
    paths = object_paths(model, layout, flavor)
    homeless = [name for name, v in source.variables.items() if v.role in LOSSY_ROLES and name not in paths]
    if homeless:
        raise LookupError(f"no layer holds {', '.join(homeless[:_SHOWN])}")
    return paths


# Names of layers, as Keras' own files have them


def _by_layers(source: Checkpoint, chosen: Chosen, target: str) -> Chosen:
    """Paths through layers by their names, without what leads to the model, in the order of the model's layers."""
    told = {name: _layers_of(v) for name, v in source.variables.items() if v.role in LOSSY_ROLES}
    root = _root(source, told)
    names = {name: (path := one_spelling(told[name].removeprefix(root)), path) for name in told}
    twins = [name for name, times in Counter(path for path, _ in names.values()).items() if times > 1]
    if twins:
        message = f"several variables would be called {', '.join(twins[:_SHOWN])} in a {target} file"
        hint = "give --template CKPT, a file of the target model, or a mapping that tells them apart"
        return _with(chosen, Issue("conflict", "error", twins[0], message, hint))
    moves = chosen.assignment.moves
    if all(_NUMBER.search(name) for name in told):
        moves = tuple(sorted(moves, key=lambda move: [int(n) for n in _NUMBER.findall(move.sources[0])]))
    chosen = replace(chosen, assignment=replace(chosen.assignment, moves=moves))
    message = "variables are called by their layers' names, as the object graph tells them"
    return _with(_renamed(chosen, names, "layer_path"), Issue("names", "note", "", message))


def _layers_of(variable: Variable) -> str:
    """The path through layers; that of an export's list is the variable's own name."""
    path = layer_name(variable)
    is_listed = path.rpartition("/")[2].isdecimal()
    return next(iter(variable.aliases.get("full_name", ())), path) if is_listed else path


def _root(source: Checkpoint, told: Mapping[str, str]) -> str:
    """What leads to the model: the same objects before the first numbered layer of every variable."""
    found = {name[: number.start()] for name in told if (number := _NUMBER.search(name))}
    root = next(iter(found)).removesuffix("_functional/") if len(found) == 1 else ""
    return root if all(path.startswith(root) for path in told.values()) else ""


def _renamed(chosen: Chosen, names: Mapping[str, tuple[str, str]], system: str) -> Chosen:
    """The choice with new target names, each with its alias in a system of names."""
    moves = [
        _move(move, *names[move.sources[0]], system) if _is_kept(move, names) else move
        for move in chosen.assignment.moves
    ]
    return replace(chosen, assignment=replace(chosen.assignment, moves=tuple(moves)))


def _is_kept(move: Move, names: Mapping[str, tuple[str, str]]) -> bool:
    return move.sources == move.targets and move.sources[0] in names


def _move(move: Move, name: str, alias: str, system: str) -> Move:
    return replace(move, targets=(name,), renamed={name: {system: alias}})
