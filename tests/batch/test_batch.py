"""Batches: what fails doesn't stop the rest, what is done isn't done again, whatever kills them."""

from __future__ import annotations

import cProfile
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckptmigrate import formats
from ckptmigrate.batch import BatchOptions, Entry, batch
from ckptmigrate.batch.engines import engine_of
from ckptmigrate.batch.jobs import Job
from ckptmigrate.batch.run import _interrupts_held
from ckptmigrate.batch.summary import html
from ckptmigrate.batch.work import run
from ckptmigrate.errors import UsageError
from ckptmigrate.verification import verify

from .conftest import kept

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
ONE_ENDED = rb"[1-9]\d* of 40"  # as the terminal shows it
CALLS_FOR_EACH_OTHER = 20
KILLS = int(os.environ.get("CKPTMIGRATE_KILLS", "5"))  # the long run: 50


class Here(Executor):
    """An executor of this thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def archive(folder: Path, count: int, name: str = "momentum") -> None:
    for number in range(count):
        shutil.copytree(FIXTURES / "tf1" / name, folder / "models" / f"run{number}")


def entries(to: str = "safetensors") -> list[Entry]:
    return [Entry("models/*/model.ckpt*.index", f"new/{{parent}}.{to}", {"to": to})]


def ran(folder: Path, **asked: Any) -> Any:
    options = BatchOptions(executor=Here, **asked)
    return batch(entries(), folder / "ledger.jsonl", folder, options)


class Elsewhere(Executor):
    """An executor whose workers lack the package."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("ModuleNotFoundError: No module named 'ckptmigrate'"))
        return future


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "new").iterdir()}


def test_one_that_fails_does_not_stop_the_rest(tmp_path: Path) -> None:
    archive(tmp_path, 3)
    (tmp_path / "models" / "run1" / "model.ckpt.data-00000-of-00001").write_bytes(b"short")
    report = ran(tmp_path)
    assert report.counts == {"done": 2, "skipped": 0, "failed": 1}
    assert report.exit_code == 1
    (failed,) = [outcome for outcome in report.outcomes if outcome.status == "failed"]
    assert failed.issues
    assert sorted(stamps(tmp_path)) == ["run0.safetensors", "run2.safetensors"]
    records = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [r["status"] for r in records] == ["started", "done", "started", "failed", "started", "done"]
    page = html(report)
    assert "not all converted" in page
    assert page.index("failed") < page.index("run0.safetensors")


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    archive(tmp_path, 2)
    assert ran(tmp_path).counts["done"] == 2
    before = stamps(tmp_path)
    with pytest.raises(UsageError, match="ledger of an earlier run"):
        ran(tmp_path)
    assert ran(tmp_path, resume=True).counts == {"done": 0, "skipped": 2, "failed": 0}
    (tmp_path / "ledger.jsonl").unlink()
    assert ran(tmp_path).counts["skipped"] == 2  # recognised by provenance alone
    assert stamps(tmp_path) == before


def test_a_source_that_changed_is_converted_again(tmp_path: Path) -> None:
    archive(tmp_path, 2)
    ran(tmp_path)
    before = stamps(tmp_path)
    shutil.rmtree(tmp_path / "models" / "run1")
    shutil.copytree(FIXTURES / "tf1" / "rmsprop", tmp_path / "models" / "run1")
    assert ran(tmp_path, resume=True).counts == {"done": 1, "skipped": 1, "failed": 0}
    after = stamps(tmp_path)
    assert before["run0.safetensors"] == after["run0.safetensors"]
    assert verify(tmp_path / "models" / "run1", tmp_path / "new" / "run1.safetensors").verdict == "verified"


def test_an_output_of_somebody_else_stays(tmp_path: Path) -> None:
    archive(tmp_path, 1)
    (tmp_path / "new").mkdir()
    shutil.copy(FIXTURES / "safetensors" / "plain" / "model.safetensors", tmp_path / "new" / "run0.safetensors")
    before = stamps(tmp_path)
    for resume in (False, True, True):
        report = ran(tmp_path, resume=resume)
        assert report.counts["failed"] == 1
        assert report.outcomes[0].exit_code == 7
        assert stamps(tmp_path) == before


def test_an_output_that_somebody_replaced_since_stays(tmp_path: Path) -> None:
    archive(tmp_path, 1)
    assert ran(tmp_path).counts["done"] == 1
    shutil.copy(FIXTURES / "safetensors" / "plain" / "model.safetensors", tmp_path / "new" / "run0.safetensors")
    before = stamps(tmp_path)
    assert ran(tmp_path, resume=True).counts["failed"] == 1
    assert stamps(tmp_path) == before


def test_another_format_is_another_job(tmp_path: Path) -> None:
    archive(tmp_path, 1)
    for to in ("npz", "safetensors"):
        asked = [Entry("models/run0", "new/x", {"to": to})]
        report = batch(asked, tmp_path / "ledger.jsonl", tmp_path, BatchOptions(executor=Here, resume=True))
        assert report.counts["done"] == 1
        with formats.open_checkpoint(tmp_path / "new" / "x") as output:
            assert output.format == to


