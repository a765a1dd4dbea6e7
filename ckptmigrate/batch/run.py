"""The batch: jobs in a pool, as many at a time as processes and memory allow, each in the ledger before and after."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ckptmigrate.batch.engines import Cluster
from ckptmigrate.batch.jobs import Job, jobs_of
from ckptmigrate.batch.ledger import DONE, FAILED, SKIPPED, STARTED, WAITING, Ledger
from ckptmigrate.batch.manifest import Entry
from ckptmigrate.batch.work import Outcome, end_with_parent, largest, run, run_alone
from ckptmigrate.errors import OutputError, UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.staging import clear_stale
from ckptmigrate.urls import is_remote

BASE_MEMORY = 96 << 20  # bytes of a worker: Python, NumPy, an index of 10,000 variables
TENSORS_HELD = 4  # the largest tensor of a checkpoint, its steps, and what is compared
ATTEMPTS = 2  # of a job whose worker dies
_TICK = 0.2  # seconds
_ENDING = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)

Listener = Callable[[str, Job, Outcome | None], None]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch runs.

    Attributes:
        workers: Processes.
        max_memory: Bytes over all of them; None for no bound.
        resume: Go on with the ledger of a run that ended early.
        executor: Makes the pool, for other engines than processes of this machine.
        listener: Told of every job that it is "waiting", then "started", then what became of it.
    """

    workers: int = 1
    max_memory: int | None = None
    resume: bool = False
    executor: Callable[[], Executor] | None = None
    listener: Listener = lambda *_: None


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of all jobs, in the manifest's order.

    Attributes:
        outcomes: One for each job.
        issues: Of the manifest's entries.
        ledger: Where the ledger lies.
    """

    outcomes: tuple[Outcome, ...]
    issues: tuple[Issue, ...]
    ledger: Path

    @property
    def counts(self) -> dict[str, int]:
        """Status -> jobs."""
        return {s: sum(o.status == s for o in self.outcomes) for s in (DONE, SKIPPED, FAILED)}

    @property
    def exit_code(self) -> int:
        """1 if any failed."""
        return int(bool(self.counts[FAILED] or self.issues))

    def to_json(self) -> dict[str, Any]:
        """The JSON document of the command line."""
        return {
            "ledger": str(self.ledger),
            "counts": self.counts,
            "jobs": [outcome.record() for outcome in self.outcomes],
            "issues": [issue.to_json() for issue in self.issues],
        }


def batch(
    entries: Sequence[Entry], ledger: str | Path, base: str | Path = "", options: BatchOptions | None = None
) -> BatchReport:
    """Converts every checkpoint that `entries` name.

    One that fails doesn't stop the rest. A killed run goes on with `resume`: what is done is recognised by the
    provenance of its output and not written again; what has another source since is converted again.

    Args:
        entries: Of a manifest (`read_manifest`), or made in Python.
        ledger: The file that says what became of each.
        base: The folder that relative paths start from.
        options: How it runs.

    Raises:
        UsageError: There is a ledger already, and `resume` isn't asked for.
        OutputError: The ledger can't be written.
    """
    asked = options or BatchOptions()
    book = Ledger(Path(ledger))
    records = book.read()
    if records and not asked.resume:
        hint = "--resume goes on with it; a new batch wants another manifest, or the old ledger gone"
        raise UsageError("a ledger of an earlier run is there", where=str(book.path), hint=hint)
    jobs, issues = jobs_of(entries, Path(base), {record["dst"] for record in records})
    made, last = _made(records), {record["dst"]: record["status"] for record in records}
    jobs = [replace(job, made_of=made.get(job.destination, ())) for job in jobs]
    for job in jobs:
        if last.get(job.destination) == STARTED:  # and was killed, perhaps with its output complete
            with suppress(OutputError):
                clear_stale(job.place)
    outcomes = _Pool(asked, book).run(jobs)
    return BatchReport(tuple(outcomes[job.destination] for job in jobs), tuple(issues), book.path)


def _made(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Output -> digests of the sources that it was made of, each time."""
    made: dict[str, tuple[str, ...]] = {}
    for record in records:
        if record["status"] in (DONE, SKIPPED):
            made[record["dst"]] = (*made.get(record["dst"], ()), str(record.get("digest")))
    return made


