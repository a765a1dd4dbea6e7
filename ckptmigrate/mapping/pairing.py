"""Pairing: which variable of a template is which of the source, where names alone tell, without a mapping.

Names come in rounds, the most exact first; each round pairs what is one-to-one among what the rounds before it left.
Layers that are called by other numbers on the two sides (`dense_3`, `dense`) are paired by their order only where all
of them are, and classes and shapes agree at every position. Nothing is ever paired by its shape alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.names import Names
from ckptmigrate.mapping.positions import Placed, Side, by_position
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, Layer, Variable

LAYER_PATH = "layer_path"
_SHOWN = 20  # names in a message

_Spelling = Callable[[Names, Variable], Iterable[str]]

# How the files of Keras' generations call the same part of a layer
_CELL = re.compile(r"(?:simple_rnn|lstm|gru|conv_lstm(?:\dd)?)_cell(?:_\d+)?", re.ASCII)
_DIRECTION = re.compile(r"(forward|backward)_(?!layer$)\w+", re.ASCII)
_ATTENTION = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "attention_output": "output_dense"}
_LEAVES = {"depthwise_kernel": "kernel", "adapt_mean": "mean", "adapt_variance": "variance"}
_NUMBERED = re.compile(r"(?:^|/)(?:layer_with_weights-\d+|(?:_functional/)?_operations/\d+)(?=/)", re.ASCII)
_LISTED = re.compile(r"_?\w*variables/\d+", re.ASCII)  # in Keras 3's exports
_COUNTER = re.compile(r"_\d+$", re.ASCII)

_PATHS = (LAYER_PATH, "object_path")  # systems whose names are paths from the model on


@dataclass(frozen=True, slots=True)
class Pairs:
    """What pairing found: source variable -> template variable, and what there is to say of it."""

    found: Mapping[str, str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()


def one_spelling(name: str) -> str:
    """A name with the parts of layers called in one way.

    >>> one_spelling("mha/_query_dense/_kernel"), one_spelling("mha/query/kernel"), one_spelling("l/lstm_cell_1/bias")
    ('mha/query_dense/kernel', 'mha/query_dense/kernel', 'l/cell/bias')
    """
    parts = [part.lstrip("_") or part for part in name.split("/")]
    for at in range(1, len(parts) - 1):
        part = parts[at]
        if _CELL.fullmatch(part):
            parts[at] = "cell"
        elif direction := _DIRECTION.fullmatch(part):
            parts[at] = f"{direction[1]}_layer"
        elif parts[at + 1] in ("kernel", "bias"):
            parts[at] = _ATTENTION.get(part, part)
    parts[-1] = _LEAVES.get(parts[-1], parts[-1])
    return "/".join(parts)


def layer_name(variable: Variable) -> str:
    """The variable's path through layers by their names, else its name."""
    return next(iter(variable.aliases.get(LAYER_PATH, ())), variable.name)


def pair(source: Names, template: Names, variables: Iterable[Variable]) -> Pairs:
    """Pairs variables of the source with the template's."""
    left = {variable.name: variable for variable in variables}
    right = dict(template.checkpoint.variables)
    found: dict[str, str] = {}
    for near, far in _ROUNDS:
        _take(_one_to_one(_indexed(source, left, near), _indexed(template, right, far)), found, left, right)
    positions, guessed = by_position(_side(source, left), _side(template, right))
    _take(positions, found, left, right)
    _take(_by_endings(source, left, template, right), found, left, right)
    if not any(_is_lossy(source, name) for name in left):
        return Pairs(found, guessed)
    by_order = _by_order(source.checkpoint, template.checkpoint)
    return by_order if by_order.found else Pairs(found, guessed)


def alike(variable: Variable, among: Iterable[Variable]) -> list[str]:
    """The variables that a name could have been given up for: the same part of a layer, of the same shape."""
    leaf = one_spelling(layer_name(variable)).rpartition("/")[2]
    shape = variable.tensor.shape
    return [
        other.name
        for other in among
        if other.tensor.shape == shape and one_spelling(layer_name(other)).rpartition("/")[2] == leaf
    ]