def test_what_a_kill_leaves_beside_a_complete_output_is_cleared(tmp_path: Path) -> None:
    archive(tmp_path, 1)
    ran(tmp_path)
    stage = tmp_path / "new" / ".run0.safetensors.ckptmigrate-01234567"
    stage.mkdir()
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines(keepends=True)[0])
    assert ran(tmp_path, resume=True).counts["skipped"] == 1
    assert not stage.exists()


def test_a_job_that_another_run_finishes_meanwhile_is_done(tmp_path: Path) -> None:
    """A killed batch's worker may end its job while the next one begins with it."""
    archive(tmp_path, 1)
    job = Job(str(tmp_path / "models" / "run0"), str(tmp_path / "run0.npz"), {"to": "npz"})
    faster: list[str] = []

    def tell(*_: Any) -> None:
        if not faster:
            faster.append("")
            faster[0] = run(job).status

    assert (run(job, tell).status, faster) == ("skipped", ["done"])
    assert [path.name for path in tmp_path.iterdir()] == ["models", "run0.npz"]


def test_other_options_are_another_job(tmp_path: Path) -> None:
    archive(tmp_path, 1)
    ran(tmp_path)
    other = [Entry("models/*/model.ckpt*.index", "new/{parent}.safetensors", {"to": "safetensors", "dtype": "float16"})]
    report = batch(other, tmp_path / "ledger.jsonl", tmp_path, BatchOptions(executor=Here, resume=True))
    assert report.counts["done"] == 1
    with formats.open_checkpoint(tmp_path / "new" / "run0.safetensors") as written:
        assert {v.tensor.dtype.name for v in written.variables.values() if v.role == "weight"} == {"float16"}


def test_memory_bounds_how_many_run(tmp_path: Path) -> None:
    archive(tmp_path, 4)
    running: set[str] = set()
    most = [0]

    def listen(status: str, job: Any, _outcome: Any) -> None:
        (running.add if status == "started" else running.discard)(job.destination)
        most[0] = max(most[0], len(running))

    report = batch(
        entries(), tmp_path / "ledger.jsonl", tmp_path, BatchOptions(workers=4, max_memory=150 << 20, listener=listen)
    )
    assert report.counts["done"] == 4
    assert most[0] == 1