@dataclass(slots=True)
class _Pool:
    """Jobs on their way: waiting, running, ended."""

    asked: BatchOptions
    book: Ledger
    waiting: deque[Job] = field(default_factory=deque)
    running: dict[Future[Outcome], Job] = field(default_factory=dict)
    needs: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    others: frozenset[BaseProcess] = field(default_factory=lambda: frozenset(multiprocessing.active_children()))

    def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """Destination -> outcome, of every job."""
        self.waiting.extend(jobs)
        for job in jobs:
            self.asked.listener(WAITING, job, None)
        while self.waiting or self.running:
            with self._pool() as executor:
                try:
                    self._drain(executor)
                except BrokenExecutor:
                    self._again()
                except BaseException:
                    self._stop(executor)
                    raise
        return self.outcomes

    @contextmanager
    def _pool(self) -> Iterator[Executor]:
        if self.asked.executor is None:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(self.asked.workers, context, end_with_parent) as executor:
                yield executor
            return
        with _interrupts_held():
            cluster = self.asked.executor()
        try:
            yield cluster
        finally:
            with suppress(Exception):  # it may be gone
                cluster.shutdown(cancel_futures=True)

    def _stop(self, executor: Executor) -> None:
        """Ends the jobs that run; those of processes of this machine have removed what is half-written by then."""
        if self.asked.executor is not None:
            return  # a cluster is told so by the end of its pool
        for worker in set(multiprocessing.active_children()) - self.others:
            worker.terminate()
        executor.shutdown(cancel_futures=True)

    def _drain(self, executor: Executor) -> None:
        while self.waiting or self.running:
            while self.waiting and self._fits(self.waiting[0]):
                self._submit(executor, self.waiting.popleft())
            ended, _ = wait(self.running, timeout=_TICK, return_when=FIRST_COMPLETED)
            if not ended and isinstance(executor, Cluster) and executor.is_gone:
                raise BrokenExecutor
            for future in ended:
                try:
                    outcome = future.result()
                except BrokenExecutor:  # a worker of this machine died, and its pool with it
                    raise
                except Exception as error:  # noqa: BLE001 a cluster lost the worker, and has its own errors to say so
                    self._once_more(self.running.pop(future), f"no worker could run it: {error}")
                else:
                    self._end(self.running.pop(future), outcome)

    def _submit(self, executor: Executor, job: Job) -> None:
        self.attempts[job.destination] = self.attempts.get(job.destination, 0) + 1
        self.book.append({"status": STARTED, "src": job.source, "dst": job.destination})
        self.asked.listener(STARTED, job, None)
        try:
            task = run_alone if self.asked.executor is None else run
            with _interrupts_held():
                self.running[executor.submit(task, _absolute(job))] = job
        except Exception as error:  # a cluster that is gone has its own to say so
            self.waiting.appendleft(job)
            self.attempts[job.destination] -= 1
            raise BrokenExecutor from error

    def _fits(self, job: Job) -> bool:
        if len(self.running) >= self.asked.workers or self._is_alone():
            return False
        if job.destination in self.suspects and self.running:
            return False  # if its worker dies again, nobody else's does
        if self.asked.max_memory is None or not self.running:
            return True
        taken = sum(self._need(other) for other in self.running.values())
        return taken + self._need(job) <= self.asked.max_memory

    def _is_alone(self) -> bool:
        return any(job.destination in self.suspects for job in self.running.values())

    def _need(self, job: Job) -> int:
        if job.source not in self.needs:
            self.needs[job.source] = BASE_MEMORY + TENSORS_HELD * largest(job.source, job.options.get("from_", ""))
        return self.needs[job.source]

    def _again(self) -> None:
        """A worker died, and the pool with it: those that ran then are tried once more, one pool later."""
        for future, job in self.running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._end(job, future.result())
            else:
                self._once_more(job)
        self.running.clear()

    def _once_more(self, job: Job, text: str = "its worker died: out of memory, or killed") -> None:
        """A job whose worker died is tried again, alone."""
        if self.attempts[job.destination] < ATTEMPTS:
            self.suspects.add(job.destination)
            self.waiting.append(job)
            return
        hint = "fewer --jobs, or --max-memory; the next run with --resume tries it again"
        issue = Issue("worker", "error", job.source, text, hint)
        self._end(job, Outcome(job, FAILED, issues=(issue,), exit_code=1))

    def _end(self, job: Job, outcome: Outcome) -> None:
        outcome = replace(outcome, job=job)
        self.outcomes[job.destination] = outcome
        self.book.append(outcome.record())
        self.asked.listener(outcome.status, job, outcome)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """While workers start: they never hear what a terminal tells to all (Ctrl-C, its end), for we end them ourselves.

    We hear it once they have started, or they would miss half of what they are told at first. Blocking it is not enough
    for that: the system then gives it to another thread, and Python to this one.
    """
    told: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    heard = {number: signal.getsignal(number) for number in _ENDING if is_main and callable(signal.getsignal(number))}
    for number in heard:
        signal.signal(number, lambda number, _: told.append(number))
    resource_tracker.ensure_running()  # which would let them through again when the first worker starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in heard.items():
            signal.signal(number, handler)
        for late in told:
            signal.raise_signal(late)


def _absolute(job: Job) -> Job:
    """For workers that run elsewhere than here."""
    options = dict(job.options)
    if template := options.get("template"):
        options["template"] = _from_root(template)
    if (mapping := options.get("mapping")) and os.path.isfile(mapping):  # noqa: PTH113 Path.is_file raises of long names
        options["mapping"] = _from_root(mapping)
    return replace(job, source=_from_root(job.source), destination=_from_root(job.destination), options=options)


def _from_root(path: str) -> str:
    """A path that holds in any folder; a URL is one already."""
    return path if is_remote(path) else str(Path(path).absolute()) + ("/" if path.endswith("/") else "")
