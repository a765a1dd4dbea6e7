"""`ckptmigrate average`: the mean of several checkpoints of one model."""

from __future__ import annotations

from typing import Annotated

import typer

from ckptmigrate.cli import options
from ckptmigrate.cli.answer import BLANKS, Answer, give
from ckptmigrate.cli.progress import progress
from ckptmigrate.cli.report import report_lines
from ckptmigrate.errors import UsageError

EXAMPLES = """\b
Examples:
  ckptmigrate average 'train/ckpt-*' mean/
  ckptmigrate average epoch-8.weights.h5 epoch-9.weights.h5 mean.weights.h5
  ckptmigrate average 'train/model.ckpt-*' mean.safetensors --to safetensors"""


def average(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="SRC... DST", help="Checkpoints of one model, or a quoted pattern; then what to write."),
    ],
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="Format to write. Default: that of the newest SRC.")
    ] = "",
    from_: options.From = "",
    verify: options.Verify = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Write the mean of several checkpoints. Float variables are averaged, counters are those of the newest."""
    *sources, destination = paths
    keywords = options.told(to=to, from_=from_, verify=verify, force=force)

    def command() -> Answer:
        from ckptmigrate.averaging import average as run

        if not sources:
            raise UsageError("expected checkpoints, and then what to write", hint="ckptmigrate average A B DST")
        with progress(not as_json) as tell:
            report = run(sources, destination, progress=tell, **keywords)
        return Answer(report.to_json, lambda: report_lines(report), report.exit_code)

    blank = {**BLANKS["convert"], "source": {"path": " ".join(sources)}, "target": {"path": destination}}
    raise typer.Exit(give(command, as_json, blank))
