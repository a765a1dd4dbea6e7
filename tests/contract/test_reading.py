"""Every fixture reads as the framework that wrote it reads it, lazily, and damaged ones fail with our errors."""

import itertools
import random
import shutil

import pytest

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats import identify, open_checkpoint

# Bytes of a tensor that may be read on opening: scalars; of npz members, what zipfile reads to get at their headers.
READ_ON_OPENING = {"npz": 8192}


def copied(checkpoint):
    """Everything that a file may hold twice."""
    states = checkpoint.optimizers
    stored = [s for state in states for s in (*state.scalars.values(), *state.slots.values(), *state.unbound)]
    return [*checkpoint.variables.values(), *stored]


def test_format_is_recognised(golden):
    assert identify(golden.path).format.name == golden.format


def test_listing_is_the_frameworks(golden, digest):
    with open_checkpoint(golden.path) as checkpoint:
        rows = list(checkpoint.rows())
        read = {
            row.key: {
                "dtype": row.tensor.dtype.name,
                "shape": list(row.tensor.shape),
                "sha256": None if row.tensor.dtype.name == "variant" else digest(row.tensor.read()),
            }
            for row in rows
        }
        read |= {key: read[held.key] for held in copied(checkpoint) for key in held.copies}
        assert read == golden.tensors
        copies = sum(len(held.copies) for held in copied(checkpoint))
        assert len(rows) + copies == len(read), "a key is listed twice"
        assert not any(issue.severity == "error" for issue in checkpoint.issues)


def test_opening_reads_no_tensor_data(golden, tmp_path):
    copy = shutil.copytree(golden.folder, tmp_path / "copy")
    with open_checkpoint(golden.path) as checkpoint:
        shapes = {row.key: row.tensor.shape for row in checkpoint.rows()}
        least = READ_ON_OPENING.get(golden.format, 64)
        extents = [e for row in checkpoint.rows() for e in row.tensor.extents if row.tensor.nbytes > least]
    for extent in extents:
        with (copy / extent.file.relative_to(golden.folder)).open("r+b") as file:
            file.seek(extent.offset)
            file.write(bytes(extent.nbytes))
    with open_checkpoint(copy / golden.entry) as checkpoint:
        assert {row.key: row.tensor.shape for row in checkpoint.rows()} == shapes


def read_all(path):
    """Opens and reads everything."""
    with open_checkpoint(path) as checkpoint:
        for issue in checkpoint.issues:
            if issue.severity == "error":
                raise SourceError(issue.message)
        read = {row.key: row.tensor.read().tobytes() for row in checkpoint.rows() if row.tensor.dtype.is_raw}
        return read | {key: read[held.key] for held in copied(checkpoint) for key in held.copies}


@pytest.fixture
def copy_of(tmp_path):
    """Makes a copy of a fixture with one file's bytes changed, and gives the path to open."""
    numbers = itertools.count()

    def make(golden, part, change):
        copy = shutil.copytree(golden.folder, tmp_path / str(next(numbers)))
        (copy / part.relative_to(golden.folder)).write_bytes(change(part.read_bytes()))
        return copy / golden.entry

    return make


@pytest.mark.parametrize("keep", [0, 1, 0.3, 0.9, -1])
def test_truncated_file_is_refused(small, keep, copy_of):
    for part in small.parts:
        size = part.stat().st_size
        length = int(keep * size) if isinstance(keep, float) else keep % size
        path = copy_of(small, part, lambda data, length=length: data[:length])
        with pytest.raises((DamagedError, SourceError)):
            read_all(path)


def test_flipped_bit_never_surprises(small, copy_of):
    """Either our error, or nothing but values: formats without checksums can't know."""
    is_checked = small.format not in ("safetensors", "frozen-graph", "keras-h5")
    checked = is_checked and (small.format != "keras-v3" or small.path.suffix == ".keras")
    whole = read_all(small.path)
    dice = random.Random(small.folder.name)
    for part in small.parts:
        size = part.stat().st_size
        for at in {dice.randrange(size) for _ in range(12)} | {0, size - 1}:
            bit = 1 << dice.randrange(8)
            path = copy_of(
                small, part, lambda data, at=at, bit=bit: data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            )
            try:
                values = read_all(path)
            except (DamagedError, SourceError):
                continue
            assert not checked or values == whole, f"{part.name}: bit {bit} of byte {at} changed values unseen"
