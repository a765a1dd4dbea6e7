"""Reading legacy Keras HDF5 files: structure and configuration first, a tensor's elements when they are wanted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats.keras_config import Configured, read_config
from ckptmigrate.formats.keras_h5 import naming, slot_names
from ckptmigrate.formats.keras_h5.old_layers import Weight
from ckptmigrate.formats.keras_h5.old_names import SYSTEM, old_names
from ckptmigrate.formats.roles import role_of
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.binding import StateList, bind_in_an_order
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.scalars import whole_value
from ckptmigrate.optimizers.wrapping import INNER, WRAPPER, WRAPPER_SCALARS
from ckptmigrate.table import Checkpoint, Extent, Layer, OptimizerState, Stored, Structure, Tensor, Variable
from ckptmigrate.wire.hdf5 import Dataset, Place, Tree, is_hdf5, read_root, read_tree
from ckptmigrate.wire.hdf5_attributes import text, texts

_MARKS = frozenset({naming.LAYER_NAMES, f"{naming.LAYER_NAMES}0", naming.MODEL_CONFIG})
_CONFIGS = (naming.MODEL_CONFIG, naming.TRAINING_CONFIG)
_LEAST_TURNED = 3  # dimensions of a convolution's kernel


def identify(path: Path) -> bool:
    """An HDF5 file that says it is Keras', or is damaged and called like one."""
    if not is_hdf5(path):
        return False
    try:
        attributes, groups = read_root(Place(path))
    except (DamagedError, SourceError):
        return path.name.endswith((".h5", ".hdf5")) and not path.name.endswith(".weights.h5")
    return bool(_MARKS & attributes) or naming.MODEL_WEIGHTS in groups


def read(path: Path) -> Checkpoint:
    """Opens a file.

    Raises:
        SourceError: It can't be opened, or isn't a Keras file.
        DamagedError: It is damaged, or lacks weights that it names.
    """
    tree = read_tree(Place(path))
    reading = _Reading(tree, path)
    reading.read_layers()
    reading.read_rest()
    reading.add_full_names()
    if not reading.add_old_names():
        reading.warn_of_turned()
    optimizers = reading.optimizers()
    return Checkpoint(
        path=path,
        format=naming.FORMAT_ID,
        variables=reading.variables,
        optimizers=optimizers,
        structure=Structure(layout=tuple(reading.layout), blobs=reading.blobs()),
        files=(path,),
        metadata=reading.facts(),
        issues=tuple(reading.issues),
    )


def tensor_of(dataset: Dataset) -> Tensor:
    """A lazy tensor of a dataset.

    Raises:
        SourceError: Of an element type that isn't ours.
    """
    if dataset.dtype is None:
        where = f"{dataset.place.file}, {dataset.path!r}"
        raise SourceError(f"element type {dataset.stored} isn't supported", where=where)
    raw = dataset.raw
    found = (Extent(dataset.place.file, raw.offset, raw.nbytes, big_endian=raw.is_big_endian),) if raw else ()
    return Tensor(dataset.shape, dataset.dtype, dataset.read, found)


