"""Flavors: what variables are called in a target without a template, so that Keras finds them there.

Object-based targets take the object paths of tf_keras or Keras 3, Keras' files the names of layers. With a template,
names are the template's; with a mapping, those that its rules give.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ckptmigrate.chosen import Chosen
from ckptmigrate.formats.keras_objects import names_in, paths_in
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


def seen_from(target: str, flavor: str) -> Callable[[Checkpoint], Checkpoint]:
    """How a template looks to a target: one of Keras' files, whose configuration tells the model's objects, by these.

    The result's own issues say what the file doesn't tell.
    """

    def see(template: Checkpoint) -> Checkpoint:
        if template.origin not in _KERAS_FILES:
            return template
        template = _aliased(template, "full_name", {name: (told,) for name, told in names_in(template).items()})
        if flavor == "paths":
            return template
        is_by_objects = target in OBJECT_BASED
        try:
            paths = paths_in(template, flavor or _flavor_of(template) or "tf_keras", guesses=not is_by_objects)
        except LookupError as error:
            if not is_by_objects:
                return template
            hint = "give --template CKPT, a tf.train.Checkpoint of the target model, or write --flavor paths"
            message = f"the template doesn't tell the model's objects: {error.args[0]}"
            return replace(template, issues=(*template.issues, Issue("flavor", "error", "", message, hint)))
        if is_by_objects:
            return _by_paths(template, paths)
        return _aliased(template, "object_path", {name: _spellings(path) for name, path in paths.items()})

    return see


def _by_paths(template: Checkpoint, paths: Mapping[str, str]) -> Checkpoint:
    """A template whose variables are called by the paths of their objects; what they were called is an alias."""
    template = _aliased(template, "layer_path", {n: (layer_name(v),) for n, v in template.variables.items()})
    template = _aliased(template, "full_name", {n: (layer_name(v),) for n, v in template.variables.items()})
    template = _aliased(template, "object_path", {n: _spellings(path) for n, path in paths.items()})
    renamed = {paths.get(n, n): replace(v, name=paths.get(n, n)) for n, v in template.variables.items()}
    layout = tuple(
        replace(layer, attributes=tuple((path, paths.get(name, name)) for path, name in layer.attributes))
        for layer in template.structure.layout or ()
    )
    return replace(template, variables=renamed, optimizers=(), structure=replace(template.structure, layout=layout))


def _aliased(template: Checkpoint, system: str, names: Mapping[str, tuple[str, ...]]) -> Checkpoint:
    """A template whose variables go by names of another system, too, those that have none there yet."""
    variables = {
        name: replace(variable, aliases={system: names[name], **variable.aliases}) if name in names else variable
        for name, variable in template.variables.items()
    }
    return replace(template, variables=variables)


def _spellings(path: str) -> tuple[str, ...]:
    """An object's path, and that of Keras 3's SavedModels, which reach a Sequential's layers by another edge."""
    return tuple(dict.fromkeys((path, path.replace("_functional/_operations/", "_layers/"))))


def _as_given(chosen: Chosen, target: str, flavor: str) -> Chosen:
    template = chosen.template
    if template is not None and template.origin in _KERAS_FILES:
        return _with(chosen, *(issue for issue in template.issues if issue.kind == "flavor"))
    if target not in OBJECT_BASED or not flavor or (flavor == "paths" and template is None):
        return chosen
    if template is not None:
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
    if source.origin == "tf2" and (not flavor or _has_objects_of(source, flavor)):
        return chosen
    if not wanted:
        return _with(chosen, *_layers_kept(source, "the model's configuration isn't in the source"))
    try:
        paths = paths_in(source, wanted)
    except LookupError as error:
        if not flavor:
            return _with(chosen, *_layers_kept(source, error.args[0]))
        hint = "give --template CKPT, a checkpoint of the target model, or write --flavor paths"
        return _with(chosen, Issue("flavor", "error", "", f"--flavor {flavor}: {error.args[0]}", hint))
    message = f"object paths are those of {wanted}, the model being the root"
    hint = "--flavor paths keeps the names of layers"
    names = {name: (path, layer_name(source.variables[name])) for name, path in paths.items()}
    found = _with(_renamed(chosen, names, "full_name"), Issue("flavor", "note", "", message, hint))
    return found if _MODEL_CONFIG in source.structure.blobs else _with(found, _UNTOLD)


def _layers_kept(source: Checkpoint, why: str) -> Iterator[Issue]:
    """What is to be said of a Keras file whose variables keep the names of layers among objects."""
    if source.origin in _KERAS_FILES:
        message = f"objects are called as the layers are, which no Keras model looks for: {why}"
        hint = "give --template CKPT, a .keras file or tf.train.Checkpoint of the target model"
        yield Issue("flavor", "warning", "", message, hint)


def _flavor_of(source: Checkpoint) -> str:
    """Which Keras wrote the source; "" where that isn't told."""
    version = source.metadata.get("keras_version")
    if not isinstance(version, str) or not version:
        return ""
    return "keras3" if version.startswith("3") else "tf_keras"


def _has_objects_of(source: Checkpoint, flavor: str) -> bool:
    return any(_MARKS[flavor] in name for name in source.variables)


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
