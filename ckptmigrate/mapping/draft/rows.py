"""Rows: the variables of one side as a draft looks at them: names, words, what they are for, and extents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ckptmigrate.table import LOSSY_ROLES, Checkpoint, Variable

TENSOR, UNKNOWN = "tensor", "?"

# What the last segment of a vector's name says it is for, in TensorFlow's, Keras' and PyTorch's words
_ROLES = {
    "gamma": "gamma", "scale": "gamma", "g": "gamma", "weight": "gamma",
    "beta": "beta", "offset": "beta",
    "bias": "bias", "biases": "bias", "b": "bias",
    "moving_mean": "mean", "running_mean": "mean",
    "moving_variance": "variance", "running_var": "variance",
}  # fmt: skip
_KERNELS = frozenset({"kernel", "weights", "weight", "w"})

# Words of kinds of layers and of places: shared by variables that have nothing else in common
COMMON = frozenset(
    (
        "kernel", "bias", "gamma", "beta", "mean", "variance", "dense", "conv", "linear", "fc", "layer", "layers",
        "block", "blocks", "unit", "model", "net", "module", "cell", "bn", "ln", "norm", "vars", "variables",
    )
)  # fmt: skip

# Names that Keras gives by class, with a counter: `dense` and `dense_1` are two layers, near to nothing else
COUNTED = frozenset({"dense", "conv", "convd", "bn", "ln"})

_SPELLINGS = (
    (re.compile(r"batch_?norm(?:alization)?", re.IGNORECASE), "/bn/"),
    (re.compile(r"layer_?norm(?:alization)?", re.IGNORECASE), "/ln/"),
    (re.compile(r"(depthwise|pointwise)_weights", re.IGNORECASE), r"\1_kernel"),
    (re.compile(r"(?<![A-Za-z])dw(?![A-Za-z])", re.IGNORECASE), "depthwise"),
    (re.compile(r"(?<![A-Za-z])pw(?![A-Za-z])", re.IGNORECASE), "pointwise"),
)
_NORM_OF = re.compile(r"(.+?)[/._](?:bn|ln|norm|(?:batch|layer)_?norm(?:alization)?)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,8})(?![0-9])", re.ASCII)
_PADDED = re.compile(r"(?<![0-9])([0-9]{1,9})(?![0-9])", re.ASCII)
_DIGITS = re.compile(r"[0-9]+")

Extents = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One variable.

    Attributes:
        variable: The variable.
        names: System -> the one name it has there; its own under "name", which comes first.
        role: What it is for: TENSOR, gamma, beta, bias, mean, variance or UNKNOWN.
        words: What its names are made of, numbers apart: words, and whole segments with a `/` in front.
    """

    variable: Variable
    names: Mapping[str, str]
    role: str
    words: frozenset[str]

    @property
    def name(self) -> str:
        """Its own name."""
        return self.variable.name

    def all_names(self) -> set[str]:
        """Everything it goes by but its stored key."""
        return {name for system, name in self.variable.names() if system != "key"}

    @property
    def shape(self) -> Extents:
        """Its tensor's."""
        return self.variable.tensor.shape

    @property
    def extents(self) -> Extents:
        """The extents that tell shapes apart whatever axes of length 1 there are."""
        return tuple(extent for extent in self.shape if extent != 1)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Rows whose names differ in numbers only.

    Attributes:
        members: The numbers that differ -> the row.
        words: What all members' names are made of.
    """

    members: Mapping[tuple[int, ...], Row]
    words: frozenset[str]


def rows_of(checkpoint: Checkpoint) -> list[Row]:
    """The variables that a mapping has to speak of, in the file's order."""
    chosen = [v for v in checkpoint.variables.values() if v.role in LOSSY_ROLES]
    scales = {
        scope_of(name) for v in chosen if len(v.tensor.shape) == 1 for name in _by_system(v).values() if _is_scale(name)
    }
    return [_row(variable, scales) for variable in chosen]


def families(rows: Iterable[Row], system: str) -> list[Family]:
    """The rows that have a name in a system, by what is left without its numbers; `007` is 7, unless 7 is there."""
    named = [(row.names[system], row) for row in rows if system in row.names]
    groups: dict[tuple[str, ...], dict[tuple[int, ...], Row]] = {}
    for name, row in sorted(named, key=lambda one: split(one[0]) != split(one[0], _PADDED)):
        texts, numbers = split(name, _PADDED)
        if numbers in groups.get(texts, ()):
            texts, numbers = split(name)
        groups.setdefault(texts, {})[numbers] = row
    return [_family(members) for members in groups.values()]


