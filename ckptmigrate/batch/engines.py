"""Engines: what runs the jobs of a batch; any `concurrent.futures.Executor` will do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from ckptmigrate.errors import UsageError

PROCESSES, DASK = "processes", "dask"


def engine_of(name: str, workers: int) -> Callable[[], Executor] | None:
    """What makes the pool: None for processes of this machine.

    Args:
        name: `processes`, `dask` for a cluster of this machine, or `dask:tcp://HOST:PORT` for one that runs.
        workers: Of a cluster of this machine.

    Raises:
        UsageError: No such engine, its extra isn't installed, or nobody answers at that address.
    """
    kind, _, address = name.partition(":")
    if name == PROCESSES:
        return None
    if kind != DASK:
        raise UsageError(f"--engine {name}: expected processes, dask, or dask:tcp://HOST:PORT")
    try:
        from distributed import Client
    except ImportError:
        hint = "pip install 'ckptmigrate[dask]'"
        raise UsageError("the dask engine needs the extra `dask`", hint=hint) from None
    where = {"address": address, "timeout": "10s"} if address else _LOCAL | {"n_workers": workers}

    def pool() -> Executor:
        try:
            return Cluster(Client(**where))
        except OSError as error:
            hint = "start it, or name another; a batch that lost it goes on with --resume"
            raise UsageError(f"--engine {name}: nobody answers: {error}", hint=hint) from None

    return pool


class Cluster(Executor):
    """A cluster of Dask's. Its own executor doesn't tell that the scheduler has died, and waits forever."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._sent: set[Any] = set()  # or they are taken back

    @property
    def is_gone(self) -> bool:
        """Whether nothing will come of what was submitted."""
        return self._client.status in ("closing", "closed")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        sent = self._client.submit(fn, *args, pure=False, retries=0, **kwargs)
        self._sent.add(sent)

        def answer(sent: Any) -> None:
            self._sent.discard(sent)
            try:
                future.set_result(sent.result())
            except BaseException as error:  # noqa: BLE001 it is for who waits
                future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))

        sent.add_done_callback(answer)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._client.cancel(list(self._sent))
        self._client.close()


_LOCAL: dict[str, object] = {
    "threads_per_worker": 1,
    "dashboard_address": "127.0.0.1:0",  # the default port may be another cluster's, which is worth a warning to Dask
    "silence_logs": logging.CRITICAL,
}
