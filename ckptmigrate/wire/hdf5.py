"""HDF5 files, opened with guards: every group's attributes and every dataset's form first, elements when wanted.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, through h5py, which loads on first use. What leads
out of the file is refused: links, external storage, virtual datasets, filters to be loaded as plugins. So are
forms that promise far more than is stored. No handle stays open between calls. Raw bytes are read without HDF5.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.dtypes import BY_NAME, STRING, DType, from_numpy
from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.wire.reading import opened, read_bytes

MAGIC = b"\x89HDF\r\n\x1a\n"

# A dataset of this many bytes that are this many times what is stored is a bomb: deflate shrinks 1032 times at most.
BOMB_BYTES = 16 << 20
BOMB_RATIO = 1100
MAX_DEPTH = 256  # of groups: a path grows with each; the deepest models have some 30

# What a structure may take in memory: HDF5 allocates as many bytes for a string as its length says, up to 4 GiB each,
# before it looks whether they are there.
_ALLOWANCE = 64 << 20
_SHARE = 4  # times the file's size

_HEAP = b"GCOL"  # strings of any length lie in such a collection
_OBJECT = struct.Struct("<H6xQ")  # header of an object in it: index, number of references, reserved, size

_HARD_LINK = 0  # H5L_TYPE_HARD
# H5Z_FILTER_DEFLATE..SCALEOFFSET and lzf, which h5py brings along. Others HDF5 would look for in plugin folders.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
# What h5py raises for damaged files; MemoryError for what doesn't fit.
_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError, SystemError)

Attribute = str | int | float | bool | tuple[Any, ...]


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
                values = self._strings(root[self.path]) if self.dtype is STRING else root[self.path][()]
        values = np.asarray(values)
        if self.stored.kind == "V":
            return np.ascontiguousarray(values).reshape(-1).view(self.dtype.numpy).reshape(self.shape)
        native: np.ndarray[Any, Any] = values.astype(self.dtype.numpy, copy=False)
        return native

    def _strings(self, dataset: Any) -> np.ndarray[Any, Any]:
        """One by one: many may point to the same bytes, so that nothing but this bounds their sum."""
        left = self.place.file.stat().st_size
        values: np.ndarray[Any, Any] = np.empty(self.shape, object)
        with _growing_by(_ALLOWANCE + _SHARE * left):
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
        with opened(path) as descriptor:
            return os.pread(descriptor, len(MAGIC), 0) == MAGIC
    except (SourceError, OSError):
        return False


def read_root(place: Place) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the root group's attributes, and of what it holds; for recognition. Raises as `read_tree` does."""
    with _opened(place, "") as root:
        return frozenset(root.attrs), frozenset(root)


def read_tree(place: Place) -> Tree:
    """Reads the structure of a file; no elements.

    Raises:
        SourceError: It can't be opened, or is packed by a filter that HDF5 doesn't bring along.
        DamagedError: No HDF5 file, or damaged, or one that leads out of itself, in a circle, or promises too much.
    """
    with _opened(place, "") as root, _growing_by(_ALLOWANCE + _SHARE * place.file.stat().st_size):
        tree = Tree(place)
        walker = _Walker(tree, place.file.stat().st_size)
        pending = [("", root.id, 0)]
        while pending:
            path, group, depth = pending.pop()
            pending += reversed(walker.visit(path, group, depth))
        return tree


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


class _Walker:
    """Looks at groups, one after the other, and puts what it finds into a tree."""

    def __init__(self, tree: Tree, file_size: int) -> None:
        self.tree = tree
        self.file_size = file_size
        self.seen: set[tuple[int, int]] = set()

    def visit(self, path: str, group: Any, depth: int) -> list[tuple[str, Any, int]]:
        """One group; returns those in it."""
        import h5py

        where = f"{self.tree.place.file}, group {'/' + path!r}"
        about = h5py.h5o.get_info(group)
        if (about.fileno, about.addr) in self.seen or depth > MAX_DEPTH:
            raise DamagedError("hard links lead to a group in circles, or twice", where=where)
        self.seen.add((about.fileno, about.addr))
        self.tree.groups[path] = self._attributes(group, where)
        names: list[bytes] = []
        group.links.iterate(names.append)
        inner = []
        for name in names:
            full = (
                f"{path}/{name.decode('utf-8', 'surrogateescape')}" if path else name.decode("utf-8", "surrogateescape")
            )
            if group.links.get_info(name).type != _HARD_LINK:
                raise DamagedError(
                    "a link that may lead out of the file: not followed", where=_at(self.tree.place, full)
                )
            found = h5py.h5o.open(group, name)
            if isinstance(found, h5py.h5g.GroupID):
                inner.append((full, found, depth + 1))
            elif isinstance(found, h5py.h5d.DatasetID):
                self.tree.datasets[full] = self._dataset(full, found)
        return inner

    def _attributes(self, owner: Any, where: str) -> dict[str, Attribute]:
        import h5py

        values: dict[str, Attribute] = {}
        for index in range(h5py.h5a.get_num_attrs(owner)):
            attribute = h5py.h5a.open(owner, index=index)
            name = attribute.name.decode("utf-8", "surrogateescape")
            if math.prod(attribute.shape or ()) * attribute.get_type().get_size() > self.file_size:
                raise DamagedError(f"attribute {name!r} would be larger than the file", where=where)
            value = _value(attribute)
            if value is not None:
                values[name] = value
        return values

    def _dataset(self, path: str, found: Any) -> Dataset:
        import h5py

        place, where = self.tree.place, _at(self.tree.place, path)
        plist, shape = found.get_create_plist(), tuple(found.shape or ())
        try:
            stored = found.dtype
        except TypeError:  # types that NumPy has no counterpart for
            stored = np.dtype(np.void)
        if plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count():
            raise DamagedError("its elements lie in another file: not read", where=where)
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        if not _FILTERS.issuperset(filters):
            raise SourceError(f"packed by filter {filters}: a plugin, which is not loaded", where=where)
        nbytes, kept = math.prod(shape) * found.get_type().get_size(), found.get_storage_size()
        if nbytes > BOMB_BYTES and nbytes > BOMB_RATIO * kept:
            raise DamagedError(f"{nbytes} bytes promised, {kept} stored: a bomb", where=where)
        if plist.get_layout() == h5py.h5d.CHUNKED:
            chunk = math.prod(plist.get_chunk()) * found.get_type().get_size()
            if chunk > BOMB_BYTES and chunk > BOMB_RATIO * max(kept, nbytes):
                raise DamagedError(f"cut into pieces of {chunk} bytes, {kept} stored: a bomb", where=where)
        raw = None
        dtype = _dtype(stored, found)
        is_plain = plist.get_layout() == h5py.h5d.CONTIGUOUS and dtype is not None and dtype.is_raw
        if is_plain and kept and not filters and found.get_type().equal(h5py.h5t.py_create(stored)):
            offset = found.get_offset()
            if kept != nbytes or offset is None or offset + nbytes > self._end():
                raise DamagedError(f"{nbytes} bytes expected, the file ends before them: truncated", where=where)
            raw = Raw(place.base + offset, nbytes, stored.newbyteorder("<") != stored)
        return Dataset(place, path, shape, dtype, stored, raw)

    def _end(self) -> int:
        return self.tree.place.size if self.tree.place.size >= 0 else self.file_size


