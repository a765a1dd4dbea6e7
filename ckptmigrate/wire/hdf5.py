"""HDF5 files, opened with guards: every group's attributes and every dataset's form first, elements when wanted.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, through h5py, which loads on first use. What leads
out of the file is refused: links, external storage, virtual datasets, filters to be loaded as plugins. So are
forms that promise far more than is stored. No handle stays open between calls. Raw bytes are read without HDF5.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.dtypes import BY_NAME, STRING, DType
from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.wire.hdf5_attributes import (
    AS_STORED,
    Attribute,
    Form,
    attribute_names,
    form_of,
    name_of,
    stored_name,
    value_of,
)
from ckptmigrate.wire.hdf5_window import Window, growing_by
from ckptmigrate.wire.reading import opened, read_bytes

MAGIC = b"\x89HDF\r\n\x1a\n"

# A dataset of this many bytes that are this many times what is stored is a bomb: deflate shrinks 1032 times at most.
BOMB_BYTES = 16 << 20
BOMB_RATIO = 1100
MAX_DEPTH = 256  # of groups: a path grows with each; the deepest models have some 30

# What a structure may take in memory: HDF5 allocates as many bytes for a string as its length says, up to 4 GiB each,
# before it looks whether they are there.
_ALLOWANCE = 64 << 20
_SHARE = 8  # times the file's size; of many small datasets, some 1.5 KB each in the file, HDF5 takes six times that

_HARD_LINK = 0  # H5L_TYPE_HARD
# H5Z_FILTER_DEFLATE..SCALEOFFSET and lzf, which h5py brings along. Others HDF5 would look for in plugin folders.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
# What h5py raises for damaged files; MemoryError for what doesn't fit.
_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError, SystemError)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an HDF5 file lies: a file, or `size` bytes of one from `base` on (a stored member of a zip archive)."""

    file: Path
    base: int = 0
    size: int = -1


@dataclass(frozen=True, slots=True)
class Raw:
    """Where a dataset's elements lie in C order, neither cut nor filtered: bytes from the start of `Place.file`."""

    offset: int
    nbytes: int
    is_big_endian: bool


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset.

    Attributes:
        place: The HDF5 file it is in.
        path: Its path there, without a slash in front.
        shape: Extents per dimension.
        dtype: Element type, or None when it is none of ours.
        stored: HDF5's type as NumPy has it, byte order included.
        raw: Its bytes, where they lie raw.
    """

    place: Place
    path: str
    shape: tuple[int, ...]
    dtype: DType | None
    stored: np.dtype[Any]
    raw: Raw | None = None

    def read(self) -> np.ndarray[Any, Any]:
        """The elements, of `dtype.numpy`; bytes objects for strings.

        Raises:
            SourceError: An element type that isn't supported, or the file is gone.
            DamagedError: The file is damaged.
        """
        where = _at(self.place, self.path)
        if self.dtype is None:
            raise SourceError(f"element type {self.stored} isn't supported", where=where)
        if self.raw is not None:
            data, _ = read_bytes(self.place.file, self.raw.offset, self.raw.nbytes, self.path)
            values = data.view(self.stored).reshape(self.shape)
        else:
            with _opened(self.place, self.path) as root:
                found = root[stored_name(self.path)]
                values = self._strings(found) if self.dtype is STRING else found[()]
        values = np.asarray(values)
        if values.shape != self.shape or (values.dtype.kind == "O") != (self.dtype is STRING):
            raise DamagedError("no elements: HDF5 calls it empty", where=where)
        if self.stored.kind == "V":
            return np.ascontiguousarray(values).reshape(-1).view(self.dtype.numpy).reshape(self.shape)
        native: np.ndarray[Any, Any] = values.astype(self.dtype.numpy, copy=False)
        return native

    def _strings(self, dataset: Any) -> np.ndarray[Any, Any]:
        """One by one: many may point to the same bytes, so that nothing but this bounds their sum."""
        left = self.place.file.stat().st_size
        values: np.ndarray[Any, Any] = np.empty(self.shape, object)
        with growing_by(_ALLOWANCE + _SHARE * left):
            for index in np.ndindex(self.shape):
                values[index] = bytes(dataset[index])
                left -= len(values[index])
                if left < 0:
                    raise DamagedError("more strings than the file has bytes", where=_at(self.place, self.path))
        return values


@dataclass(frozen=True, slots=True)
class Tree:
    """What an HDF5 file holds: the attributes of every group by its path ("" for the root), and every dataset."""

    place: Place
    groups: dict[str, dict[str, Attribute]] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do (superblock at byte 0); never raises."""
    try:
        with opened(path, 0, len(MAGIC)) as descriptor:
            return os.pread(descriptor, len(MAGIC), 0) == MAGIC
    except (SourceError, OSError):
        return False


