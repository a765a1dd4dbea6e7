"""Files being written: bytes copied by the kernel or by us, what is said of either side, and big files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from ckptmigrate.errors import DamagedError, OutputError, SourceError
from ckptmigrate.wire.output_file import OutputFile, write_file

NEVER_READ = Path("/proc/self/mem")  # a regular file whose first byte nobody may read


def nobody(count: int) -> None:
    """Isn't told how many bytes there were."""


@pytest.fixture(params=["kernel", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Copies inside the kernel, and on a system that has none."""
    if request.param == "python":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    return request.param


def test_a_range_goes_to_its_place(tmp_path: Path, way: str) -> None:
    (tmp_path / "source").write_bytes(bytes(range(200)))
    counts: list[int] = []
    with OutputFile(tmp_path / "target") as target:
        assert target.copy(tmp_path / "source", 50, 100, 7, on_bytes=counts.append) is (way == "kernel")
        target.sync()
    assert (tmp_path / "target").read_bytes() == bytes(7) + bytes(range(50, 150))
    assert sum(counts) == 100


def test_large_ranges_in_any_order(tmp_path: Path, way: str) -> None:
    """Large enough for the disk to be told while they are written."""
    halves = [os.urandom(20 << 20), os.urandom(20 << 20)]
    (tmp_path / "source").write_bytes(halves[0])
    with OutputFile(tmp_path / "target") as target:
        target.write(halves[1], 20 << 20)
        target.copy(tmp_path / "source", 0, 20 << 20, 0, on_bytes=nobody)
        target.sync()
    assert (tmp_path / "target").read_bytes() == b"".join(halves)


def test_bytes_are_shown_on_the_way(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(data)
    seen: list[bytes] = []
    with OutputFile(tmp_path / "target") as target:
        copied = target.copy(tmp_path / "source", 1, 2 << 20, 0, on_bytes=nobody, look=lambda b: seen.append(bytes(b)))
    assert not copied
    assert b"".join(seen) == (tmp_path / "target").read_bytes() == data[1 : (2 << 20) + 1]


def test_a_range_past_the_end_is_damage(tmp_path: Path, way: str) -> None:
    (tmp_path / "source").write_bytes(b"abc")
    with OutputFile(tmp_path / "target") as target, pytest.raises(DamagedError, match="10 bytes expected, 2 found"):
        target.copy(tmp_path / "source", 1, 10, 0, on_bytes=nobody)


@pytest.mark.parametrize("source", ["nothing", ".", NEVER_READ])
def test_a_source_that_fails_is_no_output_that_fails(tmp_path: Path, source: str | Path) -> None:
    with OutputFile(tmp_path / "target") as target, pytest.raises(SourceError) as caught:
        target.copy(tmp_path / source, 0, 10, 0, on_bytes=nobody)
    assert str(tmp_path / source) in str(caught.value)


def test_an_output_that_fails_says_what_to_do(tmp_path: Path, way: str) -> None:
    (tmp_path / "source").write_bytes(bytes(100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with OutputFile(tmp_path / "target") as target, pytest.raises(OutputError, match="can't be written") as caught:
            target.copy(tmp_path / "source", 0, 100, 0, on_bytes=nobody)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.where == str(tmp_path / "target")
    assert "ulimit -f" in caught.value.hint


def test_what_stands_there_is_not_written_over(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"abc")
    with pytest.raises(OutputError, match="File exists"):
        write_file(tmp_path / "x", b"def")
    with OutputFile(tmp_path / "x", is_new=False) as file:
        file.write(b"X", 1)
    assert (tmp_path / "x").read_bytes() == b"aXc"
