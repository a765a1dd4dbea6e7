"""Reading SavedModels: variables from their bundle; names, signatures and assets from the protobufs beside it."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptmigrate.errors import SourceError
from ckptmigrate.formats.bundles import facts_of, files_of, issues_of
from ckptmigrate.formats.named import read_named
from ckptmigrate.formats.object_based import ObjectBased, read_objects
from ckptmigrate.formats.roles import role_of
from ckptmigrate.formats.savedmodel.copies import fold_copies
from ckptmigrate.formats.savedmodel.layers import keras3_paths, layer_paths
from ckptmigrate.formats.savedmodel.layout import batch_norm_settings, configurations, layout_of
from ckptmigrate.formats.savedmodel.naming import ASSETS, HUB_MODULE, KERAS_METADATA, PROTO, PROTO_TEXT, prefix_of
from ckptmigrate.issues import Issue
from ckptmigrate.objects import GRAPH_KEY
from ckptmigrate.table import Checkpoint, Structure, Variable
from ckptmigrate.wire.bundle import Bundle, read_bundle
from ckptmigrate.wire.names import index_file
from ckptmigrate.wire.saved_model import SavedModel, SavedObject, SavedVariable, read_keras_metadata, read_saved_model


def identify(path: Path) -> bool:
    """Whether `path` is a folder with a SavedModel in it."""
    return (path / PROTO).is_file() or (path / PROTO_TEXT).is_file()


def read(path: Path) -> Checkpoint:
    """Opens a SavedModel by its folder; reads the bundle's index and object graph, and what the protobufs say.

    Raises:
        SourceError: There is no `saved_model.pb`, or a file can't be opened.
        DamagedError: A protobuf or the bundle is damaged.
    """
    if not (path / PROTO).is_file():
        text = (path / PROTO_TEXT).is_file()
        hint = f"its variables can be read as a bundle: {prefix_of(path)}" if text else "give the folder it lies in"
        found = "only the text form" if text else "no such file"
        raise SourceError(f"expected {PROTO}, found {found}", where=str(path), hint=hint)
    model = read_saved_model(path / PROTO)
    metadata = _facts(path, model)
    files = [path / name for name in (PROTO, KERAS_METADATA, HUB_MODULE) if (path / name).is_file()]
    files += [file for folder in ASSETS for file in sorted((path / folder).rglob("*")) if file.is_file()]
    opened = Checkpoint(path=path, format="savedmodel", variables={}, files=tuple(files), metadata=metadata)
    if not index_file(prefix_of(path)).is_file():
        return replace(opened, issues=_without_variables(path, model))
    bundle = read_bundle(prefix_of(path))
    opened = replace(opened, files=(*files, *files_of(bundle)), metadata=metadata | facts_of(bundle))
    is_object_based = GRAPH_KEY in bundle.entries
    return _with_objects(opened, bundle, model) if is_object_based else _with_names(opened, bundle, model)


def _with_names(opened: Checkpoint, bundle: Bundle, model: SavedModel) -> Checkpoint:
    """A SavedModel of TF1: keys are names; the graphs' collections tell what is trainable."""
    found = read_named(bundle)
    told: dict[str, SavedVariable] = {}
    for graph in model.meta_graphs:
        told |= graph.variables
    variables = {
        name: replace(variable, trainable=told[name].trainable) if name in told else variable
        for name, variable in found.variables.items()
    }
    return replace(opened, variables=variables, optimizers=found.optimizers, issues=(*issues_of(bundle), *found.issues))


def _with_objects(opened: Checkpoint, bundle: Bundle, model: SavedModel) -> Checkpoint:
    """A SavedModel of TF2: names are object paths."""
    found = read_objects(bundle)
    objects = _objects(opened.path, model)
    graph, paths = found.view.graph, layer_paths(found.view.graph, objects, found.view.paths.optimizers)
    variables, twins = fold_copies(_told(found, objects, paths))
    layout = layout_of(graph, objects, paths, found.view.names) if paths else None
    settings = batch_norm_settings(objects, paths)
    told = configurations(objects.get(0))
    blobs = ChainMap(told, dict(found.structure.blobs))
    facts: dict[str, Any] = {"batch_norms": settings} if settings else {}
    if "keras_version" in told:
        facts["keras_version"] = told["keras_version"].decode("utf-8", "replace")
    return replace(
        opened,
        variables=variables,
        optimizers=found.optimizers,
        structure=Structure(graph, layout, blobs),
        metadata={**opened.metadata, **facts},
        issues=(*issues_of(bundle), *found.issues, *twins),
    )


def _objects(folder: Path, model: SavedModel) -> dict[int, SavedObject]:
    """The objects by the number that both graphs give them, with Keras' own account of them."""
    graph = next((graph.objects for graph in model.meta_graphs if graph.objects), ())
    objects = dict(enumerate(graph))
    if (folder / KERAS_METADATA).is_file():
        objects |= read_keras_metadata(folder / KERAS_METADATA)
    return objects


def _told(found: ObjectBased, objects: Mapping[int, SavedObject], paths: Mapping[int, str]) -> dict[str, Variable]:
    """The variables with what the SavedModel says of each: own name, trainable, path by layers."""
    view = found.view
    nodes = {values.stored.key: n for n in view.values if (values := view.value(n)) is not None}
    own = {n: o.variable.name for n, o in objects.items() if o.variable is not None}
    spelled = paths or keras3_paths(
        view.graph, {n: own[n] for v in found.variables.values() if (n := nodes.get(v.key, -1)) in own}
    )
    variables = {}
    for name, variable in found.variables.items():
        number = nodes.get(variable.key, -1)
        saved = objects[number].variable if number in objects else None
        aliases = dict(variable.aliases)
        if saved is not None and saved.name:
            aliases["full_name"] = (saved.name,)
        if number in spelled:
            aliases["layer_path"] = (spelled[number],)
        trainable = saved.trainable if saved is not None else None
        role = variable.role
        if role == "weight" and saved is not None:  # a number in a list tells nothing, its own name may
            role = role_of(saved.name, variable.tensor.dtype, variable.tensor.shape)
        variables[name] = replace(variable, aliases=aliases, trainable=trainable, role=role)
    return variables


def _facts(folder: Path, model: SavedModel) -> dict[str, Any]:
    """What the SavedModel says of itself."""
    kinds = Counter(o.kind for graph in model.meta_graphs for o in graph.objects or ())
    facts: dict[str, Any] = {
        "schema_version": model.schema_version,
        "meta_graphs": [
            {"tags": list(g.tags), "tensorflow": g.version, "signatures": g.signatures, "assets": list(g.assets)}
            for g in model.meta_graphs
        ],
    }
    counted = {"functions": kinds["function"], "constants": kinds["constant"] + kinds["captured_tensor"]}
    facts |= {name: count for name, count in counted.items() if count}
    if (folder / HUB_MODULE).is_file():
        facts["tfhub_module"] = True
    return facts


def _without_variables(folder: Path, model: SavedModel) -> tuple[Issue, ...]:
    """There may be none to save; where the file names some, they are missing."""
    objects = max(sum(o.kind == "variable" for o in g.objects or ()) for g in model.meta_graphs)
    named = objects or len({name for g in model.meta_graphs for name in g.variables})
    file = index_file(prefix_of(folder))
    if not named:
        return (Issue("empty", "note", "", "a SavedModel without variables"),)
    message = f"{file.name} doesn't exist, but {named} variables are named"
    return (Issue("missing", "error", "", message, "copy the whole folder variables/ of the SavedModel", str(file)),)
