"""port-detection: a model of the TF1 Object Detection API becomes a folder that the TF2 API trains and exports from."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ckptmigrate import formats
from ckptmigrate.chosen import Chosen
from ckptmigrate.conversion import convert
from ckptmigrate.detection import compensate as compensation
from ckptmigrate.detection.classification import ROOT, backbone, classifier_of
from ckptmigrate.detection.differences import differences
from ckptmigrate.detection.families import Family, detector, family_of
from ckptmigrate.detection.heads import NewClasses, with_initial_values
from ckptmigrate.detection.labels import kept_rows, read_labels
from ckptmigrate.detection.pipeline import Pipeline, read_pipeline
from ckptmigrate.detection.prototext import Document
from ckptmigrate.detection.rates import hyperparameters
from ckptmigrate.detection.rewrite import Change, Wish, rewritten
from ckptmigrate.detection.template import template_of
from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.mapping import library
from ckptmigrate.mapping.rules import Mapping
from ckptmigrate.progress import Progress, no_progress
from ckptmigrate.report import Report
from ckptmigrate.table import Checkpoint
from ckptmigrate.urls import is_remote
from ckptmigrate.wire.reading import lacks

CONFIG = "pipeline.config"
PREFIX = "ckpt-0"
FOLDED = ("_bn_offset", "_Fold/bias", "/weights/folded", "_weights_fold")
COMPENSATIONS = ("", "inference")


@dataclass(frozen=True, slots=True)
class PortOptions:
    """What is asked of a port.

    Attributes:
        num_classes: Classes of the new model; None for those of the configuration. Heads start anew.
        classes: The label map of the new model; heads keep the rows of classes that both label maps name.
        old_classes: The label map of the old model; "" for that of the configuration's training input.
        averages: keep | use | drop; "" for what the configuration's evaluation used.
        template: A checkpoint of the TF2 model; "" derives it from the configuration.
        compensate: "inference" makes SSD ResNet FPN backbones exact, for inference alone.
        optimizer: keep | drop | fresh.
        hyper: Hyperparameters that TF1 files lack; learning_rate and others default to the configuration's.
    """

    num_classes: int | None = None
    classes: str = ""
    old_classes: str = ""
    averages: str = ""
    template: str = ""
    compensate: str = ""
    optimizer: str = "keep"
    hyper: MappingOf[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Port:
    """A port, worked out as far as names and shapes go."""

    config: Pipeline
    family: Family
    is_classifier: bool
    document: Document
    changes: tuple[Change, ...]
    classes: NewClasses | None
    averages: str
    hyper: MappingOf[str, float]
    issues: tuple[Issue, ...]


def port_detection(
    pipeline_config: str | Path,
    checkpoint: str | Path,
    destination: str | Path,
    *,
    options: PortOptions | None = None,
    dry_run: bool = False,
    verify: str = "bits",
    allow_loss: bool = False,
    force: bool = False,
    progress: Progress = no_progress,
    draws: bool = False,
) -> Report:
    """Ports a model.

    Args:
        pipeline_config: The TF1 model's.
        checkpoint: Its checkpoint, as people have it; a frozen graph where that is gone.
        destination: The folder to write: `pipeline.config`, `ckpt-0` and its `checkpoint` file.
        options: What else is asked.
        dry_run, verify, allow_loss, force, progress, draws: As in `convert`.

    Returns:
        The report; its details list the changes of the configuration.

    Raises:
        SourceError: The configuration can't be read, or its model can't be ported.
        MappingError: The checkpoint is that of another model.
        UsageError: Options that don't go together.
    """
    asked = options or PortOptions()
    _check(asked)
    config = read_pipeline(pipeline_config)
    folder = str(destination).rstrip("/") if is_remote(destination) else Path(destination).as_posix()
    with formats.open_checkpoint(checkpoint) as source:
        port = _worked_out(config, source, asked, folder)
    report = convert(
        checkpoint,
        f"{folder}/",
        to="tf2",
        mapping=port.family.mapping,
        template=asked.template,
        model=None if asked.template else _template(port),
        averages=port.averages,
        optimizer="drop" if asked.compensate else asked.optimizer,
        hyper={**port.hyper, **asked.hyper},
        revise=_revision(port, asked),
        beside={CONFIG: port.document.text.encode()},
        kept=[file for file in (pipeline_config, asked.classes, asked.old_classes) if file],
        dry_run=dry_run,
        verify=verify,
        allow_loss=allow_loss,
        force=force,
        progress=progress,
        draws=draws,
    )
    changes = [{"change": str(change), "why": change.why} for change in port.changes]
    return replace(report, details={**report.details, "config": changes})


def _check(asked: PortOptions) -> None:
    if asked.num_classes is not None and asked.classes:
        raise UsageError("--num-classes and --classes: the label map tells the number of classes")
    if asked.num_classes is not None and asked.num_classes < 1:
        raise UsageError(f"--num-classes {asked.num_classes}: expected 1 or more")
    if asked.compensate not in COMPENSATIONS:
        raise UsageError(f"--compensate {asked.compensate}: expected inference")


def _worked_out(config: Pipeline, source: Checkpoint, asked: PortOptions, folder: str) -> _Port:
    family = family_of(config)
    classifier = classifier_of(config, source)
    if classifier is not None:
        family = family._replace(mapping=classifier.mapping)
    else:
        _check_model(config, family, source)
    averages, about_averages = _averages(config, source, asked)
    classes = _classes(config, asked)
    count = classes.count if classes else config.num_classes
    kind = "classification" if classifier is not None else "full"
    wish = Wish(family, f"{folder}/{PREFIX}", kind, count, averages == "keep")
    document, changes = rewritten(config, wish)
    issues = (*differences(config), *about_averages, *_sharing(config), *_of_frozen(source))
    hyper = hyperparameters(config, _steps(source))
    return _Port(config, family, classifier is not None, document, changes, classes, averages, hyper, issues)


def _of_frozen(source: Checkpoint) -> tuple[Issue, ...]:
    if source.format != "frozen-graph":
        return ()
    text = "a frozen graph has neither optimizer state nor raw weights beside averages, nor the step"
    return (Issue("frozen", "note", "", text, "the training checkpoint, where there still is one, has them"),)


def _steps(source: Checkpoint) -> int | None:
    counter = source.variables.get("global_step")
    return int(counter.tensor.read()) if counter is not None and counter.tensor.shape == () else None


def _template(port: _Port) -> Checkpoint:
    """The TF2 model of the new configuration, heads with the values that they begin with."""
    config = Pipeline(port.document, port.config.architecture)
    root = {ROOT: backbone(config)} if port.is_classifier else {"model": detector(config)}
    template = template_of(root, f"{port.family.extractor}, as {CONFIG} has it built")
    return with_initial_values(template, config)


def _check_model(config: Pipeline, family: Family, source: Checkpoint) -> None:
    """Refuses a checkpoint that lacks what the configuration's model begins with, and says whose it looks like."""
    lacking = [p.text for p in Mapping.load(family.mapping).source.requires if p.text not in source.variables]
    if not lacking:
        return
    if any(name.endswith(FOLDED) for name in source.variables):
        text = "its batch normalisations are folded into the convolutions, which no TF2 detector has"
        hint = "port the graph as export_inference_graph.py wrote it, before it was optimised for inference"
        raise MappingError(text, where=str(source.path), hint=hint)
    try:
        looks = f"its variables are those of {library.auto(source)}"
    except MappingError:
        looks = f"it has no {', '.join(lacking)}"
    hint = f"give the {CONFIG} that this checkpoint was trained with; ckptmigrate inspect CKPT shows its variables"
    raise MappingError(f"not a checkpoint of {config.extractor}: {looks}", where=str(source.path), hint=hint)


