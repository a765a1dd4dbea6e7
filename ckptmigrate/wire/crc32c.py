"""CRC-32C (Castagnoli), the checksum of every table block and tensor, and the masked form in which files store it.

Masking: tensorflow/tsl (xla/tsl/lib/hash/crc32c.h), `Mask` and `Unmask`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcrc.crc32 import iscsi

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MASK_DELTA = 0xA282EAD8
_UINT32 = 0xFFFFFFFF

MASKED_EMPTY = _MASK_DELTA  # the masked checksum of no bytes: what an empty tensor stores


def crc32c(data: ReadableBuffer, crc: int = 0) -> int:
    """The checksum of `data` (any C-contiguous buffer, not copied), continuing from that of the bytes before it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    >>> crc32c(b"6789", crc32c(b"12345")) == crc32c(b"123456789")
    True
    """
    return iscsi(data, crc)


def mask(crc: int) -> int:
    """The form in which files store a checksum: rotated right by 15 bits, plus a constant.

    >>> hex(mask(0))
    '0xa282ead8'
    """
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _UINT32


def unmask(masked: int) -> int:
    """The checksum behind its stored form.

    >>> unmask(mask(0xe3069283)) == 0xe3069283
    True
    """
    rotated = (masked - _MASK_DELTA) & _UINT32
    return ((rotated >> 17) | (rotated << 15)) & _UINT32