def _take(
    pairs: Mapping[str, str], found: dict[str, str], left: dict[str, Variable], right: dict[str, Variable]
) -> None:
    for name, other in pairs.items():
        found[name] = other
        del left[name], right[other]


# Rounds: the names that count in each


def _own(names: Names, variable: Variable) -> Iterator[str]:
    yield from (name for system, name in names.of[variable.name] if system == "name")


def _layer(names: Names, variable: Variable) -> Iterator[str]:
    if not names.system:
        yield layer_name(variable)
    else:
        yield from _any(names, variable)


def _any(names: Names, variable: Variable) -> Iterator[str]:
    yield from (name for _, name in names.of[variable.name])


def _any_or_key(names: Names, variable: Variable) -> Iterator[str]:
    yield from _any(names, variable)
    yield variable.key


def _layer_spelled(names: Names, variable: Variable) -> Iterator[str]:
    yield from map(one_spelling, _layer(names, variable))


def _any_spelled(names: Names, variable: Variable) -> Iterator[str]:
    yield from map(one_spelling, _any(names, variable))


def _wrapped(names: Names, variable: Variable) -> Iterator[str]:
    """What a wrapper holds: its attribute is `layer`, files of weights skip it or say the inner layer's name."""
    for name in _layer_spelled(names, variable):
        head, _, tail = name.partition("/layer/")
        if head and tail:
            yield f"{head}/{tail}"
            yield f"{head}/*/{tail}"


def _unwrapped(names: Names, variable: Variable) -> Iterator[str]:
    for name in _any_spelled(names, variable):
        if "/layer/" not in name:
            yield name
            layer, _, tail = name.partition("/")
            yield f"{layer}/*/{tail.partition('/')[2]}"


_ROUNDS: tuple[tuple[_Spelling, _Spelling], ...] = (
    (_own, _own),
    (_layer, _layer),
    (_any, _any_or_key),
    (_layer_spelled, _layer_spelled),
    (_any_spelled, _any_spelled),
    (_wrapped, _unwrapped),
    (_unwrapped, _wrapped),
)


def _indexed(names: Names, variables: Mapping[str, Variable], spelling: _Spelling) -> dict[str, set[str]]:
    """Name -> the variables that go by it."""
    index: dict[str, set[str]] = defaultdict(set)
    for variable in variables.values():
        for name in spelling(names, variable):
            index[name].add(variable.name)
    return index