class _Reading:
    """One file on its way to a checkpoint."""

    def __init__(self, tree: Tree, path: Path) -> None:
        self.tree, self.path = tree, path
        self.attributes = tree.groups[""]
        self.root = f"{naming.MODEL_WEIGHTS}/" if naming.MODEL_WEIGHTS in tree.groups else ""
        self.names = texts(tree.groups[self.root.rstrip("/")], naming.LAYER_NAMES)
        if self.names is None:
            hint = "Keras' files list their layers in an attribute layer_names; h5py shows what this one holds"
            raise SourceError("an HDF5 file, but not a Keras file", where=str(path), hint=hint)
        self.issues: list[Issue] = []
        self.model = self._configured()
        self.variables: dict[str, Variable] = {}
        self.layout: list[Layer] = []
        self.spelled: dict[str, str] = {}  # variable -> the weight's name
        self._weights: dict[str, Weight] = {}  # variable -> its weight as rules for old files look at it
        self._taken: set[str] = set()  # datasets that are listed

    @property
    def version(self) -> str:
        """The Keras that wrote it; "" for Keras 1, which doesn't tell in weights-only files."""
        group = self.tree.groups[self.root.rstrip("/")]
        return text(self.attributes, "keras_version") or text(group, "keras_version") or ""

    @property
    def backend(self) -> str:
        return text(self.attributes, "backend") or text(self.tree.groups[self.root.rstrip("/")], "backend") or ""

    @property
    def may_be_turned(self) -> bool:
        """Whether convolution kernels may be flipped or transposed: Theano's are, and Keras 1 doesn't always tell."""
        return self.backend == "theano" or (not self.backend and not self.version.startswith(("2", "3")))

    def _configured(self) -> Configured | None:
        config = text(self.attributes, naming.MODEL_CONFIG)
        if config is None:
            return None
        try:
            return read_config(config, str(self.path))
        except DamagedError as error:
            self.issues.append(Issue("damaged", "warning", naming.MODEL_CONFIG, error.message, "", error.where))
            return None

    def read_layers(self) -> None:
        """The layers' weights in the file's order, then those of the model itself."""
        assert self.names is not None
        for name in self.names:
            self._read_layer(name, name, self.root + name)
        if self.root + naming.TOP_LEVEL in self.tree.groups:
            self._read_layer(naming.TOP_LEVEL, "", self.root + naming.TOP_LEVEL)

    def _read_layer(self, name: str, prefix: str, group: str) -> None:
        attributes = self.tree.groups.get(group)
        weights = texts(attributes, naming.WEIGHT_NAMES) if attributes is not None else None
        if weights is None:
            raise DamagedError(f"no list of weights for the layer {name!r}", where=f"{self.path}, {group!r}")
        known = naming.find(self.model, name)
        told = naming.meanings(weights, name, known)
        held = []
        for weight, meaning in zip(weights, told, strict=True):
            dataset = self._dataset(group, weight)
            named = naming.variable_name(weight, prefix)
            unique = named if named not in self.variables else dataset.path
            self._add(unique, dataset, prefix, meaning)
            self.spelled[unique] = weight
            path = f"{prefix}/{meaning.path}" if meaning.path else named
            self._weights[unique] = Weight(prefix, weight, dataset.shape, path)
            held.append((meaning.path or named.removeprefix(f"{prefix}/"), unique))
        if not weights and not prefix:
            return
        self.layout.append(Layer(name, known.class_name if known else "", tuple(held)))

    def _dataset(self, group: str, weight: str) -> Dataset:
        path = f"{group}/{weight}".replace("//", "/")
        if path not in self.tree.datasets or path in self._taken:
            why = "names a weight twice" if path in self._taken else "names a weight that isn't there"
            raise DamagedError(f"{naming.WEIGHT_NAMES} {why}: {weight!r}", where=f"{self.path}, {group!r}")
        return self.tree.datasets[path]

    def _add(self, name: str, dataset: Dataset, layer: str, meaning: naming.Meaning) -> None:
        tensor = tensor_of(dataset)
        self._taken.add(dataset.path)
        aliases: dict[str, tuple[str, ...]] = {"h5_path": (dataset.path.removeprefix(self.root),)}
        if meaning.path and not (self.may_be_turned and len(tensor.shape) >= _LEAST_TURNED):
            own = meaning.path.partition("/")[2]  # a model's variables are called by its name, too
            aliases["layer_path"] = (f"{layer}/{meaning.path}",) if layer else (meaning.path, *([own] if own else []))
        role = meaning.role or role_of(name, tensor.dtype, tensor.shape)
        trainable = False if self.model is not None and not self.model.is_trainable else meaning.is_trainable
        self.variables[name] = Variable(name, tensor, dataset.path, role, trainable, aliases)

    def add_full_names(self) -> None:
        """A weight's name is the variable's own in the program; an alias where it is nobody else's name, too."""
        full = {name: weight.removesuffix(":0") for name, weight in self.spelled.items()}
        counts = Counter(full.values())
        for name, told in full.items():
            if counts[told] == 1 and told not in self.variables:
                variable = self.variables[name]
                self.variables[name] = replace(variable, aliases={**variable.aliases, "full_name": (told,)})

    def add_old_names(self) -> bool:
        """What rules call the variables of an old file; False where it isn't old."""
        told = old_names(tuple(self._weights.values()), self.model, self.version, self.backend)
        for name, alias in zip(self._weights, told.names, strict=bool(told.names)):
            variable = self.variables[name]
            self.variables[name] = replace(variable, aliases={**variable.aliases, SYSTEM: (alias,)})
        self.issues += [replace(issue, where=str(self.path)) for issue in told.issues]
        return bool(told.names)

    def warn_of_turned(self) -> None:
        """Says so where convolution kernels may be stored in another way than Keras 2 on TensorFlow has them."""
        turned = [v for v in self.variables.values() if len(v.tensor.shape) >= _LEAST_TURNED]
        if turned and self.may_be_turned:
            is_told = self.backend == "theano"
            message = (
                f"{len(turned)} kernels of convolutions, such as {turned[0].name}, read as stored: "
                + (
                    "Theano's are flipped"
                    if is_told
                    else "flipped if the backend was Theano, which Keras 1 doesn't tell"
                )
                + "; with `dim_ordering: th` they are (out, in, height, width)"
            )
            self.issues.append(Issue("kernels", "warning" if is_told else "note", "", message, "", str(self.path)))

    def read_rest(self) -> None:
        """Datasets that no layer names: variables too, with a warning."""
        prefix = f"{naming.OPTIMIZER_WEIGHTS}/"
        for path, dataset in self.tree.datasets.items():
            if path not in self._taken and not path.startswith(prefix):
                self._add(path, dataset, "", naming.Meaning())
                message = "no layer lists it: read as a plain variable"
                self.issues.append(Issue("unlisted", "warning", path, message, "", str(self.path)))

    def optimizers(self) -> tuple[OptimizerState, ...]:
        """The optimizer's state, and averages beside it."""
        attributes = self.tree.groups.get(naming.OPTIMIZER_WEIGHTS)
        if attributes is None:
            return ()
        names = list(texts(attributes, naming.WEIGHT_NAMES) or ())
        listed = [self._dataset(naming.OPTIMIZER_WEIGHTS, name) for name in names]
        known = {dataset.path for dataset in listed}
        prefix = f"{naming.OPTIMIZER_WEIGHTS}/"
        listed += [d for path, d in self.tree.datasets.items() if path.startswith(prefix) and path not in known]
        dialect = _dialect(names, self.version)
        stored = tuple(Stored(dataset.path, tensor_of(dataset)) for dataset in listed)
        if dialect != "keras3" or not _is_scaled(names, stored):
            return self._bound("optimizer", stored, names, dialect)
        count = len(WRAPPER_SCALARS)
        outer = dict(zip(WRAPPER_SCALARS, stored[:count], strict=True))
        around = OptimizerState("optimizer", WRAPPER, dialect, whole_value(outer["iter"]), scalars=outer)
        return around, *self._bound(f"optimizer/{INNER}", stored[count:], names[count:], dialect)

    def _bound(
        self, name: str, stored: tuple[Stored, ...], names: Sequence[str], dialect: str
    ) -> tuple[OptimizerState, ...]:
        """A list, bound to its variables where kind, order and shapes tell them."""
        title, settings = self._optimizer_config()
        title = title or _title(names)
        told = StateList(
            name,
            stored,
            dialect,
            title,
            settings,
            has_names=dialect != "keras1",
            slots=tuple(slot_names.slot_of(one, title, dialect) for one in names),
        )
        states, issues = bind_in_an_order(told, self._owners(dialect, names))
        self.issues += issues
        return states

    def _owners(self, dialect: str, keys: Sequence[str]) -> list[list[Owner]]:
        """The trainable variables in each order that the optimizer may know them by: old Keras sorted them by name.

        Measured: 1.1.2, 1.2.2 and 2.0.5 sort, 2.2.4 doesn't; where in between that ended isn't known. Where nothing
        tells what is trainable, the names in the optimizer's keys do.
        """
        trained = [v for v in self.variables.values() if v.trainable is not False]
        owners = [Owner(v.name, v.tensor.shape, self.spelled.get(v.name, v.name)) for v in trained]
        by_name = sorted(owners, key=lambda owner: owner.full_name.encode("utf-8", "surrogateescape"))
        if dialect != "keras1":
            told = "\n".join(keys).replace("/", "_")
            named = [owner for owner in owners if owner.full_name.removesuffix(":0").replace("/", "_") in told]
            return [owners, named] if len(named) < len(owners) else [owners]
        if not self.version.startswith(("1.", "2.0.", "2.1.")):
            return [owners]
        return [by_name] if self.version.startswith("1.") else [by_name, owners]

    def _optimizer_config(self) -> tuple[str, Mapping[str, Any]]:
        """Class and settings of the optimizer, of the one inside a wrapper; nothing where they can't be read."""
        try:
            told = json.loads(text(self.attributes, naming.TRAINING_CONFIG) or "{}")["optimizer_config"]
            if str(told["class_name"]).rpartition(">")[2].startswith("LossScaleOptimizer"):
                told = told["config"]["inner_optimizer"]
            settings = dict(told["config"])
            return str(told["class_name"]).rpartition(">")[2], settings
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return "", {}

    def blobs(self) -> dict[str, bytes]:
        """Configurations, as stored."""
        found = {name: text(self.attributes, name) for name in _CONFIGS}
        return {name: told.encode("utf-8", "surrogateescape") for name, told in found.items() if told is not None}

    def facts(self) -> dict[str, Any]:
        """What the file says of itself."""
        facts: dict[str, Any] = {"keras_version": self.version or naming.FIRST_KERAS, "backend": self.backend}
        if self.model is not None:
            title, settings = self._optimizer_config()
            rate = settings.get("learning_rate", settings.get("lr"))
            facts["model"] = {"name": self.model.name, "class": self.model.class_name, "layers": len(self.model.layers)}
            facts["optimizer"] = {"class": title, "learning_rate": rate} if title else None
        told = text(self.attributes, naming.PROVENANCE)
        if told is not None:
            try:
                facts["provenance"] = json.loads(told)
            except (ValueError, RecursionError):
                facts["provenance"] = None
        return {key: value for key, value in facts.items() if value}


