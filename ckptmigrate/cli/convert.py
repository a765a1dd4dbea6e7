"""`ckptmigrate convert`, `verify` and `diff`: two checkpoints and the report about them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ckptmigrate.cli import options
from ckptmigrate.cli.answer import BLANKS, Answer, give
from ckptmigrate.cli.progress import Progress, progress
from ckptmigrate.cli.report import report_lines
from ckptmigrate.cli.reports import as_page, check_report, is_page, reported

if TYPE_CHECKING:
    from ckptmigrate.report import Report

CONVERT_EXAMPLES = """\b
Examples:
  ckptmigrate convert train/model.ckpt-300 out/ --to tf2 --mapping auto
  ckptmigrate convert train/ model.safetensors --to safetensors --averages use
  ckptmigrate convert out/ckpt-0 back/ --to tf1 --names full_name --dry-run"""

VERIFY_EXAMPLES = """\b
Examples:
  ckptmigrate verify train/model.ckpt-300 out/ckpt-0
  ckptmigrate verify train/model.ckpt-300 out/ckpt-0 --level framework
  ckptmigrate verify train/model.ckpt-300 out/ckpt-0 --level forward --model my_models:both
  ckptmigrate verify train/model.ckpt-300 out/ckpt-0 --level resume --model my_training:both --steps 20"""

DIFF_EXAMPLES = """\b
Examples:
  ckptmigrate diff out/ckpt-1 out/ckpt-2
  ckptmigrate diff model.npz model.safetensors --atol 1e-6"""


def convert(
    source: options.Source,
    destination: Annotated[str, typer.Argument(metavar="DST", help="Prefix, file or folder to write.")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="Format to write; see `ckptmigrate formats`.")],
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
    dry_run: options.DryRun = False,
    verify: options.Verify = None,
    report: options.Report = "",
    allow_loss: options.AllowLoss = False,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Convert SRC into DST, and check the result. The report says what went where."""
    keywords = options.told(
        from_=from_, mapping=mapping, reverse=reverse, template=template, names=names, averages=averages, drop=drop,
        reinit=reinit, seed=seed, flavor=flavor, optimizer=optimizer, dialect=dialect, hyper=hyper, dtype=dtype,
        max_shard_size=max_shard_size, dry_run=dry_run, verify=verify, allow_loss=allow_loss, force=force,
    )  # fmt: skip

    def work(tell: Progress) -> Report:
        from ckptmigrate.conversion import convert as run

        check_report(report)
        return run(source, destination, to=to, progress=tell, draws=is_page(report), **keywords)

    hint = f"ckptmigrate verify {shlex.quote(source)} {shlex.quote(destination)} --level framework"
    is_checked = dry_run or verify is options.Check.framework
    _answer(work, as_json, source, destination, file=report, hint="" if is_checked else hint)


def verify(
    source: options.Source,
    destination: Annotated[str, typer.Argument(metavar="DST", help="The checkpoint that was made from SRC.")],
    *,
    mapping: options.Mapping = "",
    reverse: options.Reverse = False,
    template: options.Template = "",
    names: options.Names = "",
    averages: options.AveragesOption = None,
    drop: options.Drop = None,
    reinit: options.Reinit = None,
    seed: options.Seed = 0,
    level: Annotated[
        options.Level,
        typer.Option(
            "--level",
            help="bits: every byte. framework: TensorFlow restores it too. "
            "forward: two models of yours give the same outputs. resume: they train on in the same way. "
            "The last two compare nothing else.",
        ),
    ] = options.Level.bits,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="PKG.MOD:FN",
            help="For forward and resume: a function of yours that gives the two models, see docs/forward.md and "
            "docs/resume.md. Its code, and only this, is run because you ask for it.",
        ),
    ] = "",
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="For resume: training steps of each side. Default 5."),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(
            "--rtol",
            metavar="X",
            min=0,
            help="For forward and resume: tolerance, of an output's (default 1e-4) or weight's (1e-5) largest value.",
        ),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option("--atol", metavar="X", min=0, help="For forward and resume: absolute tolerance. Default 1e-6."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Prove that DST is what SRC becomes. The mapping is the one that DST names, unless one is given."""
    keywords = options.told(
        mapping=mapping,
        reverse=reverse,
        template=template,
        names=names,
        averages=averages,
        drop=drop,
        reinit=reinit,
        seed=seed,
    )

    def work(tell: Progress) -> Report:
        from ckptmigrate.verification import verify as run

        checks: dict[str, Any] = {"model": model, "steps": steps, "rtol": rtol, "atol": atol}
        return run(source, destination, level=options.text(level), progress=tell, **checks, **keywords)

    _answer(work, as_json, source, destination, plan=False)


def diff(
    source: Annotated[str, typer.Argument(metavar="A", help="Checkpoint: prefix, any of its files, or its folder.")],
    destination: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    *,
    mapping: options.Mapping = "",
    reverse: options.Reverse = False,
    template: options.Template = "",
    names: options.Names = "",
    averages: options.AveragesOption = None,
    drop: options.Drop = None,
    reinit: options.Reinit = None,
    seed: options.Seed = 0,
    rtol: Annotated[float, typer.Option("--rtol", metavar="X", min=0, help="Relative tolerance.")] = 0.0,
    atol: Annotated[float, typer.Option("--atol", metavar="X", min=0, help="Absolute tolerance.")] = 0.0,
    as_json: options.Json = False,
) -> None:
    """Compare two checkpoints, whatever their formats. Exit code 1 when they differ."""
    keywords = options.told(
        mapping=mapping,
        reverse=reverse,
        template=template,
        names=names,
        averages=averages,
        drop=drop,
        reinit=reinit,
        seed=seed,
    )

    def work(tell: Progress) -> Report:
        from ckptmigrate.verification import diff as run

        return run(source, destination, rtol=rtol, atol=atol, progress=tell, **keywords)

    _answer(work, as_json, source, destination, equal="equal", plan=False)


def _answer(
    work: Callable[[Progress], Report], as_json: bool, source: str, destination: str, *, file: str = "", **told: Any
) -> None:
    """Runs a command and ends the process; `told` says how its report is told (report_lines), `file` keeps it."""

    def command() -> Answer:
        with progress(not as_json) as tell:
            report = work(tell)
        hint = told.pop("hint", "") if report.exit_code == 0 else ""
        answer = Answer(report.to_json, lambda: report_lines(report, **{**told, "hint": hint}), report.exit_code)
        return reported(answer, file, lambda: as_page(report))

    blank = {**BLANKS["diff"], "source": {"path": source}, "target": {"path": destination}}
    raise typer.Exit(give(command, as_json, blank))