def parts(family: Family) -> list[list[Family]]:
    """The ways to take a family apart by the values of one number."""
    found = []
    for column in range(len(next(iter(family.members)))):
        groups: dict[int, dict[tuple[int, ...], Row]] = {}
        for numbers, row in family.members.items():
            groups.setdefault(numbers[column], {})[numbers] = row
        found.append([_family(members) for members in groups.values()])
    return found


def split(name: str, number: re.Pattern[str] = _NUMBER) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts around the numbers of a name, and the numbers; `007` is no number.

    >>> split("block_12/conv2d/w")
    (('block_', '/conv', 'd/w'), (12, 2))
    """
    parts = number.split(name)
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


def systems(rows: Iterable[Row]) -> tuple[str, ...]:
    """The systems of names on one side, its own first."""
    return tuple(dict.fromkeys(system for row in rows for system in row.names))


def is_turned(rows: Iterable[Row]) -> bool:
    """Whether kernels lie as PyTorch has them, output first: it calls them and nothing else `weight`."""
    leaves = [leaf_of(row.name) for row in rows if row.role == TENSOR]
    return "weight" in leaves and not {"kernel", "weights"} & set(leaves)


def _family(members: Mapping[tuple[int, ...], Row]) -> Family:
    """Without the numbers that all members share."""
    columns = list(zip(*members, strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    words = frozenset.intersection(*(row.words for row in members.values()))
    return Family({tuple(numbers[i] for i in varying): row for numbers, row in members.items()}, words)


def _row(variable: Variable, scales: set[str]) -> Row:
    names = _by_system(variable)
    role = _role(variable, names, scales)
    words = {word for name in names.values() for word in _words(name, role)}
    return Row(variable, names, role, frozenset(words))


def _by_system(variable: Variable) -> dict[str, str]:
    single = {system: names[0] for system, names in variable.aliases.items() if len(names) == 1}
    return {"name": variable.name} | single


def _role(variable: Variable, names: Mapping[str, str], scales: set[str]) -> str:
    if variable.role in ("bn_mean", "bn_variance"):
        return variable.role.removeprefix("bn_")
    told = next((_ROLES[leaf] for name in names.values() if (leaf := leaf_of(name)) in _ROLES), UNKNOWN)
    if len(variable.tensor.shape) > 1:
        return TENSOR
    is_shift = told == "bias" and any(scope_of(name) in scales for name in names.values())
    return "beta" if is_shift else told


def _is_scale(name: str) -> bool:
    return _ROLES.get(leaf_of(name)) == "gamma"


def _words(name: str, role: str) -> Iterable[str]:
    for spelling, word in _SPELLINGS:
        name = spelling.sub(word, name)
    *scopes, leaf = re.split(r"[/.]", name)
    for scope in scopes:
        bare = _DIGITS.sub("", scope).strip("_").lower()
        if bare not in COUNTED:
            yield f"/{bare}"
        yield from (word.lower() for word in _WORD.findall(scope) if len(word) > 1)
    if role not in (TENSOR, UNKNOWN):
        yield role
    elif leaf_of(leaf) in _KERNELS:
        yield "kernel"
    else:
        yield from (word.lower() for word in _WORD.findall(leaf))


def leaf_of(name: str) -> str:
    """The last segment of a name, as tables of words have it."""
    return re.split(r"[/.]", name)[-1].lstrip("_").lower()


def scope_of(name: str) -> str:
    """A name without its last segment."""
    return re.split(r"[/.](?=[^/.]*$)", name)[0]


def owners(homes: Mapping[Row, str]) -> dict[Row, str]:
    """The scope that each row belongs to: its own, or that of the layer that a norm is named after.

    `conv/BatchNorm` and `conv_bn` belong to `conv`, where that has a tensor; `dense_1` doesn't belong to `dense`.

    Args:
        homes: The scope of each row of one side.
    """
    tensors = {home for row, home in homes.items() if row.role == TENSOR}
    layers = {home: found[1] for home in homes.values() if (found := _NORM_OF.fullmatch(home))}
    return {row: layers[home] if layers.get(home) in tensors else home for row, home in homes.items()}
