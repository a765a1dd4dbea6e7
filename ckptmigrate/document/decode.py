"""A Checkpoint from its document, which may come from anybody: every field is looked at before it is believed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

from ckptmigrate.document.encode import VERSION
from ckptmigrate.document.fields import Cursor, parse, shallow
from ckptmigrate.dtypes import BY_NAME, DType
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.objects import Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.table import (
    DIALECTS,
    Checkpoint,
    Layer,
    OptimizerState,
    Role,
    SlotKey,
    Stored,
    Structure,
    Tensor,
    Variable,
)
from ckptmigrate.wire.reading import head

MAX_DOCUMENT_BYTES = 100_000_000  # safetensors' own limit of a header; two million variables stay below it
_MAX_WRAPS = 8  # optimizers wrap one another once in practice

TensorOf = Callable[[str, DType, tuple[int, ...]], Tensor]
"""(member, dtype, shape) -> Tensor; raises DamagedError where the container holds no such tensor."""

_OPTIMIZER = ("name", "kind", "dialect", "step", "hyper", "scalars", "slots", "order", "unbound", "wraps", "parent")
_TENSOR = ("member", "key", "dtype", "shape", "copies")


def decode(
    data: bytes | str, tensor: TensorOf, *, where: str, path: Path, format: str, files: tuple[Path, ...] = ()
) -> Checkpoint:
    """The checkpoint that a document describes.

    Args:
        data: The document's bytes or text.
        tensor: Finds each tensor in the container.
        where: The file, for messages.
        path, format, files: Of the container.

    Raises:
        SourceError: The document is of a later version.
        DamagedError: Anything else that is wrong, with the JSON path.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DamagedError(f"a document of {len(data)} bytes; at most {MAX_DOCUMENT_BYTES} are read", where=where)
    top = parse(data, where)
    _version(top)
    variables = [_variable(c, tensor) for c in top.items("variables")]
    by_name = {v.name: v for v in variables}
    if len(by_name) < len(variables):
        raise top.wrong("each name once", _twin([v.name for v in variables]), "variables")
    metadata = top.child("metadata")
    return Checkpoint(
        path=path,
        format=format,
        variables=by_name,
        optimizers=tuple(_optimizer(c, tensor) for c in top.items("optimizers")),
        structure=_structure(top),
        files=files,
        metadata=shallow(metadata) if metadata and metadata.fields() else {},
    )


def load_template(path: Path | str) -> Checkpoint:
    """A shipped template: names, object graph and layout of a model, shapes open.

    Raises:
        SourceError: There is no such file.
        DamagedError: It is no template, see `decode`.
    """
    path = Path(path)
    try:
        data = head(path, MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}", where=str(path)) from error
    return decode(
        data,
        lambda member, dtype, shape: Tensor(shape, dtype),
        where=str(path),
        path=path,
        format="template",
        files=(path,),
    )


def _version(top: Cursor) -> None:
    fields = top.fields()
    version = fields.get("ckptmigrate")
    if type(version) is not int or version < 1:
        raise top.wrong("the document's version", version, "ckptmigrate")
    if version > VERSION:
        raise SourceError(
            f"written by a later ckptmigrate: document version {version}, this one reads {VERSION}",
            where=top.where,
            hint="pip install --upgrade ckptmigrate",
        )
    top.fields("ckptmigrate", "variables", "optimizers", "objects", "layout", "blobs", "metadata")


def _variable(at: Cursor, tensor: TensorOf) -> Variable:
    at.fields("name", *_TENSOR, "role", "trainable", "aliases")
    stored = _stored(at, tensor)
    role = at.optional("role", str) or "weight"
    if role not in get_args(Role):
        raise at.wrong(f"one of {', '.join(get_args(Role))}", role, "role")
    aliases = at.child("aliases")
    return Variable(
        name=at.field("name", str),
        tensor=stored.tensor,
        key=stored.key,
        role=cast("Role", role),
        trainable=at.optional("trainable", bool),
        aliases={system: aliases.texts(system) for system in aliases.fields()} if aliases else {},
        copies=stored.copies,
    )


