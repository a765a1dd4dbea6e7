"""The element types of tensors: one name each, with what every format calls it.

TensorFlow's numbers: tensorflow/core/framework/types.proto. safetensors' names: safetensors/src/tensor.rs, `Dtype`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

REF_OFFSET = 100  # types.proto: DT_FLOAT_REF = DT_FLOAT + 100, and so on; the same element type


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Attributes:
        name: The one name used in code, reports, JSON and YAML.
        tf: TensorFlow's DataType number.
        storage: Name of the numpy (or ml_dtypes) type whose bytes a file holds; empty for string, variant, resource.
        safetensors: The name in a safetensors header, or empty where it has none.
        nbytes: Bytes per element on disk; 0 for string, variant, resource. Sub-byte types take one byte each.
    """

    name: str
    tf: int
    storage: str
    safetensors: str
    nbytes: int

    @property
    def numpy(self) -> np.dtype[Any]:
        """The little-endian numpy dtype of the stored elements; object for strings, uint8 for opaque bytes."""
        return _numpy(self.name)

    @property
    def is_raw(self) -> bool:
        """True when a tensor is `nbytes` times its element count in a file: not string, variant or resource."""
        return self.nbytes > 0

    @property
    def is_float(self) -> bool:
        """True for real floating-point types, the small ones included."""
        return "float" in self.name

    def __str__(self) -> str:
        return self.name


_ML = "ml_dtypes."

DTYPES = (
    DType("float32", 1, "float32", "F32", 4),
    DType("float64", 2, "float64", "F64", 8),
    DType("int32", 3, "int32", "I32", 4),
    DType("uint8", 4, "uint8", "U8", 1),
    DType("int16", 5, "int16", "I16", 2),
    DType("int8", 6, "int8", "I8", 1),
    DType("string", 7, "", "", 0),
    DType("complex64", 8, "complex64", "C64", 8),
    DType("int64", 9, "int64", "I64", 8),
    DType("bool", 10, "bool", "BOOL", 1),
    DType("qint8", 11, "int8", "", 1),
    DType("quint8", 12, "uint8", "", 1),
    DType("qint32", 13, "int32", "", 4),
    DType("bfloat16", 14, _ML + "bfloat16", "BF16", 2),
    DType("qint16", 15, "int16", "", 2),
    DType("quint16", 16, "uint16", "", 2),
    DType("uint16", 17, "uint16", "U16", 2),
    DType("complex128", 18, "complex128", "", 16),
    DType("float16", 19, "float16", "F16", 2),
    DType("resource", 20, "", "", 0),
    DType("variant", 21, "", "", 0),
    DType("uint32", 22, "uint32", "U32", 4),
    DType("uint64", 23, "uint64", "U64", 8),
    DType("float8_e5m2", 24, _ML + "float8_e5m2", "F8_E5M2", 1),
    DType("float8_e4m3fn", 25, _ML + "float8_e4m3fn", "F8_E4M3", 1),
    DType("float8_e4m3fnuz", 26, _ML + "float8_e4m3fnuz", "F8_E4M3FNUZ", 1),
    DType("float8_e4m3b11fnuz", 27, _ML + "float8_e4m3b11fnuz", "", 1),
    DType("float8_e5m2fnuz", 28, _ML + "float8_e5m2fnuz", "F8_E5M2FNUZ", 1),
    DType("int4", 29, _ML + "int4", "", 1),
    DType("uint4", 30, _ML + "uint4", "", 1),
    DType("int2", 31, _ML + "int2", "", 1),
    DType("uint2", 32, _ML + "uint2", "", 1),
    DType("float4_e2m1fn", 33, _ML + "float4_e2m1fn", "", 1),
)

BY_NAME = {d.name: d for d in DTYPES}
BY_TF = {d.tf: d for d in DTYPES}
BY_SAFETENSORS = {d.safetensors: d for d in DTYPES if d.safetensors}

FLOAT32 = BY_NAME["float32"]
INT64 = BY_NAME["int64"]
STRING = BY_NAME["string"]
VARIANT = BY_NAME["variant"]

# numpy type name -> DType. Quantised types have no numpy type of their own: they share their storage's.
_BY_NUMPY = {d.storage.removeprefix(_ML): d for d in DTYPES if d.storage.endswith(d.name)}


@cache
def _numpy(name: str) -> np.dtype[Any]:
    dtype = BY_NAME[name]
    if dtype is STRING:
        return np.dtype(object)
    if not dtype.storage:
        return np.dtype(np.uint8)
    if dtype.storage.startswith(_ML):
        import ml_dtypes

        small: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype.storage.removeprefix(_ML)))
        return small
    return np.dtype(dtype.storage)


def from_tf(number: int) -> DType | None:
    """The type of a TensorFlow DataType number, reference types included; None for a number nobody defined.

    >>> from_tf(101).name
    'float32'
    """
    return BY_TF.get(number - REF_OFFSET if number > REF_OFFSET else number)


def from_numpy(dtype: np.dtype[Any]) -> DType | None:
    """The type of a numpy dtype in any byte order; None when there is none. Objects and bytes are strings.

    >>> from_numpy(np.dtype(">u2")).name
    'uint16'
    """
    if dtype.kind in "OSU":
        return STRING
    return _BY_NUMPY.get(dtype.name)
