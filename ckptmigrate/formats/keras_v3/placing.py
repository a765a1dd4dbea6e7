"""Where each tensor of a checkpoint stands in a v3 file.

A tensor that comes from a v3 file (or whose template does) keeps its dataset's path. For others the configuration tells
the groups: snake_case classes with counters per container, as Keras 3.15 and tf_keras 2.15 and newer write them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.keras_config import read_config
from ckptmigrate.formats.keras_v3.known import CELLS, CONTAINERS, Known, by_config
from ckptmigrate.formats.keras_v3.naming import (
    KIND,
    LAYERS,
    MODEL_CONFIG,
    NAME,
    NAMES,
    OPTIMIZER,
    VARS,
    natural,
    next_name,
)
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.unbinding import VACANT, is_ordered, listed_scalars, unbind
from ckptmigrate.optimizers.wrapping import INNER, WRAPPER, WRAPPER_SCALARS
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, OptimizerState, Stored, Tensor, Variable

_DATASET = re.compile(r"(?:.+/)?vars/[^/]+", re.DOTALL)
_UNDERSCORED = re.compile(r"(?:query|key|value|output)_dense")  # tf_keras has them as private attributes only
_TITLES = {"sgd": "SGD", "momentum": "SGD", WRAPPER: "loss_scale_optimizer"}  # others are called after their kind
_NO_CLASSES = "its place isn't known: groups of a v3 file are called after the classes of layers"
_TEMPLATE = "give --template with a .keras or .weights.h5 file of the target model"


@dataclass(frozen=True, slots=True)
class Placed:
    """A file in the making.

    Attributes:
        groups: Group ("" for the root) -> attributes.
        tensors: Path of a dataset -> its tensor.
        issues: What has no place.
    """

    groups: dict[str, dict[str, str | list[str]]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a configuration puts a variable: its dataset, and whether optimizers see it."""

    path: str
    is_trainable: bool


def place(checkpoint: Checkpoint, template: Checkpoint | None, *, is_keras2: bool) -> Placed:
    """Gives every tensor its place; reads no tensor."""
    placed = Placed({"": {}, VARS: {}})
    told = _told(checkpoint, template)
    places = dict(_places(told, "", "", is_keras2, placed.groups)) if told is not None else {}
    names: dict[str, str] = {}
    unplaced = []
    for variable in checkpoint.variables.values():
        path = _path_of(variable, places)
        if path is None or path in placed.tensors:
            unplaced.append(variable)
            continue
        placed.tensors[path] = variable.tensor
        names[path] = variable.name
        if not is_keras2:
            _label(placed, path, variable)
    placed.issues.extend(_without_place(unplaced, has_places=bool(names)))
    _name(placed, names)
    trained = [names[p.path] for p in places.values() if p.is_trainable and p.path in names]
    trained = trained or _trained(checkpoint, template)
    owners = [Owner(n, checkpoint.variables[n].tensor.shape) for n in trained if n in checkpoint.variables]
    _place_states(placed, checkpoint.optimizers, owners, is_keras2=is_keras2)
    return placed


def _trained(checkpoint: Checkpoint, template: Checkpoint | None) -> list[str]:
    """The trained variables where no configuration tells them: by an optimizer's list, else by the layers."""
    for state in (*(template.optimizers if template is not None else ()), *checkpoint.optimizers):
        if state.order:
            return list(dict.fromkeys(key.variable for key in state.order))
    layout = checkpoint.structure.layout or ()
    names = dict.fromkeys(name for layer in layout for _, name in layer.attributes if name in checkpoint.variables)
    held = {name: checkpoint.variables[name] for name in names}
    return [n for n, v in held.items() if v.trainable is not False and v.role == "weight"]


def is_dataset(key: str) -> bool:
    """Whether a key is the path of a dataset that Keras reads.

    >>> is_dataset("layers/dense/vars/0"), is_dataset("dense/kernel")
    (True, False)
    """
    return _DATASET.fullmatch(key) is not None


def _told(checkpoint: Checkpoint, template: Checkpoint | None) -> Known | None:
    """What the template's configuration says of the model, else the checkpoint's own."""
    for source in (template, checkpoint):
        config = source.structure.blobs.get(MODEL_CONFIG) if source is not None else None
        if config is not None:
            try:
                return by_config(read_config(config, MODEL_CONFIG))
            except DamagedError:
                return None
    return None


