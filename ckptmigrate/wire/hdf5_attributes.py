"""Attributes of HDF5 objects, and the element types of attributes and datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.dtypes import STRING, DType, from_numpy

# H5_ITER_NATIVE: to sort, HDF5 1.14 takes room for a table, and frees what it didn't fill when a file is damaged.
AS_STORED = 2
_NUMBERS = "biufc"  # NumPy's kinds of them

Attribute = str | int | float | bool | tuple[Any, ...]


def texts(attributes: Mapping[str, Attribute], name: str) -> tuple[str, ...] | None:
    """An attribute of texts, or None; Keras cuts what is too long for a header into `name0`, `name1`...

    >>> texts({"names0": ("a",), "names1": ("b",)}, "names")
    ('a', 'b')
    """
    if name in attributes:
        return _as_texts(attributes[name])
    parts: list[str] = []
    number = 0
    while (found := attributes.get(f"{name}{number}")) is not None:
        parts += _as_texts(found)
        number += 1
    return tuple(parts) if number else None


def text(attributes: Mapping[str, Attribute], name: str) -> str | None:
    """An attribute that is one text, or None."""
    found = attributes.get(name)
    return found if isinstance(found, str) else None


def _as_texts(value: Attribute) -> tuple[str, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(v for v in values if isinstance(v, str))


class Form(NamedTuple):
    """An element type, whatever number of datasets have it.

    Attributes:
        stored: As NumPy has it.
        nbytes: Bytes of an element.
        dtype: Ours; None where there is none.
        is_opaque: Bytes that only an attribute of the dataset tells the type of.
        is_exact: The bytes are what NumPy takes them for.
    """

    stored: np.dtype[Any]
    nbytes: int
    dtype: DType | None
    is_opaque: bool = False
    is_exact: bool = False


def attribute_names(owner: Any) -> list[bytes]:
    """The names of an object's attributes, as stored."""
    import h5py

    names: list[bytes] = []
    if h5py.h5a.get_num_attrs(owner):
        h5py.h5a.iterate(owner, names.append, order=AS_STORED)
    return sorted(names)


def name_of(stored: bytes) -> str:
    """A name; bytes that are not UTF-8 as surrogates."""
    return stored.decode("utf-8", "surrogateescape")


def stored_name(name: str) -> bytes:
    """A name as `name_of` was given it.

    >>> stored_name(name_of(b"caf\\xe9"))
    b'caf\\xe9'
    """
    return name.encode("utf-8", "surrogateescape")


def form_of(kind: Any) -> Form:
    """An element type of HDF5."""
    import h5py

    try:
        stored = kind.dtype
    except TypeError:  # types that NumPy has no counterpart for
        stored = np.dtype(np.void)
    if stored.kind == "O":
        return Form(stored, kind.get_size(), STRING if h5py.check_string_dtype(stored) is not None else None)
    is_opaque = stored.kind == "V" and stored.names is None and stored.subdtype is None
    is_exact = (is_opaque or stored.kind in _NUMBERS) and kind.equal(h5py.h5t.py_create(stored))
    return Form(stored, kind.get_size(), from_numpy(stored), is_opaque, is_exact)


def value_of(attribute: Any, form: Form) -> Attribute | None:
    """An attribute's value: texts as str whatever their form, arrays as tuples; None for what is neither."""
    import h5py

    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return ()
    if form.stored.kind == "O" and form.dtype is not STRING:
        return None
    array = np.empty(attribute.shape, dtype=form.stored)
    attribute.read(array)
    values = array.tolist()
    return tuple(map(_plain, array.reshape(-1).tolist())) if array.shape else _plain(values)


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
