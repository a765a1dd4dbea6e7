"""What a legacy HDF5 file is to hold: layers with their weights in order, configuration, the optimizer's list.

Layers come from the layout of template or source, else from the first segments of names. A layer lists its trainable
weights before the others, as every Keras does, which leaves the order of a file that Keras wrote as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptmigrate.dtypes import STRING
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.formats.keras_h5 import naming, slot_names
from ckptmigrate.formats.keras_h5.optimizer_list import LAST_KERAS1, is_keras1, lay_out
from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import spelling
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.unbinding import Listing, is_ordered, listed_scalars
from ckptmigrate.optimizers.wrapping import INNER, WRAPPER, WRAPPER_SCALARS
from ckptmigrate.table import LOSSY_ROLES, Checkpoint, OptimizerState, SlotKey, Tensor, Variable

Place = tuple[str, str, str]

FAMILY = frozenset({naming.FORMAT_ID, "keras-v3"})
VERSIONS = {"tf_keras": "2.15.0", "keras3": "3.0.0"}  # for sources that tell none: which conventions a loader follows
_WITHOUT_PLACE = {
    "counter": "a Keras file has no place for counters of one's own",
    "rng": "Keras stores no state of random generators in .h5 files",
    "metric": "Keras stores no metrics in .h5 files",
    "iterator": "Keras stores no iterators",
}
_AVERAGING = ("keras2", "keras3")  # dialects whose optimizers hold averages
_NUMBERED = re.compile(r"(?:^|/)vars/\d+$", re.ASCII)
_MAX_NAME_BYTES = 60_000  # a name must fit into an attribute of 64,512 bytes


@dataclass(slots=True)
class Outline:
    """The file to be.

    Attributes:
        layers: Layer -> its weights in order: (weight name, variable).
        top_level: The model's own weights.
        optimizer: The optimizer's list: (weight name, tensor).
        attributes: Of the root group.
        names: Place of a tensor -> the name, or else the key, that it is read by.
        issues: What the file can't hold, and what was guessed.
    """

    layers: dict[str, list[tuple[str, Variable]]] = field(default_factory=dict)
    top_level: list[tuple[str, Variable]] = field(default_factory=list)
    optimizer: list[tuple[str, Tensor]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    names: dict[Place, str] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    @property
    def root(self) -> str:
        """The group that holds the layers, with a slash."""
        return f"{naming.MODEL_WEIGHTS}/" if naming.MODEL_CONFIG in self.attributes else ""


def outline(checkpoint: Checkpoint, options: WriteOptions) -> Outline:
    """Lays a checkpoint out as a legacy HDF5 file; reads no tensor data."""
    return _Composer(checkpoint, options).run()


def flavor_of(checkpoint: Checkpoint, options: WriteOptions) -> str:
    """tf_keras or keras3: as asked, else the template's, else the source's, else by the optimizer's dialect."""
    if options.flavor:
        return "keras3" if options.flavor == "keras3" else "tf_keras"
    for one in (options.template, checkpoint):
        version = one.metadata.get("keras_version") if one is not None else None
        if isinstance(version, str) and version:
            return "keras3" if version.startswith("3") else "tf_keras"
    dialects = {state.dialect for state in checkpoint.optimizers}
    return "keras3" if "keras3" in dialects else "tf_keras"