def _optimizer(at: Cursor, tensor: TensorOf, depth: int = 0) -> OptimizerState:
    at.fields(*_OPTIMIZER)
    dialect = at.field("dialect", str)
    if dialect not in DIALECTS:
        raise at.wrong(f"one of {', '.join(DIALECTS)}", dialect, "dialect")
    if depth > _MAX_WRAPS:
        raise at.wrong(f"at most {_MAX_WRAPS} optimizers inside one another", depth)
    wraps = at.child("wraps")
    return OptimizerState(
        name=at.field("name", str),
        kind=at.field("kind", str),
        dialect=dialect,
        step=at.optional("step", int),
        hyper=_hyper(at),
        scalars=_unique(at, "scalars", [(_scalar_name(c), _stored(c, tensor)) for c in at.items("scalars")]),
        slots=_unique(at, "slots", [(_slot_key(c), _stored(c, tensor)) for c in at.items("slots")]),
        order=tuple(SlotKey(*c.record(str, str)) for c in at.items("order")),
        unbound=tuple(_stored(c, tensor, *_TENSOR) for c in at.items("unbound")),
        wraps=_optimizer(wraps, tensor, depth + 1) if wraps else None,
        parent=at.optional("parent", str) or "",
    )


def _hyper(at: Cursor) -> dict[str, float]:
    """Numbers; "nan", "inf" and "-inf" stand as text, JSON has no such numbers."""
    hyper = at.child("hyper")
    numbers = {}
    for name, value in hyper.fields().items() if hyper else ():
        is_special = value in ("nan", "inf", "-inf")
        numbers[name] = float(value) if is_special else hyper.field(name, float)  # type: ignore[union-attr]
    return numbers


def _scalar_name(at: Cursor) -> str:
    at.fields("name", *_TENSOR)
    return at.field("name", str)


def _slot_key(at: Cursor) -> SlotKey:
    at.fields("variable", "slot", *_TENSOR)
    return SlotKey(at.field("variable", str), at.field("slot", str))


def _stored(at: Cursor, tensor: TensorOf, *allowed: str) -> Stored:
    at.fields(*allowed)
    dtype = BY_NAME.get(name := at.field("dtype", str))
    if dtype is None:
        raise at.wrong("an element type", name, "dtype")
    member = at.field("member", str)
    is_open = "shape" in at.value and at.value["shape"] is None
    value = Tensor((), dtype, is_open=True) if is_open else tensor(member, dtype, at.sizes("shape", dtype.nbytes))
    return Stored(at.optional("key", str) or member, value, at.texts("copies"))


def _structure(top: Cursor) -> Structure:
    count = len(top.value["objects"]) if isinstance(top.value.get("objects"), list) else 0
    nodes = tuple(_node(c, count) for c in top.items("objects"))
    layers = tuple(_layer(c) for c in top.items("layout"))
    blobs = top.child("blobs")
    return Structure(
        objects=ObjectGraph(nodes) if top.child("objects") else None,
        layout=layers if top.child("layout") else None,
        blobs={name: _blob(blobs, name) for name in blobs.fields()} if blobs else {},
    )


def _node(at: Cursor, count: int) -> Node:
    at.fields("children", "attributes", "slots", "saver", "has_values")
    saver = at.child("saver")
    node = Node(
        children=tuple(Edge(*c.record(str, int)) for c in at.items("children")),
        attributes=tuple(Attribute(*c.record(str, str, str)) for c in at.items("attributes")),
        slots=tuple(SlotReference(*c.record(int, str, int)) for c in at.items("slots")),
        saver=cast("tuple[str, str]", saver.record(str, str)) if saver else None,
        has_values=at.optional("has_values", bool),
    )
    numbers = [e.node for e in node.children] + [n for s in node.slots for n in (s.variable, s.node)]
    wrong = [n for n in numbers if not 0 <= n < count]
    if wrong:
        raise at.wrong(f"node numbers below {count}", wrong[0])
    return node


def _layer(at: Cursor) -> Layer:
    at.fields("name", "class_name", "attributes")
    attributes = tuple(cast("tuple[str, str]", c.record(str, str)) for c in at.items("attributes"))
    return Layer(at.field("name", str), at.field("class_name", str), attributes)


def _blob(at: Cursor, name: str) -> bytes:
    try:
        return base64.b64decode(at.field(name, str), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DamagedError(f"{at.path}.{name}: not base64: {error}", where=at.where) from error


def _unique(at: Cursor, key: str, pairs: list[tuple[Any, Stored]]) -> dict[Any, Stored]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise at.wrong("each once", _twin([name for name, _ in pairs]), key)
    return found


def _twin(names: list[Any]) -> Any:
    seen = set()
    return next(n for n in names if n in seen or seen.add(n))  # type: ignore[func-returns-value]
