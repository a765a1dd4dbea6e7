"""`ckptmigrate batch`: many conversions, in processes, that a killed run goes on with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ckptmigrate.cli import options
from ckptmigrate.cli.answer import Answer, give
from ckptmigrate.cli.reports import check_report, write_report
from ckptmigrate.cli.text import count, visible
from ckptmigrate.errors import UsageError

if TYPE_CHECKING:
    from ckptmigrate.batch import BatchReport

EXAMPLES = """\b
Examples:
  ckptmigrate batch archive.yaml --jobs 8 --report archive.html
  ckptmigrate batch archive.yaml --jobs 8 --resume
  ckptmigrate batch --glob 'models/**/*.index' --out 'new/{parent}/{stem}' --to tf2 --mapping auto

The manifest:
  ckptmigrate-batch: 1
  defaults: {to: tf2, mapping: auto}
  entries:
    - {from: 'models/*/model.ckpt-*.index', to: 'new/{parent}/'}
    - {from: old/model.h5, to: new/model.keras, format: keras-v3}"""

BLANK: dict[str, Any] = {"ledger": "", "counts": {}, "jobs": [], "issues": []}
DEFAULT_LEDGER = "ckptmigrate-batch"


def batch(
    manifest: Annotated[str, typer.Argument(metavar="[MANIFEST]", help="YAML: which checkpoints, where to, how.")] = "",
    *,
    pattern: Annotated[
        str, typer.Option("--glob", metavar="PATTERN", help="In place of a manifest: the checkpoints.")
    ] = "",
    out: Annotated[
        str, typer.Option("--out", metavar="PATH", help="With --glob: where to, with {stem}, {name}, {parent}.")
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="With --glob: the format to write.")] = "",
    mapping: options.Mapping = "",
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Processes. Default: one for each core.")] = 0,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Memory of all processes together, such as 8GB.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that ended early.")] = False,
    engine: Annotated[
        str, typer.Option("--engine", metavar="E", help="processes, dask, or dask:tcp://HOST:PORT.")
    ] = "processes",
    report: Annotated[str, typer.Option("--report", metavar="FILE", help="Also write a summary, .json or .html.")] = "",
    as_json: options.Json = False,
) -> None:
    """Convert many checkpoints. One that fails doesn't stop the rest; a killed run goes on with --resume."""
    bound = options.parse_size(max_memory)

    def command() -> Answer:
        from ckptmigrate.batch import BatchOptions, Entry, read_manifest
        from ckptmigrate.batch import batch as run
        from ckptmigrate.batch.engines import engine_of
        from ckptmigrate.batch.ledger import SUFFIX
        from ckptmigrate.batch.summary import html

        check_report(report)
        if bool(manifest) == bool(pattern):
            raise UsageError("expected a manifest, or --glob with --out and --to", hint="ckptmigrate batch --help")
        if pattern and not (out and to):
            raise UsageError("--glob needs --out and --to", hint="--out 'new/{parent}/{stem}' --to tf2")
        if pattern:
            told = {"to": to, **({"mapping": mapping} if mapping else {})}
            entries, base, ledger = [Entry(pattern, out, told, "--glob")], Path(), f"{DEFAULT_LEDGER}{SUFFIX}"
        else:
            entries, base, ledger = read_manifest(manifest), Path(manifest).parent, f"{manifest}{SUFFIX}"
        workers = jobs or os.cpu_count() or 1
        with _display(not as_json) as tell:
            asked = BatchOptions(workers, bound, resume, engine_of(engine, workers), tell)
            result = run(entries, ledger, base, asked)
        write_report(report, result.to_json(), lambda: html(result))
        return Answer(result.to_json, lambda: _lines(result), result.exit_code)

    raise typer.Exit(give(command, as_json, BLANK))


@contextmanager
def _display(wanted: bool) -> Iterator[Callable[..., None]]:
    """One line for each running job, and one for all; nothing where nobody looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not wanted or not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        whole, running, total = bars.add_task("all", total=None), {}, [0, 0]

        def tell(status: str, job: Any, outcome: Any) -> None:
            if status == "started":
                running[job.destination] = bars.add_task(visible(job.source), total=None)
                return
            bars.remove_task(running.pop(job.destination, whole))
            total[0], total[1] = total[0] + 1, total[1] + outcome.nbytes
            bars.update(whole, completed=total[0])

        yield tell


def _lines(report: BatchReport) -> Iterator[str]:
    counts = ", ".join(f"{number:,} {status}" for status, number in report.counts.items() if number)
    yield f"{count(len(report.outcomes), 'job')}: {counts or 'nothing to do'}"
    yield f"  ledger  {visible(str(report.ledger))}"
    for outcome in report.outcomes:
        if outcome.status == "failed":
            yield ""
            yield f"failed: {visible(outcome.job.source)} -> {visible(outcome.job.destination)}"
            for issue in outcome.issues:
                yield f"  {visible(issue.message)}"
                if issue.hint:
                    yield f"    hint: {visible(issue.hint)}"
    for issue in report.issues:
        yield ""
        yield f"error: {visible(issue.where)}: {visible(issue.message)}"
        if issue.hint:
            yield f"  hint: {visible(issue.hint)}"
