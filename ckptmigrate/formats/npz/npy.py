"""The .npy form of one array: its header, and its elements from bytes. No pickles.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (NEP 1), versions 1.0, 2.0 and 3.0.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ckptmigrate.document.fields import wrong_shape
from ckptmigrate.dtypes import STRING, DType, from_numpy
from ckptmigrate.errors import DamagedError, SourceError

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # NumPy's own limit for headers that it parses safely
MAX_PREFIX_BYTES = len(MAGIC) + 2 + 4 + MAX_HEADER_BYTES
_MAX_EMPTY = 1 << 20  # texts without bytes in one array: no file size vouches for their number
_LENGTHS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}  # format of the header's length, by version
_PYTHON2_LONG = re.compile(r"(?<=\d)L\b")  # Python 2 wrote sizes as (3L, 4L)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What a .npy file says of its array.

    Attributes:
        dtype: Our element type; STRING for fixed-width bytes and texts.
        stored: NumPy's type of the stored elements, byte order included.
        shape: Sizes per dimension.
        is_fortran: True when the first dimension varies fastest.
        start: Where the elements begin, from the start of the .npy bytes.
    """

    dtype: DType
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    start: int

    @property
    def is_big_endian(self) -> bool:
        """Whether the elements' bytes are the other way round."""
        return bool(self.stored.newbyteorder("<") != self.stored)

    @property
    def is_raw(self) -> bool:
        """Whether the bytes lie as `Extent` wants them: C order, and not strings."""
        return not self.is_fortran and self.dtype is not STRING

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.stored.itemsize * math.prod(self.shape)


def parse_header(data: bytes, where: str) -> ArrayHeader:
    """Reads the header at the start of a .npy file.

    Args:
        data: The first `MAX_PREFIX_BYTES` bytes, or all if there are fewer.
        where: File and member, for messages.

    Raises:
        SourceError: An array of Python objects, or of a type that we have no name for.
        DamagedError: No .npy header, or one that makes no sense.
    """
    text, start = _header_text(data, where)
    try:
        stored, is_fortran, shape = _fields(text)
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, MemoryError, RecursionError) as error:
        raise DamagedError(f"not a .npy header: {text[:80]!r}", where=where) from error
    reason = wrong_shape(shape, stored.itemsize) if type(shape) is tuple else "a tuple of sizes"
    if reason or type(is_fortran) is not bool:
        raise DamagedError(f"{reason or 'fortran_order True or False'} expected, {text[:80]!r} found", where=where)
    return ArrayHeader(_type(stored, shape, where), stored, shape, bool(is_fortran) and len(shape) > 1, start)


def header_bytes(dtype: DType, shape: tuple[int, ...]) -> bytes:
    """The header of an array in C order, as NumPy writes it."""
    out = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype.numpy)
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


def elements(data: np.ndarray[Any, Any], header: ArrayHeader, where: str) -> np.ndarray[Any, Any]:
    """The array behind its bytes.

    Args:
        data: The elements' bytes, flat uint8.
        header: What they are.
        where: File and member, for messages.

    Raises:
        DamagedError: Texts that are no Unicode.
    """
    if not header.stored.itemsize:
        return np.full(header.shape, b"", object)
    if header.is_fortran:
        values = data.view(header.stored).reshape(header.shape[::-1]).T
    else:
        values = data.view(header.stored).reshape(header.shape)
    if header.dtype is STRING:
        return _strings(values, where)
    native: np.ndarray[Any, Any] = values.astype(header.dtype.numpy, copy=False)
    return native


@lru_cache(maxsize=1024)  # an archive's arrays share few types and shapes
def _fields(text: str) -> tuple[np.dtype[Any], object, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes in literals are no news
        fields = ast.literal_eval(_PYTHON2_LONG.sub("", text.strip()))
    return np.dtype(fields["descr"]), fields["fortran_order"], fields["shape"]


def _header_text(data: bytes, where: str) -> tuple[str, int]:
    """The header's text, and where it ends."""
    version = tuple(data[len(MAGIC) : len(MAGIC) + 2])
    if not data.startswith(MAGIC) or version not in _LENGTHS:
        raise DamagedError(f".npy of version 1 to 3 expected, {data[:8]!r} found", where=where)
    form = _LENGTHS[version]
    at = len(MAGIC) + 2 + struct.calcsize(form)
    length = struct.unpack(form, data[len(MAGIC) + 2 : at])[0] if len(data) >= at else 0
    if length > MAX_HEADER_BYTES or len(data) < at + length:
        raise DamagedError(f"a .npy header of {length} bytes; {min(len(data) - at, MAX_HEADER_BYTES)} fit", where=where)
    return data[at : at + length].decode("utf-8" if version == (3, 0) else "latin-1", "replace"), at + length


def _type(stored: np.dtype[Any], shape: tuple[int, ...], where: str) -> DType:
    if stored.hasobject:
        raise SourceError(
            "an array of Python objects: a pickle, which runs code when it is read",
            where=where,
            hint="load it yourself, if you trust it, and save numbers: numpy.savez(path, **arrays)",
        )
    dtype = from_numpy(stored)
    if dtype is None:
        raise SourceError(f"element type {stored} isn't supported", where=where, hint="save it as a plain NumPy type")
    if stored.itemsize == 0 and math.prod(shape) > _MAX_EMPTY:
        raise DamagedError(f"elements of no bytes in an array of shape {shape}", where=where)
    return dtype


def _strings(values: np.ndarray[Any, Any], where: str) -> np.ndarray[Any, Any]:
    try:
        flat = [v if isinstance(v, bytes) else v.encode("utf-8") for v in values.ravel().tolist()]
    except (ValueError, SystemError) as error:  # lone surrogates; numbers past Unicode's end (CPython's own answer)
        raise DamagedError(f"not Unicode: {error}", where=where) from error
    strings: np.ndarray[Any, Any] = np.empty(values.shape, object)
    strings.ravel()[:] = flat
    return strings
