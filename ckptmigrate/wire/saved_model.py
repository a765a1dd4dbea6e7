"""SavedModels: `saved_model.pb` and `keras_metadata.pb`, so far as they speak of variables, signatures and assets.

Messages: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, saved_object_graph.proto, variable.proto, and
tf_keras/protobuf/saved_metadata.proto. Graphs and functions are passed over unread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptmigrate.dtypes import from_tf
from ckptmigrate.wire.mapped import Mapped
from ckptmigrate.wire.protobuf import signed, text

# Tags: field number << 3 | wire type (2 length-delimited, 0 varint), as `protobuf.fields` gives them.
_1, _2, _3, _4, _5, _6, _7 = (number << 3 | 2 for number in range(1, 8))
_1_VARINT, _2_VARINT, _3_VARINT, _7_VARINT = 0x08, 0x10, 0x18, 0x38

# SavedObject: the field that tells its kind
KINDS = {
    4: "user_object",
    5: "asset",
    6: "function",
    7: "variable",
    8: "bare_concrete_function",
    9: "constant",
    10: "resource",
    12: "captured_tensor",
}
ASSETS_COLLECTION = "saved_model_assets"  # tensorflow/python/saved_model/constants.py, `ASSETS_KEY`
_VARIABLE_COLLECTIONS = {"variables": False, "trainable_variables": True}

MAX_OBJECTS = 1 << 20  # of a SavedObjectGraph; an object takes a hundred times the two bytes that declare it
MAX_METADATA_BYTES = 1 << 26  # of the JSON of all Keras objects together


@dataclass(frozen=True, slots=True)
class SavedVariable:
    """What a SavedModel says of a variable. `trainable` is None where it doesn't."""

    name: str
    trainable: bool | None = None


@dataclass(frozen=True, slots=True)
class SavedObject:
    """One object: its kind, what a user object calls itself, its metadata, and the variable that it is."""

    kind: str
    identifier: str = ""
    metadata: str = ""
    variable: SavedVariable | None = None


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One graph of a SavedModel.

    Attributes:
        tags: What it is for.
        version: The TensorFlow that wrote it.
        signatures: Name -> {"inputs": {name: {"dtype", "shape"}}, "outputs": ..., "method"}.
        assets: File names, as the file spells them: never a path to open.
        variables: By the name they are stored under, from the collections of graphs.
        objects: By the number that the object graph of the checkpoint gives them; None in TF1.
    """

    tags: tuple[str, ...]
    version: str
    signatures: Mapping[str, Mapping[str, Any]]
    assets: tuple[str, ...]
    variables: Mapping[str, SavedVariable]
    objects: tuple[SavedObject, ...] | None


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A whole `saved_model.pb`."""

    schema_version: int
    meta_graphs: tuple[MetaGraph, ...]


def read_saved_model(path: Path) -> SavedModel:
    """What a `saved_model.pb` says, graphs left out.

    Raises:
        SourceError: It can't be opened.
        DamagedError: It doesn't parse; says at which byte.
    """
    reader = _Reader(Mapped(path))
    version, graphs = 0, []
    for tag, value in reader.fields(reader.file.view):
        if tag == _1_VARINT:
            version = value
        elif tag == _2:
            graphs.append(reader.meta_graph(value))
    if not graphs:
        raise reader.file.damaged("no meta graph in it: not a SavedModel, or an empty one", reader.file.view)
    return SavedModel(signed(version), tuple(graphs))


def read_keras_metadata(path: Path) -> dict[int, SavedObject]:
    """What a `keras_metadata.pb` says of Keras' objects, by node number.

    Raises:
        SourceError: It can't be opened.
        DamagedError: It doesn't parse.
    """
    reader = _Reader(Mapped(path))
    found: dict[int, SavedObject] = {}
    for tag, value in reader.fields(reader.file.view):
        if tag == _1:
            node = dict(reader.fields(value))
            found[signed(node.get(_2_VARINT, 0))] = SavedObject(
                "user_object", _text(node.get(_4)), reader.metadata(node.get(_5))
            )
    if not found:
        raise reader.file.damaged("no Keras object in it", reader.file.view)
    return found