def _averages(config: Pipeline, source: Checkpoint, asked: PortOptions) -> tuple[str, tuple[Issue, ...]]:
    """keep | use | drop: as asked, else what the evaluation of this configuration read."""
    held = any(state.kind == "ema" for state in source.optimizers)
    if not held:
        return "", ()
    wants = config.flag(False, "eval_config", "use_moving_averages")
    choice = asked.averages or ("use" if wants else "drop")
    became = {"use": "the averages", "drop": "the raw values", "keep": "the raw values, the averages stand beside them"}
    why = "as asked" if asked.averages else f"as eval_config.use_moving_averages: {str(wants).lower()} says"
    text = f"the weights are {became[choice]}, {why}; statistics of batch norms have no averages"
    return choice, (Issue("averages", "note", "", text, "--averages use | keep | drop"),)


def _classes(config: Pipeline, asked: PortOptions) -> NewClasses | None:
    if asked.num_classes is not None:
        return NewClasses(config.num_classes, asked.num_classes)
    if not asked.classes:
        return None
    new = read_labels(asked.classes)
    path = asked.old_classes or config.text("", "train_input_reader", "label_map_path")
    if not path:
        raise UsageError("--classes needs the old model's label map, too", hint="--old-classes FILE names it")
    old = read_labels(_beside(path, config))
    return NewClasses(config.num_classes, max(new), kept_rows(old, new))


def _beside(path: str, config: Pipeline) -> str:
    """A path as the configuration has it; where nothing is there, a file of that name beside the configuration."""
    source = config.document.source
    near = source[: source.rfind("/") + 1] + PurePosixPath(path).name
    if is_remote(near):
        return path if is_remote(path) or not lacks(Path(path)) else near
    return near if lacks(Path(path)) and not lacks(Path(near)) else path


def _sharing(config: Pipeline) -> tuple[Issue, ...]:
    at = config.predictor
    if config.architecture != "faster_rcnn" or config.flag(False, *at, "share_box_across_classes"):
        return ()
    text = "share_box_across_classes stays off: published TF2 configurations turn it on, which has no port"
    return (Issue("config", "note", ".".join((*at, "share_box_across_classes")), text),)


def _revision(port: _Port, asked: PortOptions) -> Callable[[Checkpoint, Chosen], Chosen]:
    def revise(source: Checkpoint, chosen: Chosen) -> Chosen:
        told = [issue for issue in chosen.issues if issue.kind != "mapping"]  # its note is about other ways to use it
        chosen = replace(chosen, issues=(*told, *port.issues))
        if port.classes is not None:
            chosen = port.classes.revise(source, chosen)
        return compensation.revise(port.config, chosen) if asked.compensate else chosen

    return revise
