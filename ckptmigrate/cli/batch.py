"""`ckptmigrate batch`: many conversions, in processes, that a killed run goes on with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ckptmigrate.cli import options
from ckptmigrate.cli.answer import Answer, Ended, give, issue_lines
from ckptmigrate.cli.progress import batch_progress
from ckptmigrate.cli.reports import check_report, reported
from ckptmigrate.cli.text import SHOWN, count, shortened
from ckptmigrate.errors import UsageError
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from ckptmigrate.batch import BatchReport, Entry
    from ckptmigrate.batch.work import Outcome

EXAMPLES = """\b
Examples:
  ckptmigrate batch archive.yaml --jobs 8 --report archive.html
  ckptmigrate batch archive.yaml --jobs 8 --resume
  ckptmigrate batch --glob 'models/**/*.index' --out 'new/{parent}/{stem}' --to tf2 --mapping auto

\b
A manifest:
  ckptmigrate-batch: 1
  defaults: {to: tf2, mapping: auto}
  entries:
    - {from: 'models/*/model.ckpt-*.index', to: 'new/{parent}/'}
    - {from: old/model.h5, to: new/model.keras, format: keras-v3}

\b
Options of a conversion go for every checkpoint, whatever the manifest says; `convert --help` explains them."""

BLANK: dict[str, Any] = {"ledger": "", "counts": {}, "jobs": [], "issues": []}
DEFAULT_LEDGER = "ckptmigrate-batch"


def batch(
    manifest: Annotated[str, typer.Argument(metavar="[MANIFEST]", help="YAML: which checkpoints, where to, how.")] = "",
    *,
    pattern: Annotated[
        str, typer.Option("--glob", metavar="PATTERN", help="In place of a manifest: the checkpoints.")
    ] = "",
    out: Annotated[
        str,
        typer.Option("--out", metavar="PATH", help="With --glob: where to, with {stem}, {name}, {parent}, {folder}."),
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="Format to write; see `ckptmigrate formats`.")] = "",
    from_: options.From = "",
    mapping: options.Mapping = "",
    reverse: options.Reverse = False,
    template: options.Template = "",
    names: options.Names = "",
    averages: options.AveragesOption = None,
    drop: options.Drop = None,
    reinit: options.Reinit = None,
    seed: options.Seed = 0,
    flavor: options.FlavorOption = None,
    optimizer: options.OptimizerOption = None,
    dialect: options.DialectOption = None,
    hyper: options.Hyper = None,
    dtype: options.DType = "",
    max_shard_size: options.MaxShardSize = None,
    verify: options.Verify = None,
    allow_loss: options.AllowLoss = False,
    force: options.Force = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes. Default: one for each core.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Memory of all processes together, such as 8GB.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that ended early.")] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="ENGINE", help="What runs the jobs: processes, dask, or dask:tcp://HOST:PORT."
        ),
    ] = "processes",
    report: Annotated[str, typer.Option("--report", metavar="FILE", help="Also write a summary, .json or .html.")] = "",
    as_json: options.Json = False,
) -> None:
    """Convert many checkpoints. One that fails doesn't stop the rest; a killed run goes on with --resume."""
    bound = options.parse_size(max_memory)
    told = options.told(
        to=to, from_=from_, mapping=mapping, reverse=reverse, template=template, names=names, averages=averages,
        drop=drop, reinit=reinit, seed=seed, flavor=flavor, optimizer=optimizer, dialect=dialect, hyper=hyper,
        dtype=dtype, max_shard_size=max_shard_size, verify=verify, allow_loss=allow_loss, force=force,
    )  # fmt: skip

    def command() -> Answer:
        from ckptmigrate.batch import BatchOptions
        from ckptmigrate.batch import batch as run
        from ckptmigrate.batch.engines import engine_of
        from ckptmigrate.batch.summary import html

        check_report(report)
        entries, base, ledger = _asked(manifest, pattern, out, told)
        workers = jobs or os.cpu_count() or 1
        with batch_progress(not as_json) as tell:
            asked = BatchOptions(workers, bound, resume, engine_of(engine, workers), tell)
            try:
                result = run(entries, ledger, base, asked)
            except Ended as end:
                end.hint = "the same command with --resume goes on"
                raise
        answer = Answer(result.to_json, lambda: _lines(result), result.exit_code)
        return reported(answer, report, lambda: html(result))

    raise typer.Exit(give(command, as_json, BLANK))


def _asked(manifest: str, pattern: str, out: str, told: dict[str, Any]) -> tuple[list[Entry], Path, str]:
    """The entries, the folder they start from, and the ledger."""
    from ckptmigrate.batch import Entry, read_manifest
    from ckptmigrate.batch.ledger import SUFFIX

    if bool(manifest) == bool(pattern):
        raise UsageError("expected a manifest, or --glob with --out and --to", hint="ckptmigrate batch --help")
    if manifest:
        return read_manifest(manifest, told), Path(manifest).parent, f"{manifest}{SUFFIX}"
    if not (out and "to" in told):
        raise UsageError("--glob needs --out and --to", hint="--out 'new/{parent}/{stem}' --to tf2")
    return [Entry(pattern, out, told, "--glob")], Path(), f"{DEFAULT_LEDGER}{SUFFIX}"


def _lines(report: BatchReport) -> Iterator[str]:
    """Failures by what they say, then the counts: those are seen in the morning."""
    from ckptmigrate.batch.summary import alike

    groups = alike(outcome for outcome in report.outcomes if outcome.status == "failed")
    for group in groups[:SHOWN]:
        yield from _failures(group)
    if rest := sum(map(len, groups[SHOWN:])):
        yield from (f"failed: {rest:,} more; --json and --report list all", "")
    if report.issues:
        yield from (*issue_lines(report.issues), "")
    counts = ", ".join(f"{number:,} {status}" for status, number in report.counts.items() if number)
    yield f"{count(len(report.outcomes), 'job')}: {counts or 'nothing to do'}"
    if told := sum(outcome.status == "done" and bool(outcome.issues) for outcome in report.outcomes):
        yield f"  {told:,} done with losses or warnings: --json and --report list them"
    yield f"  ledger  {visible(str(report.ledger))}"


def _failures(alike: Sequence[Outcome]) -> Iterator[str]:
    """What the first one says, and the names of the others."""
    first, *others = alike
    yield f"failed: {visible(first.job.source)} -> {visible(first.job.destination)}"
    told = []
    for issue in first.issues:
        told += [f"  {visible(issue.message)}", *([f"    hint: {visible(issue.hint)}"] if issue.hint else [])]
    yield from shortened(told)
    if others:
        yield f"  and {len(others):,} more like it:"
        yield from shortened([f"    {visible(outcome.job.source)}" for outcome in others], indent="    ")
    yield ""
