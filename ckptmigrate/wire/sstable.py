"""LevelDB-format tables: the container of a bundle's `.index` and of V1 checkpoint files.

Layout: leveldb doc/table_format.md; TensorFlow's copy is tsl/lib/io (table.cc, table_builder.cc). Data blocks come
first, then named blocks, the metaindex, the index, and a footer of 48 bytes that points to the last two.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.blocks import (
    TRAILER,
    BlockBuilder,
    Handle,
    KeyBudget,
    common_prefix,
    find_entry,
    open_block,
    read_handle,
    scan_entries,
    seal,
    write_handle,
)
from ckptmigrate.wire.protobuf import MalformedError
from ckptmigrate.wire.reading import opened, stream

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48
BLOCK_BYTES = 262144  # tsl/lib/io/table_options.h, `block_size`: a block is flushed once it has grown to this

# Expanded keys may take this, or this multiple of the file, whichever is more. Real tables stay below 4.
_KEY_BYTES_FLOOR = 1 << 20
_KEY_BYTES_PER_FILE_BYTE = 16


class Table(NamedTuple):
    """A table whose index has been read; its data blocks have not.

    Attributes:
        path: The file.
        blocks: (index key, handle) of each data block, in file order. An index key is at least the block's last key
            and below the next block's first; it need not be a key of the table.
        named: Handles of the blocks that the metaindex names.
        key_budget: Bytes that the keys of all blocks together may expand to.
    """

    path: Path
    blocks: tuple[tuple[bytes, Handle], ...]
    named: Mapping[bytes, Handle]
    key_budget: int

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value), ascending.

        Raises:
            DamagedError: A block is damaged, or a key doesn't sort behind the one before it.
        """
        budget = KeyBudget(self.key_budget)
        last: bytes | None = None
        with _file(self.path) as file:
            for _, handle in self.blocks:
                entries = _entries(file, handle, self.path, budget)
                if entries and last is not None and entries[0][0] <= last:
                    raise DamagedError(
                        f"key {entries[0][0][:80]!r} does not sort behind {last[:80]!r}",
                        where=f"{self.path}, block at {handle.offset}",
                    )
                last = entries[-1][0] if entries else last
                yield from entries

    def find(self, key: bytes) -> bytes | None:
        """The value of one key, reading the one block that can hold it; None when it isn't there."""
        at = bisect_left(self.blocks, key, key=lambda block: block[0])
        if at == len(self.blocks):
            return None
        handle = self.blocks[at][1]
        with _file(self.path) as file, _placed(self.path, handle):
            return find_entry(_contents(file, handle, self.path), key, KeyBudget(self.key_budget))

    def block(self, name: bytes) -> bytes | None:
        """The contents of a named block; None when the metaindex has no such name."""
        if name not in self.named:
            return None
        with _file(self.path) as file:
            return _contents(file, self.named[name], self.path)


def is_table(path: Path) -> bool:
    """Whether the file ends as a table does."""
    try:
        with _file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(MAGIC)))
            return size >= FOOTER and file.read() == MAGIC
    except (SourceError, OSError):
        return False


def read_table(path: Path) -> Table:
    """Opens a table: footer, index and metaindex.

    Raises:
        SourceError: The file can't be opened.
        DamagedError: It isn't a table, or its index is damaged.
    """
    with _file(path) as file:
        size = os.fstat(file.fileno()).st_size
        metaindex, index = _footer(file, size, path)
        budget = max(_KEY_BYTES_FLOOR, size * _KEY_BYTES_PER_FILE_BYTE)
        body = size - FOOTER
        for handle in (metaindex, index):
            _check_inside(handle, 0, body, f"{path}, footer")
        blocks = [(key, _handle(value, path)) for key, value in _entries(file, index, path, KeyBudget(budget))]
        named = [(key, _handle(value, path)) for key, value in _entries(file, metaindex, path, KeyBudget(budget))]
    end = 0
    for key, handle in blocks:
        _check_inside(handle, end, index.offset, f"{path}, index entry {key[:80]!r}")
        end = handle.offset + handle.size + TRAILER
    for key, handle in named:
        _check_inside(handle, 0, body, f"{path}, metaindex entry {key[:80]!r}")
    return Table(path, tuple(blocks), dict(named), budget)


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    with opened(path, 0, 0) as descriptor, stream(path, descriptor) as file:
        yield file


