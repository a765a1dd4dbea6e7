"""Blocks of a LevelDB-format table: prefix-compressed entries, their checksum trailer, and handles that point to them.

Layout: leveldb doc/table_format.md; TensorFlow's copy is tsl/lib/io (block.cc, block_builder.cc, format.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckptmigrate.errors import DamagedError
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.protobuf import MalformedError, read_varint, varint

TRAILER = 5  # compression byte and masked CRC-32C
RESTART_INTERVAL = 16
NO_COMPRESSION, SNAPPY = 0, 1

# Snappy's best case is 3 bytes for a copy of 64 (format_description.txt): no valid block grows more than this.
_MAX_SNAPPY_GROWTH = 22

_UINT32 = struct.Struct("<I")


class Handle(NamedTuple):
    """Where a block lies in the file; `size` leaves out the trailer."""

    offset: int
    size: int


class KeyBudget:
    """How many bytes a table's expanded keys may still take: four bytes can ask for the previous huge key again."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def read_handle(data: bytes, at: int) -> tuple[Handle, int]:
    """The handle at `at` (two varints) and the offset behind it."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return Handle(offset, size), at


def write_handle(handle: Handle) -> bytes:
    """The handle as two varints."""
    return varint(handle.offset) + varint(handle.size)


def open_block(body: bytes, trailer: bytes, where: str) -> bytes:
    """The contents of a block as stored: checksum verified, decompressed.

    Raises:
        DamagedError: Wrong checksum, unknown compression, or a compressed length that can't be true.
    """
    kind, expected = trailer[0], _UINT32.unpack_from(trailer, 1)[0]
    found = mask(crc32c(trailer[:1], crc32c(body)))
    if found != expected:
        raise DamagedError(f"block checksum is {found:#010x}, the file says {expected:#010x}", where=where)
    if kind == NO_COMPRESSION:
        return body
    if kind == SNAPPY:
        return _decompress(body, where)
    raise DamagedError(f"unknown block compression {kind}; 0 (none) and 1 (snappy) exist", where=where)


def _decompress(body: bytes, where: str) -> bytes:
    import cramjam

    try:
        length, _ = read_varint(body, 0)
    except MalformedError as error:
        raise error.damaged(where) from error
    if length > len(body) * _MAX_SNAPPY_GROWTH:
        raise DamagedError(f"{len(body)} bytes of snappy can't hold the {length} bytes they declare", where=where)
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise DamagedError(f"snappy data is damaged: {error}", where=where) from error


def find_entry(block: bytes, key: bytes, budget: KeyBudget) -> bytes | None:
    """The value of one key in a block's contents, found through the restarts; None when it isn't there.

    Raises:
        MalformedError: As `scan_entries`.
    """
    end = _entries_end(block)
    low, high = 0, (len(block) - 4 - end) // 4  # the restart at `low` is not behind the key, that at `high` is
    while high - low > 1:
        middle = (low + high) // 2
        (at,) = _UINT32.unpack_from(block, end + 4 * middle)
        known = next(scan_entries(block, KeyBudget(len(block)), at), None)
        low, high = (middle, high) if known is not None and known[0] <= key else (low, middle)
    (at,) = _UINT32.unpack_from(block, end + 4 * low)
    for name, start, behind in scan_entries(block, budget, at):
        if name >= key:
            return block[start:behind] if name == key else None
    return None


def scan_entries(block: bytes, budget: KeyBudget, at: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """The entries of a block's contents as (key, start of the value, its end), checked to ascend; from a restart on.

    Raises:
        MalformedError: Anything that isn't a block, with the offset in it.
    """
    end = _entries_end(block)
    key, first = b"", at
    while at < end:
        start = at
        shared, unshared, size = block[at], block[at + 1], block[at + 2]  # restarts follow: never past the block
        at += 3
        if (shared | unshared | size) >= 0x80:
            shared, at = read_varint(block, start)
            unshared, at = read_varint(block, at)
            size, at = read_varint(block, at)
        middle = at + unshared
        at = middle + size
        if at > end:
            raise MalformedError(f"an entry of {unshared} + {size} bytes runs past the block's entries", start)
        if shared > len(key):
            raise MalformedError(f"a key shares {shared} bytes with one of {len(key)}", start)
        budget.left -= shared + unshared
        if budget.left < 0:
            raise MalformedError("the keys expand to far more than the file's size", start)
        previous, key = key, key[:shared] + block[middle - unshared : middle]
        if key <= previous and start != first:
            raise MalformedError(f"key {key[:80]!r} does not sort behind {previous[:80]!r}", start)
        yield key, middle, at


def _entries_end(block: bytes) -> int:
    """Where the entries end and the restart offsets begin."""
    if len(block) < 8:
        raise MalformedError(f"a block of {len(block)} bytes; the smallest has 8", 0)
    (count,) = _UINT32.unpack_from(block, len(block) - 4)
    end: int = len(block) - 4 - 4 * count
    if count < 1 or end < 0:
        raise MalformedError(f"a block of {len(block)} bytes says it has {count} restarts", len(block) - 4)
    restarts = struct.unpack_from(f"<{count}I", block, end)
    if restarts[0] != 0 or max(restarts) > end:
        raise MalformedError(f"a restart lies outside the block's {end} bytes of entries", end)
    return end


class BlockBuilder:
    """Collects ascending entries into the contents of one block."""

    def __init__(self, interval: int = RESTART_INTERVAL) -> None:
        self._interval = interval
        self._parts: list[bytes] = []
        self._size = 0
        self._restarts = [0]
        self._since_restart = 0
        self.last_key = b""

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def size(self) -> int:
        """Bytes of the finished contents."""
        return self._size + 4 * len(self._restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        """Appends an entry; keys ascend."""
        shared = 0
        if self._since_restart == self._interval:
            self._restarts.append(self._size)
            self._since_restart = 0
        elif self._parts:
            shared = common_prefix(self.last_key, key)
        entry = varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        self._parts.append(entry)
        self._size += len(entry)
        self._since_restart += 1
        self.last_key = key

    def finish(self) -> bytes:
        """The contents, without trailer."""
        return b"".join(self._parts) + _pack(self._restarts) + _pack([len(self._restarts)])


def _pack(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def seal(contents: bytes) -> bytes:
    """Contents as they are stored: uncompressed, with trailer."""
    checked = contents + bytes([NO_COMPRESSION])
    return checked + _UINT32.pack(mask(crc32c(checked)))


def common_prefix(a: bytes, b: bytes) -> int:
    """How many leading bytes two keys share.

    >>> common_prefix(b"conv/w", b"conv/b")
    5
    """
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # a[:low] is shared, a[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