def _is_scaled(names: Sequence[str], stored: Sequence[Stored]) -> bool:
    """Whether Keras 3's loss scaling stands in front of the optimizer's own list."""
    called = [name.rpartition("/")[2] for name in names[: len(WRAPPER_SCALARS)]]
    return called[2:] == list(WRAPPER_SCALARS)[2:] and not any(s.tensor.shape for s in stored[: len(called)])


def _dialect(names: list[str], version: str) -> str:
    """By the step's name: `Adam/iter:0` (legacy), `iteration:0` (tf_keras), `adam/iteration` (Keras 3)."""
    first = names[0] if names else ""
    step = first.removesuffix(":0").rpartition("/")[2]
    if step == "iter":
        return "keras-legacy"
    if step == "iteration":
        return "keras2" if first.endswith(":0") else "keras3"
    return "keras3" if version.startswith("3") else "keras1"


def _title(names: Sequence[str]) -> str:
    """The optimizer's class as the names tell it: `Adam` of `training/Adam/iter:0`, `Adam/m/d1/kernel:0`."""
    step = next(
        (n for n in names if n.removesuffix(":0").rpartition("/")[2] in ("iter", "iteration", "iterations")), ""
    )
    title = step.rpartition("/")[0].rpartition("/")[2]
    return title or next((name.partition("/")[0] for name in names if "/" in name), "")
