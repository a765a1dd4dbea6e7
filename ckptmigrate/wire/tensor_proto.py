"""Tensors as protobuf messages: the constants of a graph, and the values of V1 checkpoints.

Message: tensorflow/core/framework/tensor.proto. A short list of typed values stands for a longer one: its last value
repeats (tensor_util.MakeNdarray, `Tensor::FromProto`), and of no values at all every element is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.dtypes import STRING, DType, from_tf
from ckptmigrate.errors import DamagedError
from ckptmigrate.wire.bundle_messages import decode_shape
from ckptmigrate.wire.mapped import Mapped, walk
from ckptmigrate.wire.protobuf import MalformedError, packed_varints
from ckptmigrate.wire.reading import read_bytes

# DataType number -> the field that holds its values, and the numbers in it (tensor.proto). Where the type is "", they
# are varints; where it is "u1", bytes.
FIELDS = {
    1: (5, "<f4"),
    2: (6, "<f8"),
    **dict.fromkeys((3, 4, 5, 6, 11, 12, 13, 15, 16, 17, 29, 30, 31, 32), (7, "")),
    7: (8, ""),
    8: (9, "<f4"),
    9: (10, ""),
    10: (11, ""),
    14: (13, ""),
    18: (12, "<f8"),
    19: (13, ""),
    22: (16, ""),
    23: (17, ""),
    **dict.fromkeys((24, 25, 26, 27, 28), (18, "u1")),
}
_BIT_PATTERNS = frozenset({14, 19})  # 16-bit floats, stored as integers

# A constant of less than its bytes on disk may be this large: a few bytes that declare more are an attack.
MAX_EXPANDED_BYTES = 1 << 30

_DTYPE, _SHAPE, _CONTENT = 0x08, 0x12, 0x22


class TensorPlace(NamedTuple):
    """A TensorProto in a file.

    Attributes:
        dtype, shape: Of the tensor.
        offset, nbytes: The message.
        content: (offset, nbytes) of the elements where they lie raw in it, else None.
    """

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    content: tuple[int, int] | None


def place_tensor(file: Mapped, message: memoryview) -> TensorPlace | None:
    """What a TensorProto is and where it lies; None for element types that nobody defined.

    Raises:
        DamagedError: Its shape can't be, or it holds fewer or more bytes than its shape asks for.
    """
    number, shape = 0, memoryview(b"")
    content: memoryview | None = None
    for tag, value in file.fields(message):
        if tag == _DTYPE:
            number = value
        elif tag == _SHAPE:
            shape = value
        elif tag == _CONTENT:
            content = value
    dtype = from_tf(number)
    if dtype is None:
        return None
    try:
        dims = decode_shape(bytes(shape))
    except MalformedError as error:
        raise file.damaged(str(error), shape) from error
    size = math.prod(dims) * max(dtype.nbytes, 1)
    is_raw = bool(content) and dtype.is_raw
    if content is not None and is_raw and len(content) != size:
        raise file.damaged(f"{dtype} of shape {dims} takes {size} bytes, found {len(content)}", message)
    if size > max(MAX_EXPANDED_BYTES, len(message)):
        raise file.damaged(f"{len(message)} bytes that stand for {size} in a constant of shape {dims}", message)
    raw = (file.offset(content), len(content)) if content is not None and is_raw else None
    return TensorPlace(dtype, dims, file.offset(message), len(message), raw)


def read_place(file: Any, place: TensorPlace, what: str) -> np.ndarray[Any, Any]:
    """The elements of a TensorProto.

    Args:
        file: The path of the file.
        place: Where in it.
        what: The tensor's name, for errors.

    Raises:
        SourceError: The file is gone, or the values don't fit into memory.
        DamagedError: There are more values than elements, or they don't parse.
    """
    if place.content is not None:
        stored, _ = read_bytes(file, *place.content, what)
        return stored.view(place.dtype.numpy).reshape(place.shape)
    message, _ = read_bytes(file, place.offset, place.nbytes, what)
    where = f"{file}, {what!r} at byte {place.offset}"
    try:
        flat = typed_values(list(walk(memoryview(message.data))), place.dtype)
    except MalformedError as error:
        raise error.damaged(where) from error
    size = math.prod(place.shape)
    if len(flat) > size:
        raise DamagedError(f"{len(flat)} values for shape {place.shape}", where=where)
    return _filled(flat, place.shape, place.dtype)


def _filled(flat: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: DType) -> np.ndarray[Any, Any]:
    """As many elements as the shape asks for; one value takes no more memory than itself."""
    size = math.prod(shape)
    if len(flat) == size:
        return flat.reshape(shape)
    blank = np.array([b""], object) if dtype is STRING else np.zeros(1, dtype.numpy)
    last = flat[-1:] if len(flat) else blank
    if len(flat) <= 1:
        return np.broadcast_to(last[0], shape)
    return np.concatenate([flat, np.repeat(last, size - len(flat))]).reshape(shape)


def typed_values(found: Sequence[tuple[int, Any]], dtype: DType) -> np.ndarray[Any, Any]:
    """The values of a TensorProto: all occurrences of the type's field, packed or one by one.

    Raises:
        MalformedError: They don't parse.
    """
    number, fixed = FIELDS.get(dtype.tf, (0, ""))
    chunks = [(tag & 7, value) for tag, value in found if tag >> 3 == number]
    if dtype is STRING:
        strings = [bytes(value) for kind, value in chunks if kind == 2]
        flat = np.empty(len(strings), object)
        flat[:] = strings
        return flat
    if fixed:
        parts = [_fixed(value, fixed, kind) for kind, value in chunks] or [np.empty(0, fixed)]
        flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if flat.nbytes % dtype.nbytes:
            raise MalformedError(f"{len(flat)} numbers are no whole complex ones", 0)
        return flat.view(dtype.numpy)
    numbers = [packed_varints(value) if kind == 2 else np.array([value], np.uint64) for kind, value in chunks]
    flat = np.concatenate([np.empty(0, np.uint64), *numbers])
    if dtype.tf in _BIT_PATTERNS:
        return flat.astype(np.uint16).view(dtype.numpy)
    return flat.view(np.int64).astype(dtype.numpy)


def _fixed(value: Any, fixed: str, kind: int) -> np.ndarray[Any, Any]:
    width = np.dtype(fixed).itemsize
    if kind != 2:  # one number, which arrives as an unsigned integer
        return np.array([value], f"<u{width}").view(fixed)
    if len(value) % width:
        raise MalformedError(f"{len(value)} bytes can't hold numbers of {width} bytes", 0)
    return np.frombuffer(value, fixed)