class _Composer:
    """One run."""

    def __init__(self, checkpoint: Checkpoint, options: WriteOptions) -> None:
        self.checkpoint, self.options = checkpoint, options
        self.flavor = flavor_of(checkpoint, options)
        self.out = Outline()
        self.weights: dict[str, str] = {}  # variable -> name of its weight
        self._paths: set[str] = set()
        self._groups: set[str] = set()
        self._read: set[str] = set()  # names that the reader will have given

    def run(self) -> Outline:
        self._add_attributes()
        self._add_layers()
        self._add_optimizer()
        return self.out

    @property
    def _facts(self) -> Mapping[str, Any]:
        """Who says what Keras the file is for: the template, else the source."""
        template = self.options.template
        return template.metadata if template is not None and template.origin in FAMILY else self.checkpoint.metadata

    def _add_attributes(self) -> None:
        for name, told in _configurations(self.checkpoint.structure.blobs).items():
            self.out.attributes[name] = told
        version, backend = self._facts.get("keras_version"), self._facts.get("backend")
        if not isinstance(version, str) or (
            self.options.flavor and version.startswith("3") != (self.flavor == "keras3")
        ):
            version, backend = VERSIONS[self.flavor], backend or "tensorflow"
        if version == naming.FIRST_KERAS:
            version = ""
        dialects = {state.dialect for state in self.checkpoint.optimizers}
        if dialects == {"keras1"} and not is_keras1(version):
            version = LAST_KERAS1
        for name, value in (("keras_version", version), ("backend", backend)):
            if isinstance(value, str) and value:
                self.out.attributes[name] = value

    def _add_layers(self) -> None:
        variables = dict(self.checkpoint.variables)
        layout = self.checkpoint.structure.layout
        if layout is None:
            layers = self._guessed(variables)
            paths = {name: [_path(variables[member]) for member in members] for name, members in layers.items()}
        else:
            paths = {layer.name: [path for path, _ in layer.attributes] for layer in layout}
            layers = {layer.name: [name for _, name in layer.attributes if name in variables] for layer in layout}
            for layer in layout:
                self._tell_incomplete(layer.name, [name for _, name in layer.attributes], variables)
        for name, members in layers.items():
            self.out.layers[name] = []
            self._tell_unordered(name, paths[name])
            held = [variables.pop(member) for member in dict.fromkeys(members) if member in variables]
            for variable in sorted(held, key=_comes_last):
                self._add_weight(variable, "" if name == naming.TOP_LEVEL else name)
        self.out.layers.pop(naming.TOP_LEVEL, None)
        for variable in variables.values():
            self._add_loose(variable, is_told=layout is not None)

    def _guessed(self, variables: Mapping[str, Variable]) -> dict[str, list[str]]:
        """Layers by the first segments of names, below the model's own where all share it."""
        held = {v.name: _path(v) for v in variables.values() if v.role not in _WITHOUT_PLACE}
        heads = {path.partition("/")[0] for path in held.values()}
        if len(heads) == 1 and all(path.count("/") > 1 for path in held.values()):
            held = {name: path.partition("/")[2] for name, path in held.items()}
        layers: dict[str, list[str]] = {}
        for name, path in held.items():
            if "/" in path:
                layers.setdefault(path.partition("/")[0], []).append(name)
        if layers:
            message = (
                f"neither source nor template tells the model's layers: {len(layers)} are taken from the first "
                "segments of names, in order; load_weights goes by it"
            )
            hint = "--template FILE.h5 of the target model gives its layers"
            self.out.issues.append(Issue("layout", "warning", "", message, hint))
        return layers

    def _tell_incomplete(self, layer: str, names: Sequence[str], variables: Mapping[str, Variable]) -> None:
        lost = sum(name not in variables for name in names)
        if lost:
            message = f"{lost} of its {len(names)} weights are missing: load_weights will refuse the file"
            self.out.issues.append(Issue("incomplete", "warning", layer, message))

    def _tell_unordered(self, layer: str, paths: Iterable[str]) -> None:
        """A layer with layers in it whose variables are only numbered: those that are trained come first in a file."""
        groups = {path.rpartition("vars/")[0] for path in paths if _NUMBERED.search(path)}
        if len(groups) > 1:
            message = "nothing tells the order of its weights, by which .h5 files are read: its class isn't Keras' own"
            hint = "give --template FILE.h5 of the target model, or write .weights.h5"
            self.out.issues.append(Issue("needed", "error", layer, message, hint))

    def _add_loose(self, variable: Variable, *, is_told: bool) -> None:
        """A variable that stands in no layer: the model's own, unless Keras has no place for its kind."""
        if variable.role in _WITHOUT_PLACE:
            self._refuse(variable.name, variable.role in LOSSY_ROLES, _WITHOUT_PLACE[variable.role])
            return
        if is_told:
            message = "it stands in no layer: written among the model's own weights"
            self.out.issues.append(Issue("layout", "warning", variable.name, message))
        self._add_weight(variable, "")

    def _add_weight(self, variable: Variable, layer: str) -> None:
        if not variable.tensor.dtype.is_raw:
            why = f"{naming.FORMAT_ID} can't hold the element type {variable.tensor.dtype}"
            self._refuse(variable.name, variable.role in LOSSY_ROLES, why)
            return
        group = self.out.root + (layer or naming.TOP_LEVEL)
        name = self._free(group, self._spelled(variable, layer))
        self.weights[variable.name] = name
        read_as = naming.variable_name(name, layer)
        self.out.names["", variable.name, ""] = read_as if read_as not in self._read else f"{group}/{name}"
        self._read.add(read_as)
        (self.out.layers[layer] if layer else self.out.top_level).append((name, variable))

    def _refuse(self, name: str, is_lossy: bool, why: str) -> None:
        hint = "--drop PATTERN leaves it out" if is_lossy else ""
        self.out.issues.append(Issue("unholdable", "loss" if is_lossy else "note", name, why, hint))

    def _spelled(self, variable: Variable, layer: str) -> str:
        """The weight's name: as stored in a file of this format, else the variable's."""
        stored = variable.key.removeprefix(f"{naming.MODEL_WEIGHTS}/")
        mark = f"{layer or naming.TOP_LEVEL}/"
        if variable.key and stored.startswith(mark):
            name = stored.removeprefix(mark)
            if not self.options.flavor:
                return name
        else:
            path, full = _path(variable), next(iter(variable.aliases.get("full_name", ())), "")
            name = path if not layer or f"/{layer}/" in f"/{path}" else f"{layer}/{path}"
            name = full if layer and "/" in full else name
        bare = name.removesuffix(":0")
        return bare if self.flavor == "keras3" else f"{bare}:0"

    def _free(self, group: str, wanted: str) -> str:
        """A name that HDF5 takes: no empty parts, nothing above its size, neither twice nor a group's."""
        parts = [part if part not in ("", ".", "..") else "_" for part in wanted.replace("\0", "_").split("/")]
        name = "/".join(parts).encode("utf-8", "backslashreplace").decode()
        if len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME_BYTES:
            name = name[:200] + "_"
        base, count = name, 1
        while not self._is_free(f"{group}/{name}"):
            count += 1
            name = f"{base.replace('/', '_')}_{count}"
        path = f"{group}/{name}"
        self._paths.add(path)
        self._groups |= {path[:at] for at, letter in enumerate(path) if letter == "/"}
        return name

    def _is_free(self, path: str) -> bool:
        above = (path[:at] for at, letter in enumerate(path) if letter == "/")
        return path not in self._paths and path not in self._groups and self._paths.isdisjoint(above)

    def _add_optimizer(self) -> None:
        states = [state for state in self.checkpoint.optimizers if state.kind != "ema"]
        averages = [state for state in self.checkpoint.optimizers if state.kind == "ema"]
        around = {f"{state.name}/{INNER}": state for state in states if state.kind == WRAPPER}
        lists = [state for state in states if state.kind != WRAPPER]
        first = lists[0] if lists else None
        for state in lists[1:]:
            self._leave_out(state, "a Keras file holds one optimizer")
        fits = [a for a in averages if first and a.dialect == first.dialect and a.dialect in _AVERAGING]
        kept = fits[0] if fits else None
        for state in averages:
            if state is not kept:
                self._leave_out(state, "Keras keeps averages only in optimizers of its own with use_ema")
        for inner, state in around.items():
            if first is None or inner != first.name:
                self._leave_out(state, "its optimizer isn't written")
        if first is not None:
            self._add_state(first, kept, around.get(first.name))

    def _leave_out(self, state: OptimizerState, why: str) -> None:
        hint = "--averages use writes them as the weights, --averages drop leaves them out"
        hint = hint if state.kind == "ema" else "--optimizer drop, or a template with one optimizer"
        for name in state.scalars:
            self.out.issues.append(Issue("unholdable", "note", f"{state.name}.{name}", why))
        labels = [f"{key.variable}:{key.slot}" for key in state.slots] + [s.key for s in state.unbound]
        self.out.issues += [Issue("unholdable", "loss", label, why, hint) for label in labels]

    def _add_state(self, state: OptimizerState, averages: OptimizerState | None, outer: OptimizerState | None) -> None:
        listed = listed_scalars(state)
        self._drop_scalars(state, {n for n in state.scalars if n not in listed})
        owners = self._owners(state)
        if why := _misplaced(state, owners):
            for one in (state, averages, outer):
                if one is not None:
                    self._leave_out(one, why)
            return
        if outer is not None:
            for name in WRAPPER_SCALARS:
                self._add_listed(outer, (name, None, outer.scalars[name]))
        laid = lay_out(state, averages, owners, self.out.attributes.get("keras_version", ""))
        self.out.issues.extend(laid.issues)
        for member in laid.members:
            if member[2] is not None and member[2].tensor.dtype is not STRING and member[2].tensor.dtype.is_raw:
                self._add_listed(state, member)
        if state.slots and not self.out.attributes.get(naming.MODEL_CONFIG):
            message = "the file has no configuration: Keras loads its weights only, and leaves optimizer_weights alone"
            self.out.issues.append(Issue("layout", "warning", state.name, message, "--template MODEL.h5 supplies one"))

    def _drop_scalars(self, state: OptimizerState, names: set[str]) -> None:
        for name in sorted(names):
            value = f"={state.hyper[name]:g}" if name in state.hyper else ""
            why = f"{name}{value} has no place in the list of a Keras optimizer: it is set where the optimizer is built"
            self.out.issues.append(Issue("unholdable", "note", f"{state.name}.{name}", why))

    def _owners(self, state: OptimizerState) -> list[Owner]:
        """The trained variables as the optimizer knows them: in the model's order, for Keras 1 by name."""
        held = [v for weights in (*self.out.layers.values(), self.out.top_level) for _, v in weights]
        trained = [v for v in held if not _comes_last(v)]
        version = self.out.attributes.get("keras_version", "")
        if state.dialect == "keras1" and (not version or version.startswith(("1.", "2.0."))):
            trained.sort(key=lambda variable: self.weights[variable.name].encode("utf-8", "surrogateescape"))
        return [Owner(v.name, v.tensor.shape, self.weights[v.name]) for v in trained]

    def _add_listed(self, state: OptimizerState, member: Listing) -> None:
        scalar, key, stored = member
        assert stored is not None
        if stored.key.startswith(f"{naming.OPTIMIZER_WEIGHTS}/") and not self.options.flavor:
            wanted = stored.key.removeprefix(f"{naming.OPTIMIZER_WEIGHTS}/")
        else:
            spelled = slot_names.Spelled(state.kind, state.dialect, len(self.out.optimizer))
            called = f"{PLACEHOLDER}/" if scalar.startswith(PLACEHOLDER) else scalar
            wanted = spelled.slot(key.slot, self.weights[key.variable]) if key else spelled.scalar(called)
        name = self._free(naming.OPTIMIZER_WEIGHTS, wanted)
        self.out.optimizer.append((name, stored.tensor))
        if not scalar and key is None:
            self.out.names[state.name, stored.key, "?"] = f"{naming.OPTIMIZER_WEIGHTS}/{name}"


