"""Stores to read from and write to: one in memory, and a server that speaks S3 on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from ckptmigrate.wire import remote


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads bytes without saying so gets zeros, even of the smallest files."""
    monkeypatch.setattr(remote, "BLOCK", 64)


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty store in memory."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server of moto's."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server's file system, with a bucket `models`; child processes find it, too."""
    told = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": server}
    for name, value in {**told, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    store = fsspec.filesystem("s3")
    if not store.exists("models"):
        store.mkdir("models")
    for name in store.find("models"):
        store.rm_file(name)
    return store
