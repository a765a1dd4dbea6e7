"""`ckptmigrate doctor`: why a restored model does worse than it did, or isn't restored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ckptmigrate.cli.answer import BLANKS, Answer, give, issue_lines
from ckptmigrate.cli.options import From, Json, Source
from ckptmigrate.cli.progress import progress
from ckptmigrate.cli.text import count
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from ckptmigrate.doctor import Diagnosis

EXAMPLES = """\b
Examples:
  ckptmigrate doctor train/
  ckptmigrate doctor old/model.ckpt-300 --against new/ckpt-1
  ckptmigrate doctor model.ckpt --pipeline-config pipeline.config --json"""


def doctor(
    source: Source,
    *,
    against: Annotated[
        str,
        typer.Option("--against", metavar="CKPT", help="A checkpoint saved by the program that is to restore SRC."),
    ] = "",
    pipeline: Annotated[
        str,
        typer.Option("--pipeline-config", metavar="FILE", help="The pipeline.config that SRC is for."),
    ] = "",
    from_: From = "",
    as_json: Json = False,
) -> None:
    """Say why a restored model does worse. Or why it isn't restored; reads every value once."""

    def command() -> Answer:
        from ckptmigrate.doctor import diagnose

        with progress(not as_json) as report:
            found = diagnose(
                source, against=against or None, pipeline_config=pipeline or None, from_=from_, progress=report
            )
        return Answer(found.to_json, lambda: _lines(found), found.exit_code)

    raise typer.Exit(give(command, as_json, {**BLANKS["doctor"], "path": source}))


def _lines(found: Diagnosis) -> Iterator[str]:
    yield f"{visible(found.used)}  [{found.format}]" if found.format else visible(found.used)
    yield ""
    severities = Counter[str](issue.severity for issue in found.findings)
    told = [count(severities[s], s) for s in ("error", "warning", "note") if severities[s]]
    yield (", ".join(told) or "nothing found") + (f" in {count(found.tensors, 'tensor')}" if found.format else "")
    if found.findings:
        yield ""
        yield from issue_lines(found.findings)
