"""Engines: what runs the jobs of a batch; any `concurrent.futures.Executor` will do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

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
            executor: Executor = Client(**where).get_executor(pure=False, retries=0)
        except OSError as error:
            raise UsageError(f"--engine {name}: nobody answers: {error}") from None
        return executor

    return pool


_LOCAL: dict[str, object] = {"threads_per_worker": 1, "dashboard_address": None}