class _Reader:
    """Decodes the messages of one file."""

    def __init__(self, file: Mapped) -> None:
        self.file = file
        self.fields = file.fields
        self._metadata_bytes = 0

    def meta_graph(self, message: memoryview) -> MetaGraph:
        tags: list[str] = []
        version = ""
        signatures: dict[str, Mapping[str, Any]] = {}
        assets: list[str] = []
        variables: dict[str, SavedVariable] = {}
        objects: tuple[SavedObject, ...] | None = None
        for tag, value in self.fields(message):
            if tag == _1:
                tags, version = self._info(value)
            elif tag == _4:
                name, collection = self._entry(value)
                self._collection(name, collection, assets, variables)
            elif tag == _5:
                name, signature = self._entry(value)
                signatures[name] = self._signature(signature)
            elif tag == _6:
                assets.append(self._asset(value))
            elif tag == _7:
                objects = tuple(self._objects(value))
        return MetaGraph(tuple(tags), version, signatures, tuple(dict.fromkeys(assets)), variables, objects)

    def _info(self, message: memoryview) -> tuple[list[str], str]:
        found = list(self.fields(message))
        return [_text(v) for tag, v in found if tag == _4], next((_text(v) for tag, v in found if tag == _5), "")

    def _entry(self, message: memoryview) -> tuple[str, memoryview]:
        """An entry of a map: a string, and a message."""
        found = dict(self.fields(message))
        return _text(found.get(_1)), found.get(_2, memoryview(b""))

    def _signature(self, message: memoryview) -> dict[str, Any]:
        found: dict[str, Any] = {"inputs": {}, "outputs": {}, "method": ""}
        for tag, value in self.fields(message):
            if tag in (_1, _2):
                name, tensor = self._entry(value)
                found["inputs" if tag == _1 else "outputs"][name] = self._tensor(tensor)
            elif tag == _3:
                found["method"] = _text(value)
        return found

    def _tensor(self, message: memoryview) -> dict[str, Any]:
        """A TensorInfo: shape None where the rank is open, -1 where a dimension is."""
        found = dict(self.fields(message))
        dtype = from_tf(found.get(_2_VARINT, 0))
        shape: list[int] | None = []
        for tag, value in self.fields(found.get(_3, memoryview(b""))):
            if tag == _3_VARINT and value:
                shape = None
            elif tag == _2 and shape is not None:
                shape.append(signed(dict(self.fields(value)).get(_1_VARINT, 0)))
        return {"dtype": dtype.name if dtype else "", "shape": shape}

    def _asset(self, message: memoryview) -> str:
        return _text(dict(self.fields(message)).get(_2))

    def _collection(
        self, name: str, message: memoryview, assets: list[str], variables: dict[str, SavedVariable]
    ) -> None:
        """Variables, and the assets of old files: lists of bytes, or of messages of any type."""
        if name not in _VARIABLE_COLLECTIONS and name != ASSETS_COLLECTION:
            return
        for kind, items in self.fields(message):
            for tag, item in self.fields(items) if kind in (_2, _5) else ():
                if tag != _1:
                    continue
                if name == ASSETS_COLLECTION and kind == _5:
                    assets.append(self._asset(dict(self.fields(item)).get(_2, memoryview(b""))))
                elif name != ASSETS_COLLECTION and kind == _2:
                    key = self._variable_key(item)
                    known = variables.get(key)
                    trainable = _VARIABLE_COLLECTIONS[name] or bool(known and known.trainable)
                    variables[key] = SavedVariable(key, trainable)

    def _variable_key(self, message: memoryview) -> str:
        """The key of a VariableDef: of a part of a variable, that of the whole."""
        found = dict(self.fields(message))
        whole = _text(dict(self.fields(found.get(_4, memoryview(b"")))).get(_1))
        return whole or _text(found.get(_1)).removesuffix(":0")

    def _objects(self, message: memoryview) -> Iterator[SavedObject]:
        count = 0
        for tag, value in self.fields(message):
            if tag == _1:
                count += 1
                if count > MAX_OBJECTS:
                    raise self.file.damaged(f"more than {MAX_OBJECTS} objects", message)
                yield self._object(value)

    def _object(self, message: memoryview) -> SavedObject:
        for tag, value in self.fields(message):
            kind = KINDS.get(tag >> 3, "") if tag & 7 == 2 else ""
            if kind == "user_object":
                found = dict(self.fields(value))
                return SavedObject(kind, _text(found.get(_1)), self.metadata(found.get(_3)))
            if kind == "variable":
                found = dict(self.fields(value))
                variable = SavedVariable(_text(found.get(_6)), bool(found.get(_3_VARINT, 0)))
                return SavedObject(kind, variable=variable)
            if kind:
                return SavedObject(kind)
        return SavedObject("")

    def metadata(self, value: memoryview | None) -> str:
        """The JSON of a Keras object, so long as all of them together stay bounded."""
        self._metadata_bytes += len(value or b"")
        return _text(value) if self._metadata_bytes <= MAX_METADATA_BYTES else ""


def _text(value: memoryview | None) -> str:
    return text(bytes(value)) if isinstance(value, memoryview) else ""