def _misplaced(state: OptimizerState, owners: Sequence[Owner]) -> str:
    """Why a list would give slots to others than their variables: it is read by position. "" when all is well."""
    if state.slots and not is_ordered(state):
        return f"Keras reads the optimizer's list by position, and that of kind {state.kind} isn't known"
    spelled = spelling(state.kind, state.dialect)
    kinds = {key.slot for key in state.slots}
    usual = {n for n in kinds if spelled is None or (slot := spelled.slot(n)) is None or slot.shape is None}
    having = {key.variable for key in state.slots}
    partial = sorted(owner for owner in having if any(SlotKey(owner, slot) not in state.slots for slot in usual))
    if partial:
        return f"Keras reads the optimizer's list by position, and {partial[0]} lacks a slot that others have"
    strange = sorted(having - {owner.name for owner in owners})
    if strange:
        return f"Keras reads the optimizer's list by position, and {strange[0]} has slots but isn't trainable"
    return ""


def _path(variable: Variable) -> str:
    """How a variable is called below the model: by layers, where it goes by such a name."""
    return next(iter(variable.aliases.get("layer_path", ())), variable.name)


def _comes_last(variable: Variable) -> bool:
    """Whether a layer lists it behind the others: what isn't trained."""
    return variable.trainable is False or variable.role in ("bn_mean", "bn_variance")


def _configurations(blobs: Mapping[str, bytes]) -> dict[str, str]:
    """The configurations as a legacy file has them; that of a .keras archive holds the training's, too."""
    told = {n: blobs[n] for n in (naming.MODEL_CONFIG, naming.TRAINING_CONFIG) if n in blobs}
    return {name: data.decode("utf-8", "surrogateescape") for name, data in told.items()} | _from_archive(told)


def _from_archive(told: Mapping[str, bytes]) -> dict[str, str]:
    try:
        config = json.loads(told.get(naming.MODEL_CONFIG, b"null"))
        compiled = config["compile_config"]
        model = {"class_name": config["class_name"], "config": config["config"]}
        training = {"optimizer_config": compiled["optimizer"]} | {k: compiled.get(k) for k in _TRAINING}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {naming.MODEL_CONFIG: json.dumps(model), naming.TRAINING_CONFIG: json.dumps(training)}


_TRAINING = ("loss", "metrics", "weighted_metrics", "loss_weights")
