"""Bytes copied between files by the kernel, and what the disk says while it happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckptmigrate.errors import DamagedError
from ckptmigrate.wire import copying
from ckptmigrate.wire.copying import copy_range, write_behind


@contextmanager
def two_files(folder: Path, contents: bytes) -> Iterator[tuple[int, int]]:
    (folder / "source").write_bytes(contents)
    source = os.open(folder / "source", os.O_RDONLY)
    target = os.open(folder / "target", os.O_RDWR | os.O_CREAT)
    try:
        yield source, target
    finally:
        os.close(source)
        os.close(target)


@pytest.mark.parametrize("behind", [1, 1 << 30])
def test_a_range_goes_to_its_place(tmp_path: Path, behind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "WRITE_BEHIND_BYTES", behind)
    counts: list[int] = []
    with two_files(tmp_path, bytes(range(200))) as (source, target):
        copy_range(source, 50, 100, target, 7, what="source", on_bytes=counts.append)
    assert (tmp_path / "target").read_bytes() == bytes(7) + bytes(range(50, 150))
    assert sum(counts) == 100


def test_a_range_past_the_end_is_damage(tmp_path: Path) -> None:
    with two_files(tmp_path, b"abc") as (source, target), pytest.raises(DamagedError, match="truncated"):
        copy_range(source, 1, 10, target, 0, what="source", on_bytes=lambda count: None)


def test_write_behind_tells_what_the_disk_answered() -> None:
    reader, writer = os.pipe()  # can't be flushed to a disk
    try:
        with pytest.raises(OSError, match="Invalid argument"), write_behind(writer):
            for thread in threading.enumerate():
                if thread.name == "write-behind":
                    thread.join()
    finally:
        os.close(reader)
        os.close(writer)
