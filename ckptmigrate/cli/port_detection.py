"""`ckptmigrate port-detection`: a model of the TF1 Object Detection API, ported to its TF2 code."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from ckptmigrate.cli import options
from ckptmigrate.cli.answer import BLANKS, Answer, give
from ckptmigrate.cli.progress import progress
from ckptmigrate.cli.report import report_lines
from ckptmigrate.cli.reports import as_page, check_report, is_page, reported

EXAMPLES = """\b
Examples:
  ckptmigrate port-detection pipeline.config train/model.ckpt-300 out/
  ckptmigrate port-detection pipeline.config train/ out/ --classes new_label_map.pbtxt
  ckptmigrate port-detection pipeline.config frozen_inference_graph.pb out/ --dry-run"""


def port_detection(
    config: Annotated[str, typer.Argument(metavar="PIPELINE_CONFIG", help="The TF1 model's pipeline.config.")],
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CKPT", help="Its checkpoint: prefix, any of its files, its folder; or frozen graph."),
    ],
    folder: Annotated[str, typer.Argument(metavar="OUTDIR", help="The folder to write.")],
    *,
    num_classes: Annotated[
        int | None,
        typer.Option("--num-classes", metavar="N", min=1, help="Another number of classes: heads start anew."),
    ] = None,
    classes: Annotated[
        str, typer.Option("--classes", metavar="FILE", help="The new label map: heads keep the classes that go on.")
    ] = "",
    old_classes: Annotated[
        str, typer.Option("--old-classes", metavar="FILE", help="The old label map, if not the one of PIPELINE_CONFIG.")
    ] = "",
    averages: Annotated[
        options.Averages | None,
        typer.Option("--averages", help="What becomes of moving averages. Default: what its evaluation used."),
    ] = None,
    template: Annotated[
        str,
        typer.Option("--template", metavar="CKPT", help="A checkpoint of the TF2 model, in place of a derived one."),
    ] = "",
    compensate: Annotated[
        str,
        typer.Option(
            "--compensate", metavar="inference", help="SSD ResNet FPN: the backbone's exact outputs, not for training."
        ),
    ] = "",
    optimizer: options.OptimizerOption = None,
    hyper: Annotated[
        list[str] | None,
        typer.Option(
            "--hyper", metavar="NAME=VALUE", help="A hyperparameter, in place of the config's. May be repeated."
        ),
    ] = None,
    dry_run: options.DryRun = False,
    verify: options.Verify = None,
    report: options.Report = "",
    allow_loss: Annotated[bool, typer.Option("--allow-loss", help="Go on where TF2 computes something else.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an older port in OUTDIR.")] = False,
    as_json: options.Json = False,
) -> None:
    """Port a TF1 detection model to TF2. OUTDIR gets what the TF2 Object Detection API trains from."""
    asked = options.told(
        num_classes=num_classes, classes=classes, old_classes=old_classes, averages=averages, template=template,
        compensate=compensate, optimizer=optimizer, hyper=hyper,
    )  # fmt: skip
    keywords = options.told(dry_run=dry_run, verify=verify, allow_loss=allow_loss, force=force)

    def command() -> Answer:
        from ckptmigrate.detection.port import PortOptions
        from ckptmigrate.detection.port import port_detection as run

        check_report(report)
        with progress(not as_json) as tell:
            result = run(
                config,
                checkpoint,
                folder,
                options=PortOptions(**asked),
                progress=tell,
                draws=is_page(report),
                **keywords,
            )
        hint = "" if result.exit_code or dry_run else _next(folder)
        answer = Answer(result.to_json, lambda: report_lines(result, hint=hint), result.exit_code)
        return reported(answer, report, lambda: as_page(result))

    blank = {**BLANKS["convert"], "source": {"path": checkpoint}, "target": {"path": folder}}
    raise typer.Exit(give(command, as_json, blank))


def _next(folder: str) -> str:
    place = shlex.quote(folder.rstrip("/") or "/")
    return f"python model_main_tf2.py --pipeline_config_path={place}/pipeline.config --model_dir=NEW_FOLDER"
