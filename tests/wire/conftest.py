"""Bundles and tables made to order, also broken ones whose checksums are right, and a bound on memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ckptmigrate.wire.blocks import Handle, seal, write_handle
from ckptmigrate.wire.bundle_messages import encode_header
from ckptmigrate.wire.protobuf import varint
from ckptmigrate.wire.sstable import FOOTER, MAGIC, write_table

REPOSITORY = Path(__file__).resolve().parents[2]
SLACK = 16 << 20  # bytes a reader may take beside what the files hold


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fails the test when more memory was taken at a time than a few small files can justify."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < SLACK, f"{peak} bytes were taken"


@pytest.fixture(scope="session")
def raw_block() -> Callable[..., bytes]:
    """Contents of a block from (shared, key's rest, value) and restarts, without any check."""

    def build(*entries: tuple[int, bytes, bytes], restarts: tuple[int, ...] = (0,), count: int | None = None) -> bytes:
        body = b"".join(varint(s) + varint(len(k)) + varint(len(v)) + k + v for s, k, v in entries)
        tail = (*restarts, len(restarts) if count is None else count)
        return body + b"".join(number.to_bytes(4, "little") for number in tail)

    return build


@pytest.fixture(scope="session")
def raw_table(raw_block: Callable[..., bytes]) -> Callable[..., bytes]:
    """A table around given data blocks, sealed with right checksums; `handles` overrides where the index puts them."""

    def build(*blocks: bytes, handles: tuple[Handle, ...] | None = None, sealed: bool = False) -> bytes:
        file, places = b"", []
        for contents in blocks:
            stored = contents if sealed else seal(contents)
            places.append(Handle(len(file), len(stored) - 5))
            file += stored
        empty, at = raw_block(), len(file)
        index = raw_block(*((0, b"%03d" % i, write_handle(h)) for i, h in enumerate(handles or tuple(places))))
        file += seal(empty) + seal(index)
        ends = write_handle(Handle(at, len(empty))) + write_handle(Handle(at + len(empty) + 5, len(index)))
        return file + ends.ljust(FOOTER - 8, b"\0") + MAGIC

    return build


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a bundle of serialised entries and data files as given; gives its prefix."""

    def build(entries: Mapping[bytes, bytes], *shards: bytes, header: bytes | None = None) -> Path:
        items = {b"": encode_header(len(shards)) if header is None else header, **entries}
        with (tmp_path / "m.index").open("wb") as file:
            write_table(file, sorted(items.items()))
        for number, data in enumerate(shards):
            (tmp_path / f"m.data-{number:05d}-of-{len(shards):05d}").write_bytes(data)
        return tmp_path / "m"

    return build


def _written_by_tensorflow() -> list[Any]:
    roots = [REPOSITORY / "fixtures", REPOSITORY / ".." / "shared"]
    found = [path for root in roots if root.is_dir() for path in sorted(root.rglob("*.index"))]
    return [pytest.param(path, id="-".join(path.parts[-3:])) for path in found]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tensorflow_index" in metafunc.fixturenames:
        reason = pytest.mark.skip(reason="no fixtures here")
        metafunc.parametrize("tensorflow_index", _written_by_tensorflow() or [pytest.param(None, marks=reason)])