def _at(place: Place, path: str) -> str:
    return f"{place.file}, {path!r}"


def _dtype(stored: np.dtype[Any], dataset: Any) -> DType | None:
    """Our type; Keras 3 stores types that HDF5 lacks as opaque bytes with an attribute that names them."""
    import h5py

    if stored.kind == "V" and stored.names is None and stored.subdtype is None:
        name = _value(h5py.h5a.open(dataset, b"dtype")) if h5py.h5a.exists(dataset, b"dtype") else None
        named = BY_NAME.get(name) if isinstance(name, str) else None
        return named if named is not None and named.is_raw and named.nbytes == stored.itemsize else None
    if stored.kind == "O":
        return STRING if h5py.check_string_dtype(stored) is not None else None
    return from_numpy(stored)


def _value(attribute: Any) -> Attribute | None:
    """An attribute's value: texts as str whatever their form, arrays as tuples; None for what is neither."""
    import h5py

    stored = attribute.dtype
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return ()
    if stored.kind == "O" and h5py.check_string_dtype(stored) is None:
        return None
    array = np.empty(attribute.shape, dtype=stored)
    attribute.read(array)
    plain = array.tolist()
    values = [_plain(v) for v in array.reshape(-1).tolist()] if array.shape else _plain(plain)
    return tuple(values) if isinstance(values, list) else values


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


@contextmanager
def _opened(place: Place, path: str) -> Iterator[Any]:
    """The file's root group; whatever HDF5 has against the file becomes an error of ours."""
    import h5py

    where = _at(place, path) if path else str(place.file)
    with opened(place.file) as descriptor:
        end = os.fstat(descriptor).st_size
        size = place.size if place.size >= 0 else end - place.base
        if place.base + size > end:
            raise DamagedError(f"{size} bytes expected, {max(end - place.base, 0)} found: truncated", where=where)
        try:
            with h5py.File(_Window(descriptor, place, size), "r") as file:
                yield file
        except CkptMigrateError:
            raise
        except MemoryError as error:
            raise DamagedError("what it promises doesn't fit into memory", where=where) from error
        except _ERRORS as error:
            raise DamagedError(f"not an HDF5 file, or a damaged one: {_first_line(error)}", where=where) from error


@contextmanager
def _growing_by(allowance: int) -> Iterator[None]:
    """Allocations that make this process grow by more fail while this lasts; on Linux, which tells its size."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError):
        yield
        return
    limit = used + allowance
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").partition("\n")[0] or type(error).__name__


class _Window(io.RawIOBase):
    """Some bytes of an open file, as a file of their own; read-only, and without a path HDF5 could go on from."""

    def __init__(self, descriptor: int, place: Place, size: int) -> None:
        self._descriptor, self._place, self._base, self._size, self._at = descriptor, place, place.base, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        found = os.preadv(self._descriptor, [view[:count]], self._base + self._at)
        if view[: len(_HEAP)] == _HEAP:
            _check_heap(view[:found], f"{self._place.file}, byte {self._base + self._at}")
        self._at += found
        return found


def _check_heap(heap: memoryview, what: str) -> None:
    """Refuses a heap of strings with free space of no size: HDF5 1.14 looks for the end of it for ever.

    File format, III.E: signature, version, size of the heap; then objects with index, count, and size; index 0 is what
    is free, its size includes its own header. Lengths are of 8 bytes in all files that h5py writes.
    """
    at, end = _OBJECT.size, min(len(heap), int.from_bytes(heap[8:16], "little"))
    while at + _OBJECT.size <= end:
        index, size = _OBJECT.unpack_from(heap, at)
        if not index and not size:
            raise DamagedError("free space of no size", where=what)
        at += _OBJECT.size + (size + 7) // 8 * 8 if index else size
