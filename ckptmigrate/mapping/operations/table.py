"""The operations of the mapping language, in the order of its table, and how they are read from a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptmigrate.errors import MappingError
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.operations.extent import EXTENT
from ckptmigrate.mapping.operations.join import JOIN
from ckptmigrate.mapping.operations.layout import LAYOUT
from ckptmigrate.mapping.operations.operation import Operation, Spec
from ckptmigrate.mapping.operations.rearrange import REARRANGE
from ckptmigrate.mapping.operations.select import SELECT
from ckptmigrate.mapping.operations.sizes import read_size
from ckptmigrate.mapping.operations.value import VALUE

_ALL = {spec.name: spec for spec in (*LAYOUT, *REARRANGE, *JOIN, *EXTENT, *SELECT, *VALUE)}

OPERATIONS: Mapping[str, Spec] = {name: spec for name, spec in _ALL.items() if spec.is_written}


def spec_of(operation: Operation) -> Spec:
    """The record of an operation, those that only come up on a way back included."""
    return _ALL[operation.name]


def parse(name: str, params: object = None, where: str = "") -> Operation:
    """An operation from its name and its parameters as a mapping file gives them.

    Args:
        name: One of OPERATIONS.
        params: The YAML value behind it: parameters by name, or the one that needs no name; None for none.
        where: file:line.

    Raises:
        MappingError: No such operation, or wrong parameters; the message says what is accepted.

    >>> parse("squeeze", [0, 1]).params
    {'axes': (0, 1)}
    >>> str(parse("split", {"axis": 0, "sizes": ["rest", "dim1/4"]}))
    'split {axis: 0, sizes: [rest, dim1/4]}'
    """
    if name not in OPERATIONS:
        raise _wrong(f"no operation {name!r}; there are {', '.join(OPERATIONS)}", "", where)
    spec = OPERATIONS[name]
    try:
        values = _values(spec, _named(spec, params))
        spec.check(values)
    except ValueError as problem:
        hint = f"for example `{spec.example}`" if spec.example else ""
        raise _wrong(f"{name}: {problem}", hint, where) from None
    return Operation(name, {key: value for key, value in values.items() if value is not None}, where)


def _named(spec: Spec, params: object) -> Mapping[str, object]:
    if isinstance(params, Mapping):
        return params
    if params is None or params == "":
        return {}
    if not spec.bare:
        raise ValueError(f"takes {_accepted(spec)}, found {params!r}")
    return {spec.bare: params}


def _values(spec: Spec, params: Mapping[str, object]) -> dict[str, Any]:
    unknown = [str(key) for key in params if key not in spec.fields]
    if unknown and not spec.free:
        raise ValueError(f"takes {_accepted(spec)}, found {', '.join(unknown)}")
    values: dict[str, Any] = {}
    for key, field in spec.fields.items():
        if key in params:
            values[key] = _read(key, params[key], field.read)
        elif field.required:
            raise ValueError(f"`{key}` is missing; takes {_accepted(spec)}")
        else:
            values[key] = field.default
    return values | {key: _read(key, params[key], read_size) for key in unknown}


def _read(key: str, value: object, read: Any) -> Any:
    try:
        return read(value)
    except ValueError as accepted:
        raise ValueError(f"`{key}` takes {accepted}, found {value!r}") from None


def _accepted(spec: Spec) -> str:
    if not spec.fields:
        return "no parameters"
    return ", ".join(f"`{key}`" if f.required else f"`{key}` (optional)" for key, f in spec.fields.items())


def _wrong(message: str, hint: str, where: str) -> MappingError:
    return MappingError(message, where=where, hint=hint, issues=[Issue("mapping", "error", "", message, hint, where)])