def _footer(file: BinaryIO, size: int, path: Path) -> tuple[Handle, Handle]:
    if size < FOOTER:
        raise DamagedError(f"{size} bytes, a table has at least {FOOTER}: truncated, or no checkpoint", where=str(path))
    file.seek(size - FOOTER)
    footer = file.read(FOOTER)
    where = f"{path}, byte {size - FOOTER}"
    if footer[-len(MAGIC) :] != MAGIC:
        text = f"no table magic at the end: found {footer[-8:].hex()}, expected {MAGIC.hex()}"
        raise DamagedError(text, where=where, hint="cut off, or no checkpoint: compare its size with the original's")
    try:
        metaindex, at = read_handle(footer[: -len(MAGIC)], 0)
        index, _ = read_handle(footer[: -len(MAGIC)], at)
    except MalformedError as error:
        raise error.damaged(where) from error
    return metaindex, index


def _check_inside(handle: Handle, start: int, end: int, where: str) -> None:
    if handle.offset < start or handle.offset + handle.size + TRAILER > end:
        raise DamagedError(
            f"block of {handle.size} bytes at {handle.offset} is not inside bytes {start} to {end}", where=where
        )


def _handle(value: bytes, path: Path) -> Handle:
    try:
        return read_handle(value, 0)[0]
    except MalformedError as error:
        raise error.damaged(f"{path}, a block's handle") from error


def _contents(file: BinaryIO, handle: Handle, path: Path) -> bytes:
    where = f"{path}, block at {handle.offset}"
    try:
        file.seek(handle.offset)
        body, trailer = file.read(handle.size), file.read(TRAILER)
    except (OSError, MemoryError) as error:
        raise SourceError(f"{handle.size} bytes can't be read: {error}", where=where) from error
    if len(trailer) < TRAILER:
        raise DamagedError(f"{len(body)} bytes of {handle.size} and a trailer could be read", where=where)
    return open_block(body, trailer, where)


def _entries(file: BinaryIO, handle: Handle, path: Path, budget: KeyBudget) -> list[tuple[bytes, bytes]]:
    with _placed(path, handle):
        contents = _contents(file, handle, path)
        return [(key, contents[start:end]) for key, start, end in scan_entries(contents, budget)]


@contextmanager
def _placed(path: Path, handle: Handle) -> Iterator[None]:
    """Says which block is malformed."""
    try:
        yield
    except MalformedError as error:
        raise error.damaged(f"{path}, block at {handle.offset}") from error


def write_table(
    file: BinaryIO, items: Iterable[tuple[bytes, bytes]], named: Mapping[bytes, bytes] | None = None
) -> None:
    """Writes a table, byte for byte as TensorFlow does when there are no named blocks.

    Args:
        file: Where to; its position is the table's start.
        items: (key, value), strictly ascending.
        named: Contents of further blocks by their name in the metaindex, which TensorFlow leaves alone.
    """
    writer = _TableWriter(file)
    block = BlockBuilder()
    pending: Handle | None = None
    for key, value in items:
        if pending is not None:
            writer.index.add(_separator(block.last_key, key), write_handle(pending))
            block, pending = BlockBuilder(), None
        block.add(key, value)
        if block.size >= BLOCK_BYTES:
            pending = writer.put(block.finish())
    if block and pending is None:
        pending = writer.put(block.finish())
    if pending is not None:
        writer.index.add(_successor(block.last_key), write_handle(pending))
    metaindex = BlockBuilder()
    for name, contents in sorted((named or {}).items()):
        metaindex.add(name, write_handle(writer.put(contents)))
    handles = write_handle(writer.put(metaindex.finish())) + write_handle(writer.put(writer.index.finish()))
    file.write(handles.ljust(FOOTER - len(MAGIC), b"\0") + MAGIC)


class _TableWriter:
    """The file behind a table that grows, and its index."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self.index = BlockBuilder(interval=1)

    def put(self, contents: bytes) -> Handle:
        handle = Handle(self._offset, len(contents))
        self._offset += self._file.write(seal(contents))
        return handle


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key that is at least `last` and below `following` (leveldb, FindShortestSeparator).

    >>> _separator(b"layer_1/kernel", b"layer_5/bias"), _separator(b"conv", b"conv/w")
    (b'layer_2', b'conv')
    """
    at = common_prefix(last, following)
    if at < min(len(last), len(following)) and last[at] < 0xFF and last[at] + 1 < following[at]:
        return last[:at] + bytes([last[at] + 1])
    return last


def _successor(last: bytes) -> bytes:
    r"""A short key that is at least `last` (leveldb, FindShortSuccessor).

    >>> _successor(b"weights"), _successor(b"\xff\xffa")
    (b'x', b'\xff\xffb')
    """
    for at, byte in enumerate(last):
        if byte != 0xFF:
            return last[:at] + bytes([byte + 1])
    return last
