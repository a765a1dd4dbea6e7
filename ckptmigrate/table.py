"""The normalised variable table: Tensor, Variable, OptimizerState, Structure, Checkpoint.

Every reader produces these, every writer consumes them, and `Plan.result()` is one again. Values are lazy: nothing here
reads tensor data before `Tensor.read()` is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ckptmigrate.dtypes import DType
from ckptmigrate.issues import Issue
from ckptmigrate.objects import ObjectGraph

Role = Literal["weight", "bn_mean", "bn_variance", "counter", "rng", "table", "metric", "iterator", "other"]

# What a target that can't hold it turns into: a loss, or a note (design: "What stops a run").
LOSSY_ROLES = frozenset({"weight", "bn_mean", "bn_variance", "table", "other"})

# The optimizer dialects, oldest first.
DIALECTS = ("keras1", "tf1", "keras-legacy", "keras2", "keras3")

# What the names of blobs begin with that are no configuration: vocabularies of layers
ASSETS = "assets/"

# Formats whose names and keys are those of another one.
_NAMED_ALIKE = {"tf1-v1": "tf1", "savedmodel": "tf1", "frozen-graph": "tf1"}


@dataclass(frozen=True, slots=True)
class Extent:
    """Raw bytes of a tensor, or of one part of a partitioned tensor, in a file.

    Attributes:
        file: The file they lie in.
        offset, nbytes: Where, in bytes.
        region: (start, length) per dimension of the part they hold; None for the whole tensor.
        checksum: Masked CRC-32C as a bundle entry stores it (strings and variants have their own rule), or None.
        big_endian: True when the elements' bytes are the other way round.
    """

    file: Path
    offset: int
    nbytes: int
    region: tuple[tuple[int, int], ...] | None = None
    checksum: int | None = None
    big_endian: bool = False


def _no_values() -> np.ndarray[Any, Any]:
    raise LookupError("a template's tensor has no values")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A lazy tensor.

    Attributes:
        shape: Extents per dimension; () for a scalar.
        dtype: Element type.
        load: Gives the elements: an array of `shape` and `dtype.numpy`; bytes objects for strings; for variants the
            stored bytes as a flat uint8 array.
        extents: Where the bytes lie raw in C order: one, several for partitioned variables, none otherwise.
        is_open: True in a shipped template, whose shapes are left open; `shape` is () then and means nothing.
    """

    shape: tuple[int, ...]
    dtype: DType
    load: Callable[[], np.ndarray[Any, Any]] = field(default=_no_values, compare=False, repr=False)
    extents: Sequence[Extent] = field(default=(), compare=False)
    is_open: bool = False

    def read(self) -> np.ndarray[Any, Any]:
        """The elements, read-only; strings as an object array of bytes.

        Raises:
            DamagedError: The stored bytes don't fit their checksum or declared size.
        """
        values = self.load()
        if values.flags.writeable:
            values = values.view()
            values.flags.writeable = False
        return values

    @property
    def has_values(self) -> bool:
        """False for a template's."""
        return self.load is not _no_values

    @property
    def raw(self) -> Extent | None:
        """The extent whose bytes are the elements as we have them: whole, little-endian, C order; None without one."""
        if not self.dtype.is_raw or len(self.extents) != 1:
            return None
        extent = self.extents[0]
        is_turned = extent.big_endian and self.dtype.nbytes > 1
        return None if is_turned or extent.region is not None or extent.nbytes != self.nbytes else extent

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements; for strings and variants what they take in the file, 0 where that is not known."""
        if width := self.dtype.nbytes:
            return math.prod(self.shape) * width
        return sum(e.nbytes for e in self.extents)

    @classmethod
    def of(cls, values: np.ndarray[Any, Any], dtype: DType) -> Tensor:
        """A tensor of values in memory."""
        return cls(tuple(values.shape), dtype, lambda: values)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the model.

    Attributes:
        name: Its name in this format's own system (design section 4); unique in a checkpoint.
        tensor: Its value.
        key: The full key it is stored under.
        role: What it is for.
        trainable: None where the file doesn't tell.
        aliases: System -> names in that system ("full_name", "layer_path", "h5_path").
        copies: Other keys that hold the same value.
    """

    name: str
    tensor: Tensor
    key: str
    role: Role = "weight"
    trainable: bool | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    copies: tuple[str, ...] = ()

    def names(self) -> Iterator[tuple[str, str]]:
        """Every (system, name) it goes by; its own name under "name", the stored key under "key"."""
        yield "name", self.name
        yield "key", self.key
        for system, names in self.aliases.items():
            for name in names:
                yield system, name


