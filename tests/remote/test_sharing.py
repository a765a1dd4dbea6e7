"""Images that several have at once: threads of one program, and processes that were forked from one another."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import convert, verify
from ckptmigrate.destination import destination_of
from ckptmigrate.errors import SourceError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.staging import stage
from ckptmigrate.urls import url_of
from ckptmigrate.wire import remote
from ckptmigrate.wire.names import STAGE_MARK

from .stores import upload

FIXTURES = Path(__file__).parents[2] / "fixtures"
THREADS = 8


def _models(store: Any, folder: Path, count: int) -> None:
    """Files of one array each, which says its number."""
    for i in range(count):
        np.savez(folder / f"{i}.npz", kernel=np.full((50,), i, np.float32))
    upload(store, folder, "/bucket")


@pytest.fixture
def hasty() -> Any:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("tiny_blocks", "hasty")
def test_threads_read_and_write_beside_each_other(memory: Any, tmp_path: Path) -> None:
    _models(memory, tmp_path, THREADS)
    together = threading.Barrier(THREADS)

    def work(i: int) -> list[float]:
        together.wait()
        found = []
        for turn in range(12):
            with open_checkpoint(f"memory://bucket/{(i + turn) % THREADS}.npz") as checkpoint:
                found.append(float(checkpoint.variables["kernel"].tensor.read().max()))
            report = convert(f"memory://bucket/{i}.npz", f"memory://out/{i}-{turn}.npz", to="npz")
            assert report.verdict == "verified", report.issues
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        told = list(pool.map(work, range(THREADS)))
    assert told == [[float((i + turn) % THREADS) for turn in range(12)] for i in range(THREADS)]
    assert len(memory.find("/out")) == 12 * THREADS
    assert not remote._IMAGES
    assert not remote._USERS


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["m.npz", "saved"])
def test_others_look_at_what_is_being_sent(
    name: str, force: bool, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they hold of it is the store's, and stays; it is no part of what is sent."""
    source, to = FIXTURES / "tf2" / "module", "npz" if name == "m.npz" else "savedmodel"
    if force:
        convert(source, f"memory://new/{name}", to=to)
    held, real = [], type(memory).put_file

    def put(self: Any, path: str, url: str, **more: Any) -> None:
        real(self, path, url, **more)
        with remote.held("memory://new/other.npz"):
            pass
        held.append(remote.hold(f"memory://new/{name}"))

    monkeypatch.setattr(type(memory), "put_file", put)
    assert convert(source, f"memory://new/{name}", to=to, force=force).verdict == "verified"
    assert not [key for key in memory.find("/new") if STAGE_MARK in key]
    seen = [path for path in map(Path, remote._IMAGES) if held[0] in (path, *path.parents)]
    for path in () if force else seen:
        remote.want(path)
        assert path.read_bytes() == memory.cat(url_of(path))
    assert seen or force
    for path in held:
        remote.release(path)
    assert verify(source, f"memory://new/{name}").verdict == "verified"
    assert not remote._IMAGES


def test_a_stage_is_no_empty_folder(memory: Any) -> None:
    upload(memory, FIXTURES / "npz", "/bucket")
    with stage(destination_of("memory://bucket/new/m.npz", "")) as staged:
        (staged.folder / "variables").mkdir()
        with remote.held("memory://bucket"):
            assert (staged.folder / "variables").is_dir()
    assert not remote._IMAGES


def test_a_look_at_a_destination_waits_for_nobody_who_sends(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source, real, told = FIXTURES / "tf2" / "module", type(memory).put_file, []

    def look() -> None:
        told.append(convert(source, "memory://new/other.npz", to="npz", dry_run=True).verdict)

    def put(self: Any, path: str, url: str, **more: Any) -> None:
        real(self, path, url, **more)
        beside = threading.Thread(target=look, daemon=True)
        beside.start()
        beside.join(20)
        assert not beside.is_alive()

    monkeypatch.setattr(type(memory), "put_file", put)
    report = convert(source, "memory://new/m.npz", to="npz")
    assert (report.verdict, told) == ("verified", ["planned"])


@pytest.mark.usefixtures("tiny_blocks")
def test_a_state_that_is_read_is_not_mixed_with_a_later_one(memory: Any, tmp_path: Path) -> None:
    def put(value: float) -> None:
        np.savez(tmp_path / "0.npz", kernel=np.full((50_000,), value, np.float32))
        upload(memory, tmp_path, "/bucket")

    put(0)
    with open_checkpoint("memory://bucket/0.npz") as first:
        put(7)
        with open_checkpoint("memory://bucket/0.npz") as second:
            for checkpoint in (first, second):
                with pytest.raises(SourceError, match="changed while it was read"):
                    checkpoint.variables["kernel"].tensor.read()
    with open_checkpoint("memory://bucket/0.npz") as later:
        assert later.variables["kernel"].tensor.read().max() == 7


FORKING = """
import multiprocessing, os, sys
import fsspec
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.staging import stage
from ckptmigrate.urls import url_of
from ckptmigrate.wire import remote
from ckptmigrate.wire.names import STAGE_MARK

remote.BLOCK = 64
store = fsspec.filesystem("memory")
for i in range(2):
    with open(f"{sys.argv[1]}/{i}.npz", "rb") as file:
        store.pipe_file(f"/bucket/{i}.npz", file.read())

def read(checkpoint):
    return float(checkpoint.variables["kernel"].tensor.read().max())

def work():
    with given:
        assert read(given) == 0.0
    with open_checkpoint("memory://bucket/0.npz") as own, open_checkpoint("memory://bucket/1.npz") as other:
        assert (read(own), read(other)) == (0.0, 1.0)
        assert own.path != given.path

given = open_checkpoint("memory://bucket/0.npz")
CHILD
assert child == 0, child
assert read(given) == 0.0
given.close()
"""

CHILDREN = {
    "fork": """
number = os.fork()
if not number:
    work()
    sys.exit(0)
child = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
""",
    "pool": """
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
child = worker.exitcode
""",
}


@pytest.mark.parametrize("how", CHILDREN)
def test_a_forked_process_leaves_its_parents_images(how: str, tmp_path: Path) -> None:
    for i in range(2):
        np.savez(tmp_path / f"{i}.npz", kernel=np.full((50,), i, np.float32))
    room = tmp_path / "room"
    room.mkdir()
    words = [sys.executable, "-c", FORKING.replace("CHILD", CHILDREN[how]), str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(room)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(room.iterdir()), "each process removes what is its own"
