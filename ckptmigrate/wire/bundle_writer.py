"""Writing tensor bundles: tensors in the order given, their checksums taken on the way, and the index at the end.

Follows tensorflow/core/util/tensor_bundle/tensor_bundle.cc, `BundleWriter`: raw little-endian elements in C order, no
alignment, no padding. The number of shards stands in their names, so files are named only by `finish`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ckptmigrate.dtypes import BY_TF, STRING
from ckptmigrate.errors import output_errors
from ckptmigrate.tiles import pieces
from ckptmigrate.wire.bundle_messages import BundleEntry, encode_entry, encode_header
from ckptmigrate.wire.bundle_strings import encode_strings
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.names import PROVENANCE_BLOCK, data_name, index_name
from ckptmigrate.wire.output_file import OutputFile
from ckptmigrate.wire.sstable import write_table

_CHUNK = 1 << 20  # bytes per checksum and write


class _Shard:
    """One data file in the making, under a temporary name."""

    def __init__(self, path: Path, *, is_open: bool) -> None:
        self.file = OutputFile(path)
        self.is_open = is_open  # takes further tensors
        self.size = 0


@dataclass(slots=True)
class _Run:
    """Adjacent bytes of one file on their way to one place of one shard."""

    file: Path
    offset: int
    shard: int
    at: int
    size: int = 0


class BundleWriter:
    """Writes one bundle into an existing folder.

    Tensors are appended in the order of the calls. Used as a context manager it removes what it wrote unless `finish`
    was reached.

    Args:
        folder: Where to.
        name: Base name: the files are NAME.data-SSSSS-of-NNNNN and NAME.index.
        provenance: JSON bytes for the index, beside the entries; b"" for none, and then the index is byte for byte
            the one that TensorFlow would write for these entries.
        max_shard_bytes: Begin another data file rather than grow past this; a larger tensor gets one of its own.
        on_bytes: Told how many tensor bytes were just written.

    Attributes:
        bytes_moved: Tensor bytes that came through this process.
        bytes_cloned: Tensor bytes that the filesystem shared or the kernel copied.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        provenance: bytes = b"",
        max_shard_bytes: int | None = None,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._provenance = provenance
        self._max_shard_bytes = max_shard_bytes
        self._on_bytes = on_bytes
        self._entries: dict[bytes, BundleEntry] = {}
        self._shards: list[_Shard] = []
        self._run: _Run | None = None
        self._index_paths: tuple[Path, ...] = ()
        self._is_finished = False
        self._copied: dict[tuple[Path, int, int], tuple[int, int]] = {}
        self.bytes_moved = 0
        self.bytes_cloned = 0

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run = None
        for shard in self._shards:
            shard.file.close()
        if not self._is_finished:
            for path in (*(shard.file.path for shard in self._shards), *self._index_paths):
                path.unlink(missing_ok=True)

    def add_array(self, key: str, dtype: int, array: np.ndarray[Any, Any]) -> None:
        """Appends a tensor of values in memory.

        Args:
            key: Unique in the bundle.
            dtype: TensorFlow's DataType number.
            array: Values of that type's numpy dtype, any byte order and layout; for strings an object array of bytes.

        Raises:
            ValueError: The array's type is not the type's numpy dtype, or the key was used before.
            OutputError: The data file can't be written.
        """
        element = BY_TF[dtype]
        if element is STRING:
            self.add_strings(key, array.shape, array.ravel().tolist())
            return
        if array.dtype.newbyteorder("=") != element.numpy:
            raise ValueError(f"{key!r}: an array of {array.dtype} for type {element}")
        shard, offset, crc = self._append(array.nbytes, (piece.data for piece in pieces(array, element.numpy)))
        self._add(key, BundleEntry(dtype, tuple(array.shape), shard, offset, array.nbytes, mask(crc)))

    def add_strings(self, key: str, shape: tuple[int, ...], values: Iterable[bytes]) -> None:
        """Appends a string tensor, its elements in C order."""
        strings = list(values)
        if len(strings) != math.prod(shape):
            raise ValueError(f"{key!r}: {len(strings)} strings for shape {shape}")
        stored, masked_crc = encode_strings(strings)
        self.add_opaque(key, STRING.tf, shape, stored, masked_crc)

    def add_opaque(
        self, key: str, dtype: int, shape: tuple[int, ...], raw: bytes | Iterable[bytes], masked_crc: int
    ) -> None:
        """Appends bytes as another bundle stored them (strings, variants), with the checksum that came with them."""
        data = raw if isinstance(raw, bytes) else b"".join(raw)
        shard, offset, _ = self._append(len(data), [memoryview(data)])
        self._add(key, BundleEntry(dtype, tuple(shape), shard, offset, len(data), masked_crc))

    def add_raw(self, key: str, dtype: int, shape: tuple[int, ...], file: Path, offset: int, nbytes: int) -> None:  # noqa: PLR0917
        """Appends raw little-endian bytes of another file that come without a checksum, which is taken on the way.

        Raises:
            SourceError: The file can't be opened or read.
            DamagedError: It ends before the bytes do.
        """
        self._flush()
        number = self._shard_for(nbytes)
        shard, crc = self._shards[number], 0

        def look(chunk: memoryview) -> None:
            nonlocal crc
            crc = crc32c(chunk, crc)

        shard.file.copy(file, offset, nbytes, shard.size, name=key, on_bytes=self._on_bytes, look=look)
        self._add(key, BundleEntry(dtype, tuple(shape), number, shard.size, nbytes, mask(crc)))
        shard.size += nbytes
        self.bytes_moved += nbytes

    def add_copied(  # noqa: PLR0917
        self, key: str, dtype: int, shape: tuple[int, ...], file: Path, offset: int, nbytes: int, masked_crc: int
    ) -> None:
        """Appends raw bytes of another file, copied by the kernel; runs of adjacent bytes go in one copy.

        The checksum is passed along, not verified. Bytes that were copied before are shared, not copied again.

        Raises:
            SourceError: The file can't be opened.
            DamagedError: It ends before the bytes do. Both may come with a later call, or with `finish`.
        """
        known = self._copied.get((file, offset, nbytes))
        if known is None:
            run = self._run
            follows = run is not None and run.file == file and run.offset + run.size == offset
            shard = self._shard_for(nbytes)
            if run is None or not follows or run.shard != shard:
                self._flush()
                run = self._run = _Run(file, offset, shard, self._shards[shard].size)
            known = self._copied[file, offset, nbytes] = shard, self._shards[shard].size
            run.size += nbytes
            self._shards[shard].size += nbytes
        self._add(key, BundleEntry(dtype, tuple(shape), *known, nbytes, masked_crc))

    def add_shard(self, path: Path) -> int:
        """Takes over a whole data file: blocks shared where the filesystem can, else copied by the kernel, else copied.

        Returns:
            Its number, for `add_placed`.
        """
        self._flush()
        number = self._new_shard(is_open=False)
        shard = self._shards[number]
        shared = shard.file.share(path)
        if shared is None:
            shard.size = path.stat().st_size
            self._copy(_Run(path, 0, number, 0, shard.size))
        else:
            shard.size = shared
            self.bytes_cloned += shared
            self._on_bytes(shared)
        return number

    def add_placed(  # noqa: PLR0917
        self, key: str, dtype: int, shape: tuple[int, ...], shard: int, offset: int, size: int, masked_crc: int
    ) -> None:
        """Adds an entry for bytes that already lie in a shard; two entries may share them.

        Raises:
            ValueError: The bytes are not inside that shard.
        """
        if not (0 <= shard < len(self._shards) and offset >= 0 and 0 <= size <= self._shards[shard].size - offset):
            raise ValueError(f"{key!r}: {size} bytes at {offset} are not inside shard {shard}")
        self._add(key, BundleEntry(dtype, tuple(shape), shard, offset, size, masked_crc))

    def add_same(self, key: str, other: str) -> None:
        """Adds an entry for the bytes of a tensor that was added before."""
        self._add(key, self._entries[other.encode("utf-8", "surrogateescape")])

    def finish(self) -> tuple[str, ...]:
        """Flushes everything to disk and gives the files their names.

        Returns:
            The names in the folder, the index last: it makes the bundle exist.
        """
        if not self._shards:
            self._new_shard(is_open=True)
        self._flush()
        count = len(self._shards)
        names = [data_name(self._name, number, count) for number in range(count)]
        for shard, name in zip(self._shards, names, strict=True):
            shard.file.sync()
            shard.file.close()
            with output_errors(shard.file.path):
                shard.file.path = shard.file.path.rename(self._folder / name)
        self._write_index(self._folder / index_name(self._name), count)
        self._is_finished = True
        return (*names, index_name(self._name))

    def _write_index(self, path: Path, num_shards: int) -> None:
        items = [(b"", encode_header(num_shards))]
        items += ((key, encode_entry(entry)) for key, entry in sorted(self._entries.items()))
        part = path.with_name(f".{path.name}.part")
        self._index_paths = (part, path)
        with output_errors(path):
            with part.open("xb") as file:
                write_table(file, items, {PROVENANCE_BLOCK: self._provenance} if self._provenance else {})
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
            _sync_folder(self._folder)

    def _add(self, key: str, entry: BundleEntry) -> None:
        name = key.encode("utf-8", "surrogateescape")
        if not name or name[0] == 0 or name in self._entries:
            raise ValueError(f"key {key!r} is empty, starts with NUL, or was used before")
        self._entries[name] = entry

    def _append(self, size: int, pieces: Iterable[memoryview]) -> tuple[int, int, int]:
        """Writes `size` bytes behind what the current shard holds; gives shard, offset and checksum."""
        self._flush()
        number = self._shard_for(size)
        shard = self._shards[number]
        offset, crc = shard.size, 0
        for piece in pieces:
            for start in range(0, len(piece), _CHUNK):
                chunk = piece[start : start + _CHUNK]
                crc = crc32c(chunk, crc)
                done = shard.file.write(chunk, shard.size)
                shard.size += done
                self._on_bytes(done)
        self.bytes_moved += size
        return number, offset, crc

    def _shard_for(self, size: int) -> int:
        """The shard that takes the next `size` bytes: the last one that is open, or a new one."""
        last = self._shards[-1] if self._shards else None
        if last is None or not last.is_open:
            return self._new_shard(is_open=True)
        limit = self._max_shard_bytes
        if limit is not None and size and last.size and last.size + size > limit:
            return self._new_shard(is_open=True)
        return len(self._shards) - 1

    def _new_shard(self, *, is_open: bool) -> int:
        number = len(self._shards)
        self._shards.append(_Shard(self._folder / f".{self._name}.data-{number:05d}.part", is_open=is_open))
        return number

    def _flush(self) -> None:
        """Copies the run of adjacent bytes that has been collected."""
        run, self._run = self._run, None
        if run is None or not run.size:
            return
        self._copy(run)

    def _copy(self, run: _Run) -> None:
        target = self._shards[run.shard].file
        if target.copy(run.file, run.offset, run.size, run.at, on_bytes=self._on_bytes):
            self.bytes_cloned += run.size
        else:
            self.bytes_moved += run.size


def _sync_folder(folder: Path) -> None:
    """Makes the names in the folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