@dataclass(frozen=True, slots=True, order=True)
class SlotKey:
    """The slot `slot` (canonical name: m, v, vhat, rms, mg, momentum, accumulator, average...) of a variable."""

    variable: str
    slot: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that is no variable of the model, with the full key it is stored under.

    Attributes:
        key: The key.
        tensor: Its value.
        copies: Other keys that hold the same value, or in TF1's files further parts of it.
    """

    key: str
    tensor: Tensor
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """The state of one optimizer (or of one set of averages), as stored, under canonical slot names.

    Attributes:
        name: Where it stands in the file ("optimizer", "gen_opt"); in name-based files its own name ("Adam").
        kind: "sgd", "momentum", "adam", "rmsprop", "ema", ... ; "unknown" when the slots fit none.
        dialect: Whose conventions the values follow, one of DIALECTS.
        step: Completed steps, where the file tells.
        hyper: Hyperparameters the file holds, by their canonical name (learning_rate, beta_1, rho, momentum...).
        scalars: Stored state owned by no variable (iter, beta1_power, learning_rate...), by canonical name. What `step`
            and `hyper` were read from stands here with its key, so that every stored key is listed once.
        slots: The slots of the variables.
        order: The build order that list-based dialects index by: the optimizer's list as stored.
        unbound: Slots whose owner the file doesn't tell.
        wraps: The inner optimizer of a wrapper (loss scaling).
        parent: For averages: the name of the optimizer whose node holds them.
    """

    name: str
    kind: str
    dialect: str
    step: int | None = None
    hyper: Mapping[str, float] = field(default_factory=dict)
    scalars: Mapping[str, Stored] = field(default_factory=dict)
    slots: Mapping[SlotKey, Stored] = field(default_factory=dict)
    order: tuple[SlotKey, ...] = ()
    unbound: tuple[Stored, ...] = ()
    wraps: OptimizerState | None = None
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One Keras layer: name, class, and its attributes in order, each with the variable it holds ("" for none)."""

    name: str
    class_name: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Structure:
    """What a file says of the model around its variables.

    Attributes:
        objects: The object graph of object-based files.
        layout: The ordered Keras layers; a variable may stand in several.
        blobs: Configuration and assets by name, as stored.
    """

    objects: ObjectGraph | None = None
    layout: tuple[Layer, ...] | None = None
    blobs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the flat table: a variable (no slot, no optimizer), a slot, or an optimizer's scalar (no slot)."""

    name: str
    slot: str
    optimizer: str
    key: str
    tensor: Tensor

    @property
    def label(self) -> str:
        """How reports call it: the variable's name, `name:slot`, or `optimizer.scalar`."""
        if self.slot:
            return f"{self.name}:{self.slot}"
        return f"{self.optimizer}.{self.name}" if self.optimizer else self.name


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: variables, optimizers and structure, read lazily.

    Use it as a context manager, or call `close()`: some formats keep files open.

    Attributes:
        path: What was opened: the prefix, file or folder.
        format: The format's id.
        files: Every file it consists of.
        metadata: What the file says of itself (versions, provenance...), JSON-able.
        variables: By name, in the file's own order.
        optimizers: In the file's own order; averages among them.
        structure: Object graph, layout, blobs.
        issues: What reading found.
        closers: Called by `close()`.
    """

    path: Path
    format: str
    variables: Mapping[str, Variable]
    optimizers: tuple[OptimizerState, ...] = ()
    structure: Structure = field(default_factory=Structure)
    files: tuple[Path, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    closers: tuple[Callable[[], None], ...] = field(default=(), compare=False, repr=False)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files that stayed open. Tensors can't be read afterwards."""
        for closer in self.closers:
            closer()

    @property
    def origin(self) -> str:
        """The format whose names and keys it has: its own; for a container of tensors, the one they are from."""
        record = self.metadata.get("provenance")
        told = record.get("origin") if isinstance(record, Mapping) else None
        if isinstance(told, str):
            return told
        return "tf2" if self.structure.objects is not None else _NAMED_ALIKE.get(self.format, self.format)

    def rows(self) -> Iterator[Entry]:
        """The flat table: every variable, then every optimizer's scalars, slots and unbound state."""
        for variable in self.variables.values():
            yield Entry(variable.name, "", "", variable.key, variable.tensor)
        for state in self.optimizers:
            yield from _optimizer_rows(state)


def _optimizer_rows(state: OptimizerState) -> Iterator[Entry]:
    for name, stored in state.scalars.items():
        yield Entry(name, "", state.name, stored.key, stored.tensor)
    for key, stored in state.slots.items():
        yield Entry(key.variable, key.slot, state.name, stored.key, stored.tensor)
    for stored in state.unbound:
        yield Entry(stored.key, "?", state.name, stored.key, stored.tensor)
    if state.wraps is not None:
        yield from _optimizer_rows(state.wraps)