def _places(
    known: Known, group: str, name: str, is_keras2: bool, groups: dict[str, dict[str, str | list[str]]]
) -> Iterator[tuple[str, Place]]:
    """Name of each variable by the layers -> where it stands, in the model's order; notes all groups on the way."""
    groups.setdefault(_join(group, VARS), {})
    if known.name and not is_keras2:
        groups[_join(group, VARS)] = {NAME: known.name}
    for number, weight in enumerate(known.own):
        if weight is not None:
            yield _join(name, weight.path), Place(_join(group, VARS, str(number)), weight.is_trainable)
    used: dict[str, int] = {}
    for layer in known.layers:
        if (known.class_name, layer.class_name) == ("Sequential", "InputLayer"):
            continue  # which Keras doesn't count among the layers
        inner = _join(group, LAYERS, next_name(layer.class_name, used))
        yield from _places(layer, inner, _join(name, layer.name), is_keras2, groups)
    cells: dict[str, int] = {}
    for attribute, held in known.inner.items():
        inner = f"_{attribute}" if is_keras2 and _UNDERSCORED.fullmatch(attribute) else attribute
        if attribute.startswith(f"{CELLS}/"):
            inner = f"{CELLS}/{next_name(held.class_name, cells)}"
        yield from _places(held, _join(group, inner), _join(name, attribute), is_keras2, groups)


def _path_of(variable: Variable, places: Mapping[str, Place]) -> str | None:
    if is_dataset(variable.key) or (variable.key and variable.key in variable.aliases.get("h5_path", ())):
        return variable.key
    for name in (*variable.aliases.get("layer_path", ()), variable.name):
        if name in places:
            return places[name].path
    return None


def _without_place(variables: list[Variable], *, has_places: bool) -> Iterator[Issue]:
    if not has_places and any(variable.role in LOSSY_ROLES for variable in variables):
        yield Issue("needed", "error", "", _NO_CLASSES, _TEMPLATE)
        return
    for variable in variables:
        if variable.role in LOSSY_ROLES:
            message = "no place for it: the model's configuration has no such variable"
            yield Issue("unholdable", "loss", variable.name, message, f"{_TEMPLATE}, or --drop PATTERN")
        else:
            message = f"not written: a v3 file has no place for this {variable.role}"
            yield Issue("unholdable", "note", variable.name, message)


def _label(placed: Placed, path: str, variable: Variable) -> None:
    """Writes the names of layers, as Keras 3.6 and newer do, on the groups on the way to a dataset."""
    names = iter(next(iter(variable.aliases.get("layer_path", ())), "").split("/"))
    parts = path.split("/")[:-2]
    at, is_layer = 0, True
    while at < len(parts):
        name = next(names, "")
        is_layer = is_layer and parts[at] in CONTAINERS and at + 1 < len(parts)
        at += 2 if is_layer else 1
        if is_layer and name and name != parts[at - 1]:
            placed.groups.setdefault(_join(*parts[:at], VARS), {}).setdefault(NAME, name)


def _name(placed: Placed, names: Mapping[str, str]) -> None:
    """Leaves the names of variables in the file: without a configuration nothing else tells all of them."""
    groups: dict[str, list[str]] = {}
    for path in sorted(names, key=lambda path: natural(path.rpartition("/")[2])):
        group = path.rpartition("/")[0]
        if group.rpartition("/")[2] == VARS:
            groups.setdefault(group, []).append(names[path])
    for group, held in groups.items():
        placed.groups.setdefault(group, {})[NAMES] = held


def _place_states(
    placed: Placed, states: Sequence[OptimizerState], owners: Sequence[Owner], *, is_keras2: bool
) -> None:
    """Every optimizer, with the averages that stand in its list."""
    own = [state for state in states if state.kind != "ema"]
    lists = [state for state in own if state.kind != WRAPPER]
    averages = {s.parent or (lists[0].name if len(lists) == 1 else ""): s for s in states if s.kind == "ema"}
    around = {f"{state.name}/{INNER}": state for state in own if state.kind == WRAPPER}
    for state in lists:
        shadows, outer = averages.pop(state.name, None), around.pop(state.name, None)
        paths = _place_state(placed, state, shadows, owners, is_scaled=outer is not None, is_keras2=is_keras2)
        if paths and outer is not None:
            _place_around(placed, outer, paths)
    for outer in around.values():
        placed.issues.extend(_lost(outer, None, "no place in the file: nothing is in this wrapper", ""))
    for shadows in averages.values():
        if all(is_dataset(stored.key) for stored in shadows.slots.values()):
            placed.tensors.update({stored.key: stored.tensor for stored in shadows.slots.values()})
        else:
            hint = "--averages use, or --averages drop"
            placed.issues.extend(_lost(shadows, None, "averages stand in an optimizer's list, and there is none", hint))