def read_root(place: Place) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the root group's attributes, and of what it holds; for recognition. Raises as `read_tree` does."""
    with _opened(place, "") as root:
        names, links = attribute_names(root.id), _links(root.id)
        return frozenset(map(name_of, names)), frozenset(name_of(link[0]) for link in links)


def read_tree(place: Place) -> Tree:
    """Reads the structure of a file; no elements.

    Raises:
        SourceError: It can't be opened, or is packed by a filter that HDF5 doesn't bring along.
        DamagedError: No HDF5 file, or damaged, or one that leads out of itself, in a circle, or promises too much.
    """
    with _opened(place, "") as root, growing_by(_ALLOWANCE + _SHARE * place.file.stat().st_size):
        tree = Tree(place)
        walker = _Walker(tree, root.id, place.file.stat().st_size)
        pending = [("", root.id, 0)]
        while pending:
            path, group, depth = pending.pop()
            pending += reversed(walker.visit(path, group, depth))
        return tree


class _Walker:
    """Looks at groups, one after the other, and puts what it finds into a tree.

    Every call of h5py counts: files have tens of thousands of objects, and each takes some twenty calls.
    """

    def __init__(self, tree: Tree, root: Any, file_size: int) -> None:
        import h5py

        self.tree = tree
        self.file_size = file_size
        self.end = tree.place.size if tree.place.size >= 0 else file_size
        self.seen = {h5py.h5o.get_info(root).addr}
        self.forms: dict[bytes, Form] = {}

    def visit(self, path: str, group: Any, depth: int) -> list[tuple[str, Any, int]]:
        """One group; returns those in it."""
        import h5py

        self.tree.groups[path] = self._attributes(group, path)
        inner = []
        for name, kind, address in _links(group):
            full = f"{path}/{name_of(name)}" if path else name_of(name)
            if kind != _HARD_LINK:
                message = "a link that may lead out of the file: not followed"
                raise DamagedError(message, where=_at(self.tree.place, full))
            if address in self.seen or depth == MAX_DEPTH:
                message = "hard links lead to a group in circles, or twice"
                raise DamagedError(message, where=_at(self.tree.place, full))
            found = h5py.h5o.open(group, name)
            if isinstance(found, h5py.h5d.DatasetID):
                self.tree.datasets[full] = self._dataset(full, found)
            elif isinstance(found, h5py.h5g.GroupID):
                self.seen.add(address)
                inner.append((full, found, depth + 1))
        return inner

    def _attributes(self, owner: Any, path: str) -> dict[str, Attribute]:
        import h5py

        values: dict[str, Attribute] = {}
        for name in attribute_names(owner):
            attribute = h5py.h5a.open(owner, name)
            called, form = name_of(name), self._form(attribute.get_type())
            if math.prod(attribute.shape or ()) * form.nbytes > self.file_size:
                message = f"attribute {called!r} would be larger than the file"
                raise DamagedError(message, where=_at(self.tree.place, f"/{path}"))
            value = value_of(attribute, form)
            if value is not None:
                values[called] = value
        return values

    def _dataset(self, path: str, found: Any) -> Dataset:
        place, offset = self.tree.place, found.get_offset()
        shape, form = tuple(found.shape or ()), self._form(found.get_type())
        nbytes, kept = math.prod(shape) * form.nbytes, found.get_storage_size()
        if nbytes > BOMB_BYTES and nbytes > BOMB_RATIO * kept:
            raise DamagedError(f"{nbytes} bytes promised, {kept} stored: a bomb", where=_at(place, path))
        if offset is None:  # else the elements lie in one piece, in this file and as they are
            _check_storage(found.get_create_plist(), form, max(kept, nbytes), kept, _at(place, path))
        raw, stored = None, form.stored
        dtype = self._named(found, form, path) if form.is_opaque else form.dtype
        if offset is not None and kept and form.is_exact and dtype is not None and dtype.is_raw:
            if kept != nbytes or offset + nbytes > self.end:
                message = f"{nbytes} bytes expected, the file ends before them: truncated"
                raise DamagedError(message, where=_at(place, path))
            raw = Raw(place.base + offset, nbytes, stored.newbyteorder("<") != stored)
        return Dataset(place, path, shape, dtype, stored, raw)

    def _named(self, dataset: Any, form: Form, path: str) -> DType | None:
        """Our type for opaque bytes: Keras 3 stores types that HDF5 lacks so, with an attribute that names them."""
        named = BY_NAME.get(str(self._attributes(dataset, path).get("dtype")))
        return named if named is not None and named.is_raw and named.nbytes == form.nbytes else None

    def _form(self, kind: Any) -> Form:
        """What an HDF5 type is here; asked once for every type that the file has."""
        told = kind.encode()
        if told not in self.forms:
            self.forms[told] = form_of(kind)
        return self.forms[told]