MANIFEST = """\
ckptmigrate-batch: 1
defaults: {to: tf2}
entries:
  - {from: 'models/*/model.ckpt*.index', to: 'new/{parent}/'}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    archive(tmp_path, 40, "adam")
    (tmp_path / "batch.yaml").write_text(MANIFEST)
    return tmp_path


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ckptmigrate", "batch", "batch.yaml", "--jobs", "2", *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_killed_at_any_time_it_goes_on(folder: Path) -> None:
    """SIGKILL to the whole process group, again and again: nothing half-written, nothing finished written anew."""
    chance = random.Random(7)
    finished: dict[str, int] = {}
    for number in range(KILLS):
        running = start(folder, *["--resume"] * (number > 0))
        time.sleep(chance.uniform(0.2, 1.5))
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        for path in folder.glob("new/*/ckpt-0.index"):
            assert formats.open_checkpoint(path.with_suffix("")).metadata["provenance"]
            written = path.stat().st_mtime_ns
            assert finished.setdefault(str(path), written) == written
    last = start(folder, "--resume", "--json")
    out, err = last.communicate()
    told = json.loads(out)
    assert (last.returncode, err) == (0, b"")
    assert told["counts"]["done"] + told["counts"]["skipped"] == 40
    for name, written in finished.items():
        assert Path(name).stat().st_mtime_ns == written
    for number in range(0, 40, 13):
        assert verify(folder / "models" / f"run{number}", folder / "new" / f"run{number}").verdict == "verified"
    assert [p.name for p in (folder / "new").iterdir() if p.name.startswith(".")] == []


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_an_interrupt_is_not_for_the_workers(folder: Path, terminal: Callable[..., Any]) -> None:
    """A terminal sends it to all; they would each say a traceback."""
    with kept(folder):
        running = terminal(80, folder, "batch", "batch.yaml", "--jobs", "2")
        running.wait_for(ONE_ENDED)
        for worker in workers_of(running.running.pid):
            os.kill(worker, signal.SIGINT)
    shown = running.end()
    assert "40 jobs: 40 done" in shown
    assert "Traceback" not in shown


def test_a_worker_that_dies_takes_no_other_job_with_it(folder: Path, terminal: Callable[..., Any]) -> None:
    with kept(folder):
        running = terminal(80, folder, "batch", "batch.yaml", "--jobs", "2", "--report", "report.json")
        running.wait_for(ONE_ENDED)
        os.kill(workers_of(running.running.pid)[0], signal.SIGKILL)
    running.end()
    counts = json.loads((folder / "report.json").read_text())["counts"]
    assert counts["failed"] == 0
    assert counts["done"] + counts["skipped"] == 40  # what the victim had written, but not told of, is recognised
    assert counts["skipped"] <= 2


def test_a_dask_cluster(folder: Path, terminal: Callable[..., Any]) -> None:
    """Several workers, one of which is killed on the way."""
    distributed = pytest.importorskip("distributed", reason="the dask extra isn't installed")
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        engine = f"dask:{cluster.scheduler_address}"
        words = ("batch", "batch.yaml", "--jobs", "2", "--engine", engine, "--report", "report.json")
        with kept(folder):
            running = terminal(80, folder, *words)
            running.wait_for(ONE_ENDED)
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        running.end()
    counts = json.loads((folder / "report.json").read_text())["counts"]
    assert counts["failed"] == 0
    assert counts["done"] + counts["skipped"] == 40
    assert counts["skipped"] <= 2  # what the victim had written, but not told of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_a_worker_has_started(number: signal.Signals) -> None:
    """Also where the system tells another thread of it."""
    ended, told = threading.Event(), os.pipe()
    os.set_blocking(told[1], False)
    before = signal.signal(number, signal.default_int_handler), signal.set_wakeup_fd(told[1])
    threading.Thread(target=ended.wait).start()
    reached = False
    try:
        with pytest.raises(KeyboardInterrupt), _interrupts_held():
            os.kill(os.getpid(), number)
            os.read(told[0], 1)  # Python knows of it
            reached = True
    finally:
        ended.set()
        signal.set_wakeup_fd(before[1])
        signal.signal(number, before[0])
        for end in told:
            os.close(end)
    assert reached


def test_an_interrupted_dask_cluster_ends_in_silence(folder: Path, terminal: Callable[..., Any]) -> None:
    """Its workers would each say a traceback."""
    pytest.importorskip("distributed", reason="the dask extra isn't installed")
    with kept(folder):
        running = terminal(80, folder, "batch", "batch.yaml", "--jobs", "2", "--engine", "dask")
        running.wait_for(ONE_ENDED)
        running.press(b"\x03")
    shown = running.end()
    assert "goes on" in shown
    assert "distributed" not in shown


def test_what_a_cluster_says_is_told(tmp_path: Path) -> None:
    archive(tmp_path, 2)
    report = batch(entries(), tmp_path / "ledger.jsonl", tmp_path, BatchOptions(executor=Elsewhere))
    told = {issue.message for outcome in report.outcomes for issue in outcome.issues}
    assert told == {"no worker could run it: ModuleNotFoundError: No module named 'ckptmigrate'"}


def test_a_scheduler_that_dies_is_told(folder: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the dask extra isn't installed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)

    def listen(status: str, _job: Any, _outcome: Any) -> None:
        if status == "done":
            cluster.close()

    engine = engine_of(f"dask:{cluster.scheduler_address}", 1)
    asked = [Entry("models/*/model.ckpt*.index", "new/{parent}.npz", {"to": "npz"})]
    with pytest.raises(UsageError, match="nobody answers"):
        batch(asked, folder / "ledger.jsonl", folder, BatchOptions(executor=engine, listener=listen))
    report = batch(asked, folder / "ledger.jsonl", folder, BatchOptions(executor=Here, resume=True))
    assert report.counts["failed"] == 0
    assert report.counts["skipped"] >= 1


def test_interrupted_it_waits_for_no_job(tmp_path: Path) -> None:
    """A long conversion is ended in its midst, and leaves nothing."""
    archive(tmp_path, 1)
    with (tmp_path / "models" / "run0" / "model.ckpt.large.safetensors").open("wb") as big:  # which is begun last
        header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 4 << 30]}}).encode()
        big.write(len(header).to_bytes(8, "little") + header)
        big.truncate(big.tell() + (4 << 30))
    asked = [Entry("models/run0/model.ckpt*[xs]", "new/{stem}.npz", {"to": "npz"})]

    def interrupt(status: str, job: Job, _outcome: Any) -> None:
        if status == "done":
            assert "large" not in job.source
            while not any((tmp_path / "new").glob(".*large*/*")):  # no event tells that a conversion is half done
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch(asked, tmp_path / "ledger.jsonl", tmp_path, BatchOptions(workers=2, listener=interrupt))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.ckpt.npz"]


@pytest.mark.parametrize("to", ["safetensors", "tf2"])
def test_a_job_takes_no_longer_among_many_outputs(tmp_path: Path, to: str) -> None:
    """What it does, in calls, for each file that lies beside its own: else a batch of many takes their square."""
    archive(tmp_path, 2, "adam")
    (tmp_path / "new").mkdir()
    calls = []
    for number, others in enumerate((0, 500)):
        for other in range(others):
            (tmp_path / "new" / f"other-{other}.safetensors").touch()
        job = Job(
            str(tmp_path / "models" / f"run{number}"), str(tmp_path / "new" / f"run{number}.safetensors"), {"to": to}
        )
        run(replace(job, destination=f"{job.destination}-warm"))
        with cProfile.Profile() as profile:
            assert run(job).status == "done"
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    assert (calls[1] - calls[0]) / 500 < CALLS_FOR_EACH_OTHER
