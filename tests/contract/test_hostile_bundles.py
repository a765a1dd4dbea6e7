"""Crafted indexes whose checksums are right: our error with a place in it, in bounded memory, never a crash.

Seven of these kill TensorFlow 2.21 itself.
"""

import resource

import numpy as np
import pytest

from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.protobuf import delimited, fixed32, integer
from ckptmigrate.wire.slices import slice_key
from ckptmigrate.wire.sstable import write_table

HEADER = integer(1, 1) + delimited(3, integer(1, 1))
DATA = np.arange(4, dtype=np.float32).tobytes()
HUGE = 1 << 62


def entry(*, dtype=1, dims=(4,), shard=0, offset=0, size=16, crc=None, rest=b""):
    """A BundleEntryProto; dimensions may be anything that fits 64 bits."""
    shape = b"".join(delimited(2, integer(1, d & (1 << 64) - 1)) for d in dims)
    checksum = mask(crc32c(DATA)) if crc is None else crc
    fields = integer(1, dtype) + delimited(2, shape) + integer(3, shard) + integer(4, offset & (1 << 64) - 1)
    return fields + integer(5, size & (1 << 64) - 1) + fixed32(6, checksum) + rest


def extent(start, length):
    return delimited(7, delimited(1, integer(1, start) + integer(2, length)))


@pytest.fixture
def bundle(tmp_path):
    """Writes a bundle of these index items over sixteen bytes of data."""

    def make(items, header=HEADER):
        with (tmp_path / "x.index").open("wb") as file:
            write_table(file, sorted([(b"", header), *items]))
        (tmp_path / "x.data-00000-of-00001").write_bytes(DATA)
        return tmp_path / "x"

    return make


ENTRIES = {
    "dtype 0": entry(dtype=0),
    "dtype 999": entry(dtype=999),
    "resource": entry(dtype=20),
    "huge string tensor": entry(dtype=7, dims=(1 << 40,)),
    "string lengths past the end": entry(dtype=7, dims=(2,)),
    "negative dimension": entry(dims=(-4,)),
    "rank 300": entry(dims=(1,) * 300),
    "product overflows to 4": entry(dims=(1 << 62, 1 << 2, 4)),
    "product overflows to 0": entry(dims=(1 << 32, 1 << 32), size=0),
    "shape bomb": entry(dims=(1 << 40,), size=1 << 42),
    "size doesn't fit the shape": entry(dims=(5,)),
    "offset past the end": entry(offset=1 << 40),
    "negative offset": entry(offset=-16),
    "size past the end": entry(dims=(400,), size=1600),
    "negative size": entry(size=-16),
    "wrong checksum": entry(crc=1),
    "no such shard": entry(shard=7),
    "negative shard": entry(shard=(1 << 64) - 1),
    "slices without their entries": entry(rest=extent(0, 2) + extent(2, 2)),
    "a slice outside": entry(rest=extent(0, 2) + extent(3, 9)),
    "a slice that overflows": entry(rest=extent(HUGE, HUGE)),
    "not a message": b"\x0a\xff\xff\xff\xff\x7f",
    "a varint without end": b"\x08" + b"\xff" * 11,
    "a group": b"\x0b",
}  # fmt: skip


@pytest.mark.parametrize("value", ENTRIES.values(), ids=list(ENTRIES))
def test_crafted_entry_is_refused(value, bundle):
    path = bundle([(b"w", value)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((DamagedError, SourceError)) as error:
        read_all(path)
    assert "x" in (error.value.where or str(error.value))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def read_all(path):
    with open_checkpoint(path) as checkpoint:
        for issue in checkpoint.issues:
            if issue.severity == "error":
                raise SourceError(issue.message, where=issue.where)
        return {row.key: row.tensor.read() for row in checkpoint.rows()}


HEADERS = {
    "none": None,
    "future min_consumer": integer(1, 1) + delimited(3, integer(1, 9) + integer(2, 9)),
    "no shards": integer(1, 0),
    "a million shards": integer(1, 1_000_000),
    "2^40 shards": integer(1, 1 << 40),
    "negative shards": integer(1, (1 << 64) - 1),
    "endianness 7": HEADER + integer(2, 7),
    "not a message": b"\xff",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=list(HEADERS))
def test_crafted_header_is_refused(header, bundle, tmp_path):
    path = bundle([(b"w", entry())], HEADER if header is None else header)
    if header is None:
        with (tmp_path / "x.index").open("wb") as file:
            write_table(file, [(b"w", entry())])
    with pytest.raises((DamagedError, SourceError)):
        read_all(path)


def test_overlapping_slices_are_refused(bundle):
    full = integer(1, 1) + delimited(2, delimited(2, integer(1, 4))) + extent(0, 3) + extent(1, 3)
    parts = [(slice_key(b"w", ((s, 3),)), entry(dims=(3,), size=12, crc=mask(crc32c(DATA[:12])))) for s in (0, 1)]
    with pytest.raises(CkptMigrateError):
        read_all(bundle([(b"w", full), *parts]))


@pytest.mark.parametrize(
    "name", [b"../../etc/x", b"a\x00b", b"line\nfeed", b"\xff\xfe", b"\x1b[31m", b"x" * 300, b"/", b" "]
)
def test_odd_names_are_only_names(name, bundle):
    read = read_all(bundle([(name, entry())]))
    assert [key.encode("utf-8", "surrogateescape") for key in read] == [name]
    assert next(iter(read.values())).tolist() == [0, 1, 2, 3]


def test_whole_bundle_reads(bundle):
    assert read_all(bundle([(b"w", entry())]))["w"].tolist() == [0, 1, 2, 3]