def _check_storage(plist: Any, form: Form, most: int, kept: int, where: str) -> None:
    """Refuses elements that lie elsewhere, that only a plugin could unpack, or in pieces that are too large."""
    import h5py

    layout, filters = plist.get_layout(), [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
        raise DamagedError("its elements lie in another file: not read", where=where)
    if not _FILTERS.issuperset(filters):
        raise SourceError(f"packed by filter {filters}: a plugin, which is not loaded", where=where)
    if layout == h5py.h5d.CHUNKED:
        chunk = math.prod(plist.get_chunk()) * form.nbytes
        if chunk > BOMB_BYTES and chunk > BOMB_RATIO * most:
            raise DamagedError(f"cut into pieces of {chunk} bytes, {kept} stored: a bomb", where=where)


def _links(group: Any) -> list[tuple[bytes, int, int]]:
    """Name, kind and address of a group's links."""
    links: list[tuple[bytes, int, int]] = []
    group.links.iterate(lambda name, link: links.append((name, link.type, link.u)), info=True, order=AS_STORED)
    return sorted(links)


def _at(place: Place, path: str) -> str:
    return f"{place.file}, {path!r}"


@contextmanager
def _opened(place: Place, path: str) -> Iterator[Any]:
    """The file's root group; whatever HDF5 has against the file becomes an error of ours."""
    import h5py

    where = _at(place, path) if path else str(place.file)
    with opened(place.file, 0, 0) as descriptor:
        end = os.fstat(descriptor).st_size
        size = place.size if place.size >= 0 else end - place.base
        if place.base + size > end:
            raise DamagedError(f"{size} bytes expected, {max(end - place.base, 0)} found: truncated", where=where)
        try:
            with h5py.File(Window(descriptor, place.file, place.base, size), "r") as file:
                yield file
        except CkptMigrateError:
            raise
        except MemoryError as error:
            raise DamagedError("what it promises doesn't fit into memory", where=where) from error
        except _ERRORS as error:
            raise DamagedError(f"not an HDF5 file, or a damaged one: {_first_line(error)}", where=where) from error


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").partition("\n")[0] or type(error).__name__
