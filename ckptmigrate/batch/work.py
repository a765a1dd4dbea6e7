"""One job, in a worker: converted, or found done; never an exception, so that the others go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ckptmigrate import formats
from ckptmigrate.batch.jobs import Job
from ckptmigrate.batch.ledger import DONE, FAILED, SKIPPED
from ckptmigrate.errors import CkptMigrateError, OutputError
from ckptmigrate.issues import Issue
from ckptmigrate.provenance import digest, section
from ckptmigrate.table import Checkpoint
from ckptmigrate.urls import is_remote

Tell = Callable[[str, int, int], None]
_COMMITS = ("", ".index", ".index.json")  # what the name of the file that makes an output exist adds to the output's
_FLAGS = ("flavor", "dialect", "dtype", "hyper", "reverse", "names", "averages", "drop", "reinit", "seed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: The job.
        status: done | failed | skipped (it was done before).
        digest: Of the source's index, as in provenance.
        nbytes: Of the source's tensors.
        seconds: It took.
        issues: What there is to say: errors and losses of a failed one, warnings of others.
        exit_code: That `convert` would have ended with.
    """

    job: Job
    status: str
    digest: str = ""
    nbytes: int = 0
    seconds: float = 0.0
    issues: tuple[Issue, ...] = ()
    exit_code: int = 0

    def record(self) -> dict[str, Any]:
        """As the ledger holds it."""
        return {
            "status": self.status,
            "src": self.job.source,
            "dst": self.job.destination,
            "digest": self.digest,
            "seconds": round(self.seconds, 3),
            "issues": [issue.to_json() for issue in self.issues],
        }


def run(job: Job, tell: Tell | None = None) -> Outcome:
    """Runs a job. An output that is this job's already is not written again; one of an older source is replaced."""
    started = time.monotonic()
    told, nbytes = "", 0
    try:
        with formats.open_checkpoint(job.source, job.options.get("from_", "")) as source:
            told, nbytes = digest(source), sum(e.tensor.nbytes for e in source.rows())
            if not is_made_by(old := _standing(job), job, told):
                options = dict(job.options)
                if old is not None and _digest(old) in job.made_of:
                    options["force"] = True  # made of what the source was then
                try:
                    return _converted(job, source, options, tell, (told, nbytes, started))
                except OutputError:
                    if not is_made_by(_standing(job), job, told):
                        raise  # else another run was faster
            return Outcome(job, SKIPPED, told, nbytes, time.monotonic() - started)
    except CkptMigrateError as error:
        first = Issue(_kind(error), "error", job.source, error.message, error.hint, error.where)
        issues, code = error.issues or (first,), error.exit_code
    except Exception as error:  # noqa: BLE001 a bug in one job must not stop the others
        text = f"this is a bug in ckptmigrate: {type(error).__name__}: {error}"
        issues, code = (Issue("bug", "error", job.source, text),), 1
    return Outcome(job, FAILED, told, nbytes, time.monotonic() - started, tuple(issues), code)


def _converted(
    job: Job, source: Checkpoint, options: dict[str, Any], tell: Tell | None, known: tuple[str, int, float]
) -> Outcome:
    from ckptmigrate.conversion import convert

    told, nbytes, started = known
    options.pop("from_", None)
    report = convert(source, job.destination, progress=tell or (lambda *_: None), **options)
    status = DONE if report.exit_code == 0 else FAILED
    wanted = ("error", "loss", "warning") if status == DONE else ("error", "loss")
    issues = tuple(issue for issue in report.issues if issue.severity in wanted)
    return Outcome(job, status, told, nbytes, time.monotonic() - started, issues, report.exit_code)


def _kind(error: CkptMigrateError) -> str:
    return "unwritable" if isinstance(error, OutputError) else "failed"


def _standing(job: Job) -> Mapping[str, Any] | None:
    """What an existing output says of itself, and its format; None where nothing stands that can be read."""
    if not is_remote(job.destination) and not any(os.path.lexists(job.destination + end) for end in _COMMITS):
        return None  # the error that says so would look for near names among all outputs
    try:
        with formats.open_checkpoint(job.destination) as old:
            return {**old.metadata, "format": old.format}
    except CkptMigrateError:
        return None


def is_made_by(old: Mapping[str, Any] | None, job: Job, told: str) -> bool:
    """Whether an output's provenance is that of this job and this source; False where there is none."""
    if old is None or _digest(old) != told or old["format"] != job.options["to"]:
        return False
    record = section(old.get("provenance"))
    flags = section(record.get("flags"))
    asked = {name: _plain(job.options.get(name)) for name in _FLAGS}
    optimizer = job.options.get("optimizer", "keep") == flags.get("optimizer", "keep")
    return optimizer and asked == {name: _plain(flags.get(name)) for name in _FLAGS} and _is_mapped_alike(record, job)


def _digest(old: Mapping[str, Any]) -> Any:
    """Of the source that an output was made of."""
    return section(section(old.get("provenance")).get("source")).get("digest")


def _plain(value: Any) -> Any:
    return (list(value) if isinstance(value, tuple) else value) or None


def _is_mapped_alike(record: Mapping[str, Any], job: Job) -> bool:
    """The same rules: by digest, as a mapping of that name is now."""
    made = section(record.get("mapping"))
    asked = job.options.get("mapping", "")
    if not asked:
        return not made
    from ckptmigrate.mapping.rules import Mapping as Rules

    rules = Rules.load(str(made.get("name", "")) if asked == "auto" and made else asked)
    return {"name": rules.name, "digest": rules.digest} == dict(made)


def end_with_parent() -> None:
    """Ends this worker when the process that it works for is gone: a killed batch leaves nobody behind."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_alone(job: Job) -> Outcome:
    """Runs a job as the only one of this process, which removes what is half-written when it is told to end.

    It ends then and there: the queue that it would turn to next may have been locked by a worker that is dead.
    """

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # removing is not cut short by being told again
        raise SystemExit(number)

    try:
        signal.signal(signal.SIGTERM, end)
        try:
            return run(job)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except SystemExit as told:
        os._exit(128 + int(told.code or 0))


def largest(path: str, format_: str) -> int:
    """Bytes of the largest tensor of a checkpoint; 0 where it can't be read, which its job will tell."""
    try:
        with formats.open_checkpoint(path, format_) as source:
            return max((entry.tensor.nbytes for entry in source.rows()), default=0)
    except CkptMigrateError:
        return 0