def _place_state(
    placed: Placed,
    state: OptimizerState,
    averages: OptimizerState | None,
    owners: Sequence[Owner],
    *,
    is_scaled: bool,
    is_keras2: bool,
) -> list[str]:
    """An optimizer's list, where it stood if it is whole, else in the order that its kind has; its paths."""
    listed = _listed(state, averages)
    if not _is_whole([stored.key for _, stored in listed]):
        why = _why_not(placed, state, owners)
        if why:
            hint = f"{_TEMPLATE}, or --optimizer drop"
            placed.issues.extend(_lost(state, averages, f"no place in the file: {why}", hint))
            return []
        listed = _rebuilt(placed, state, averages, owners, _join(OPTIMIZER, INNER if is_scaled else "", VARS))
    listed.sort(key=lambda pair: natural(pair[1].key.rpartition("/")[2]))
    for _, stored in listed:
        placed.tensors[stored.key] = stored.tensor
    if listed:
        group = placed.groups.setdefault(listed[0][1].key.rpartition("/")[0], {})
        group |= {NAMES: [label for label, _ in listed], KIND: state.kind}
        if not is_keras2 and state.kind != "unknown":
            group[NAME] = _TITLES.get(state.kind, state.kind)
    return [stored.key for _, stored in listed]


def _place_around(placed: Placed, outer: OptimizerState, inner: Sequence[str]) -> None:
    """Loss scaling: scalars of its own, and all of the inner optimizer's list once more."""
    group = inner[0].rpartition(f"/{INNER}/")[0] + f"/{VARS}"
    held = [outer.scalars[name].tensor for name in WRAPPER_SCALARS if name in outer.scalars]
    for number, tensor in enumerate([*held, *(placed.tensors[path] for path in inner)]):
        placed.tensors[f"{group}/{number}"] = tensor
    placed.groups.setdefault(group, {})[NAME] = _TITLES[WRAPPER]


def _why_not(placed: Placed, state: OptimizerState, owners: Sequence[Owner]) -> str:
    """Why an optimizer's list can't be made; "" where it can."""
    if any(path.startswith(f"{OPTIMIZER}/") for path in placed.tensors):
        return "Keras v3 files hold one optimizer"
    if state.dialect not in ("keras2", "keras3"):
        return f"they hold none of dialect {state.dialect}"
    if not owners or state.unbound or state.kind == "unknown" or not is_ordered(state):
        return "nothing tells the order of its list"
    strange = sorted({key.variable for key in state.slots} - {owner.name for owner in owners})
    return f"{strange[0]} has slots, but isn't trained by what the configuration says" if strange else ""


def _lost(state: OptimizerState, averages: OptimizerState | None, message: str, hint: str) -> Iterator[Issue]:
    """An issue for each value of a state: slots are lost, scalars are noted."""
    for name in state.scalars:
        yield Issue("unholdable", "note", f"{state.name}.{name}", message, hint)
    for key in (*state.slots, *(averages.slots if averages is not None else ())):
        yield Issue("unholdable", "loss", f"{key.variable}:{key.slot}", message, hint)
    for stored in state.unbound:
        yield Issue("unholdable", "loss", stored.key, message, hint)


def _listed(state: OptimizerState, averages: OptimizerState | None) -> list[tuple[str, Stored]]:
    """Everything a state holds, with its label."""
    slots = {**state.slots, **(averages.slots if averages is not None else {})}
    labelled = [*state.scalars.items(), *((f"{key.variable}:{key.slot}", s) for key, s in slots.items())]
    return labelled + [("", stored) for stored in state.unbound]


def _is_whole(keys: list[str]) -> bool:
    """Whether they are all numbers of one list, without a gap."""
    groups = {key.rpartition("/")[0] for key in keys}
    numbers = {key.rpartition("/")[2] for key in keys}
    return len(groups) == 1 and is_dataset(keys[0]) and numbers == {str(n) for n in range(len(keys))}


def _rebuilt(
    placed: Placed, state: OptimizerState, averages: OptimizerState | None, owners: Sequence[Owner], group: str
) -> list[tuple[str, Stored]]:
    """The list in the order of the model's variables."""
    kept = listed_scalars(state)
    for name in state.scalars:
        if name not in kept:
            value = f"={state.hyper[name]:g}" if name in state.hyper else ""
            message = f"{state.dialect} files don't hold it: set {name}{value} where the optimizer is built"
            placed.issues.append(Issue("unholdable", "note", f"{state.name}.{name}", message))
    listed = []
    for number, (name, key, stored) in enumerate(unbind(state, averages, owners)):
        label = name if name or key is None or stored is None else f"{key.variable}:{key.slot}"
        tensor = stored.tensor if stored is not None else VACANT
        listed.append((label or f"{PLACEHOLDER}/{number}", Stored(f"{group}/{number}", tensor)))
    return listed


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