def _one_to_one(left: Mapping[str, Collection[str]], right: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Those that share a name with exactly one of the other side, and it with no other."""
    there: dict[str, set[str]] = defaultdict(set)
    back: dict[str, set[str]] = defaultdict(set)
    for name in left.keys() & right.keys():
        for one in left[name]:
            there[one].update(right[name])
        for other in right[name]:
            back[other].update(left[name])
    return {
        one: next(iter(others)) for one, others in there.items() if len(others) == 1 == len(back[next(iter(others))])
    }


def _side(names: Names, variables: Mapping[str, Variable]) -> Side:
    placed = ((variable, _all_paths(names, variable)) for variable in variables.values())
    return Side(tuple(Placed(variable, paths) for variable, paths in placed if paths), names.checkpoint.origin)


def _by_endings(
    source: Names, left: Mapping[str, Variable], template: Names, right: Mapping[str, Variable]
) -> dict[str, str]:
    """Names of which one is how the other ends, from a layer on: one side has a root that the other lacks.

    Only where that pairs everything of weight that is left, one-to-one.
    """
    near, far = _whole(source, left), _whole(template, right)
    pairs = _one_to_one(_with_endings(near, far), _with_endings(far, near))
    return pairs if {name for name in left if _is_lossy(source, name)} <= pairs.keys() else {}


def _is_lossy(names: Names, variable: str) -> bool:
    return names.checkpoint.variables[variable].role in LOSSY_ROLES


def _whole(names: Names, variables: Mapping[str, Variable]) -> dict[str, set[str]]:
    """Paths through layers less the numbers of models whose names the file doesn't tell; with and without a root."""
    spelled = {variable.name: path for variable in variables.values() if (path := _path(names, variable))}
    index: dict[str, set[str]] = defaultdict(set)
    for name, path in spelled.items():
        index[path].add(name)
    roots = {path.partition("/")[0] for name, path in spelled.items() if _is_lossy(names, name)}
    for name, path in spelled.items() if len(roots) == 1 else ():
        below = path.partition("/")[2]
        if "/" in below:
            index[below].add(name)
    return index


def _path(names: Names, variable: Variable) -> str:
    """ "" where a layer has a number and nothing else."""
    return _plain(variable, next(iter(_layer(names, variable)), ""))


def _all_paths(names: Names, variable: Variable) -> tuple[str, ...]:
    """Its path through layers, and what else it may be called there."""
    told = [_path(names, variable)]
    if not names.system:
        told += [_plain(variable, name) for system in _PATHS for name in variable.aliases.get(system, ())]
    return tuple(path for path in dict.fromkeys(told) if path)


def _plain(variable: Variable, name: str) -> str:
    if _LISTED.fullmatch(name):
        name = next(iter(variable.aliases.get("full_name", ())), "")
    if name == variable.name and _NUMBERED.search(name):
        return ""
    return one_spelling(_NUMBERED.sub("", name).lstrip("/"))


def _with_endings(names: Mapping[str, set[str]], other: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Names and, where the other side has those, their endings of a layer and more."""
    index: dict[str, set[str]] = defaultdict(set)
    for name, variables in names.items():
        index[name].update(variables)
        ending = name.partition("/")[2]
        while "/" in ending:
            if ending in other:
                index[ending].update(variables)
            ending = ending.partition("/")[2]
    return index


# Layers that are only numbered differently


def _by_order(source: Checkpoint, template: Checkpoint) -> Pairs:
    """Layers by their order, where every one is called by its class and a number, and none could go by its name."""
    near, far = _weighty(source), _weighty(template)
    if len(near) != len(far) or _shapes(source, near).items() & _shapes(template, far).items():
        return Pairs()
    found: dict[str, str] = {}
    for one, other in zip(near, far, strict=True):
        if not _is_numbered_alike(one, other):
            return Pairs()
        for (path, name), (other_path, target) in zip(one.attributes, other.attributes, strict=False):
            if path != other_path or source.variables[name].tensor.shape != template.variables[target].tensor.shape:
                return Pairs()
            found[name] = target
    if not found:
        return Pairs()
    listed = ", ".join(f"{a.name} -> {b.name}" for a, b in list(zip(near, far, strict=True))[:_SHOWN])
    more = ", ..." if len(near) > _SHOWN else ""
    message = f"{len(near)} layers have other numbers in the template and are paired by their order: {listed}{more}"
    hint = "see that these are the same layers; a mapping says it for certain"
    return Pairs(found, (Issue("order", "warning", "", message, hint),))


def _weighty(checkpoint: Checkpoint) -> list[Layer]:
    variables = checkpoint.variables
    told = [
        Layer(layer.name, layer.class_name, tuple((p, v) for p, v in layer.attributes if v in variables))
        for layer in checkpoint.structure.layout or ()
    ]
    listed = {name for layer in told for _, name in layer.attributes}
    lossy = {name for name, variable in variables.items() if variable.role in LOSSY_ROLES}
    return [layer for layer in told if layer.attributes] if lossy <= listed else []


def _shapes(checkpoint: Checkpoint, layers: Iterable[Layer]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Layer -> the shapes of its variables."""
    return {one.name: tuple(checkpoint.variables[v].tensor.shape for _, v in one.attributes) for one in layers}


def _is_numbered_alike(one: Layer, other: Layer) -> bool:
    """Both names are what Keras makes of one class: `dense_3` and `dense` of Dense."""
    classes = {layer.class_name for layer in (one, other)} - {""}
    bases = {_COUNTER.sub("", layer.name) for layer in (one, other)}
    alike = len(one.attributes) == len(other.attributes) and len(classes) == 1
    return alike and bases == {_snake_case(next(iter(classes)))}


def _snake_case(class_name: str) -> str:
    """As Keras names layers after their class (keras/src/utils/naming.py, `to_snake_case`)."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
