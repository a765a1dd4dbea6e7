"""Compares tensors bit for bit, streamed where their bytes lie raw, and proves moves by the source's own checksums."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.casts import rounding
from ckptmigrate.errors import DamagedError
from ckptmigrate.mapping.group import Group
from ckptmigrate.report import Outcome, Proof
from ckptmigrate.table import Extent, Tensor
from ckptmigrate.tiles import pieces
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.reading import opened

CHUNK_BYTES = 1 << 20

Array = np.ndarray[Any, Any]


class Finding(NamedTuple):
    """What comparing one written tensor showed."""

    outcome: Outcome
    proof: Proof = "none"
    detail: str = ""


class Tolerance(NamedTuple):
    """How far values may differ: |a - b| <= absolute + relative * |b|. Both 0: the bits must be equal."""

    relative: float = 0.0
    absolute: float = 0.0

    @property
    def is_exact(self) -> bool:
        """True when only equal bits count."""
        return self.relative == 0 and self.absolute == 0


EXACT = Tolerance()


def compare_group(group: Group, written: Mapping[int, Tensor], tolerance: Tolerance = EXACT) -> dict[int, Finding]:
    """Compares the outputs of a group with what was written.

    Args:
        group: Sources and steps.
        written: Output number -> the tensor that stands in the target.
        tolerance: For `diff`; verification is exact.

    Raises:
        DamagedError: The source's or the target's bytes don't fit their checksum.
    """
    if not group.steps and tolerance.is_exact:
        return {index: compare_plain(group.sources[index], tensor) for index, tensor in written.items()}
    outputs = group.run()
    arrays = {index: tensor.read() for index, tensor in written.items()}
    found = {
        index: _compare_arrays(outputs[index], array, written[index], group.dtypes[index].name, tolerance)
        for index, array in arrays.items()
    }
    if any(f.outcome != "equal" for f in found.values()):
        return found
    proof: Proof = "recomputed"
    if tolerance.is_exact and group.is_exact and len(arrays) == len(outputs) and _has_checksums(group.sources):
        undone = group.undo([arrays[i] for i in range(len(outputs))])
        if not all(_fits(tensor, array) for tensor, array in zip(group.sources, undone, strict=True)):
            return {i: Finding("differs", "inverse", "its inverse doesn't give the source's bytes") for i in found}
        proof = "inverse"
    rounded = rounding(group)
    return {index: Finding("equal", proof, "" if rounded is None else str(rounded)) for index in found}


def compare_plain(source: Tensor, written: Tensor) -> Finding:
    """Compares a tensor with its unchanged copy."""
    if source.shape != written.shape or source.dtype != written.dtype:
        return Finding("differs", detail=_forms(source, written))
    if source.raw is not None and written.raw is not None:
        return _compare_streams(source.raw, written.raw)
    before, after = source.read(), written.read()
    finding = _compare_arrays(before, after, written, source.dtype.name, EXACT)
    if finding.outcome == "equal":
        proof: Proof = "inverse" if _has_checksums([source]) and _fits(source, after) else "recomputed"
        return Finding("equal", proof)
    return finding


def _forms(source: Tensor, written: Tensor) -> str:
    return f"{written.dtype} {list(written.shape)}, expected {source.dtype} {list(source.shape)}"


def _compare_arrays(expected: Array, found: Array, written: Tensor, dtype: str, tolerance: Tolerance) -> Finding:
    if expected.shape != found.shape or written.dtype.name != dtype:
        detail = f"{written.dtype} {list(found.shape)}, expected {dtype} {list(expected.shape)}"
        return Finding("differs", detail=detail)
    if expected.dtype == object:
        same = bool(np.array_equal(expected, found))
        return Finding("equal", "recomputed") if same else Finding("differs", "recomputed", "other strings")
    if all(np.array_equal(a, b) for a, b in zip(_chunks(expected), _chunks(found), strict=True)):
        return Finding("equal", "recomputed")
    near = not tolerance.is_exact and _is_near(expected, found, tolerance)
    return Finding("equal" if near else "differs", "recomputed", _difference(expected, found))


def _chunks(array: Array) -> Iterator[Array]:
    """The bytes of an array in C order, as many at a time as stay in the cache."""
    for piece in pieces(array):
        for start in range(0, len(piece), CHUNK_BYTES):
            yield piece[start : start + CHUNK_BYTES]


def _is_near(expected: Array, found: Array, tolerance: Tolerance) -> bool:
    a, b = expected.astype(np.complex128), found.astype(np.complex128)
    return bool(np.allclose(a, b, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True))


def _difference(expected: Array, found: Array) -> str:
    a, b = np.ascontiguousarray(expected).reshape(-1), np.ascontiguousarray(found).reshape(-1)
    width = a.dtype.itemsize
    bits = (a.view(np.uint8) != b.view(np.uint8)).reshape(-1, width).any(axis=1)
    first = int(np.argmax(bits))
    where = [int(i) for i in np.unravel_index(first, expected.shape)] if expected.shape else []
    text = f"{int(bits.sum())} of {a.size} elements differ, first at {where}: {b[first]}, expected {a[first]}"
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(a.astype(np.complex128) - b.astype(np.complex128)))
    return f"{text}; largest difference {float(largest):.3g}"


def _compare_streams(source: Extent, written: Extent) -> Finding:
    """Both sides chunk by chunk. While their bytes are equal one checksum serves both; it must be the stored one."""
    crc = 0
    ours, theirs = bytearray(), bytearray()
    with ExitStack() as stack:
        readers = [_opened(stack, extent) for extent in (source, written)]
        for start in range(0, source.nbytes, CHUNK_BYTES):
            count = min(CHUNK_BYTES, source.nbytes - start)
            if count != len(ours):
                ours, theirs = bytearray(count), bytearray(count)
            for read, buffer in zip(readers, (ours, theirs), strict=True):
                read(start, buffer)
            if ours != theirs:
                at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
                _check(source, _crc_of(source))
                return Finding("differs", "recomputed", f"other bytes, first at byte {start + at}")
            crc = crc32c(theirs, crc)
    _check(source, crc)
    _check(written, crc)
    return Finding("equal", "recomputed" if source.checksum is None else "inverse")


def _crc_of(extent: Extent) -> int:
    crc = 0
    with ExitStack() as stack:
        read = _opened(stack, extent)
        for start in range(0, extent.nbytes, CHUNK_BYTES):
            buffer = bytearray(min(CHUNK_BYTES, extent.nbytes - start))
            read(start, buffer)
            crc = crc32c(buffer, crc)
    return crc


def _opened(stack: ExitStack, extent: Extent) -> Callable[[int, bytearray], None]:
    handle = stack.enter_context(opened(extent.file, extent.offset, extent.nbytes))

    def read(start: int, buffer: bytearray) -> None:
        count = os.preadv(handle, [buffer], extent.offset + start)
        if count != len(buffer):
            message = f"ends {len(buffer) - count} bytes early"
            raise DamagedError(message, where=f"{extent.file} at byte {extent.offset + start}")

    return read


def _check(extent: Extent, crc: int) -> None:
    if extent.checksum is not None and extent.checksum != mask(crc):
        raise DamagedError(
            f"checksum is {mask(crc):#010x}, expected {extent.checksum:#010x}: the bytes were changed on disk",
            where=f"{extent.file} at byte {extent.offset}",
            hint="take the file from a backup, or copy it again",
        )


def _has_checksums(sources: Sequence[Tensor]) -> bool:
    return all(t.dtype.is_raw and t.extents and all(e.checksum is not None for e in t.extents) for t in sources)


def _fits(tensor: Tensor, array: Array) -> bool:
    """Whether these elements have the checksums that the tensor's file stores."""
    for extent in tensor.extents:
        part = array
        if extent.region is not None:
            part = array[tuple(slice(s, None if n < 0 else s + n) for s, n in extent.region)]
        if extent.big_endian:
            part = part.byteswap()
        crc = 0
        for chunk in _chunks(part):
            crc = crc32c(chunk.data, crc)
        if mask(crc) != extent.checksum:
            return False
    return True
