"""doctor: why a restored model does worse than it did, or isn't restored; each finding with why and what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from ckptmigrate import formats
from ckptmigrate.detection.prototext import read
from ckptmigrate.doctor.averages import examine_averages
from ckptmigrate.doctor.case import Case, Examination
from ckptmigrate.doctor.folder import examine_folder
from ckptmigrate.doctor.norms import examine_norms
from ckptmigrate.doctor.paths import examine_path
from ckptmigrate.doctor.pipeline import examine_pipeline
from ckptmigrate.doctor.restoring import examine_restoring
from ckptmigrate.doctor.states import examine_states
from ckptmigrate.doctor.values import damaged_bundle, examine_values, read_values
from ckptmigrate.doctor.versions import PACKAGES, examine_versions
from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.issues import Issue
from ckptmigrate.progress import Progress, no_progress

EXAMINATIONS: tuple[Examination, ...] = (
    examine_path,
    examine_values,
    examine_norms,
    examine_states,
    examine_averages,
    examine_versions,
    examine_restoring,
    examine_pipeline,
)


class Diagnosis(NamedTuple):
    """What was found.

    Attributes:
        path: What was typed.
        used: What was examined, and how it was found.
        format: Its format; "" where it can't be opened.
        findings: Errors, warnings and notes.
        tensors: How many were read.
    """

    path: str
    used: str
    format: str
    findings: tuple[Issue, ...]
    tensors: int = 0

    @property
    def exit_code(self) -> int:
        """1 when there is an error among the findings, else 0."""
        return int(any(issue.severity == "error" for issue in self.findings))

    def to_json(self) -> dict[str, Any]:
        """The document of `doctor --json`."""
        return {"path": self.path, "findings": [issue.to_json() for issue in self.findings]}


def diagnose(
    path: str | Path,
    *,
    against: str | Path | None = None,
    pipeline_config: str | Path | None = None,
    from_: str = "",
    progress: Progress = no_progress,
) -> Diagnosis:
    """Examines a checkpoint: its files, values, batch normalisations, optimizer state and averages.

    Every tensor is read once, one at a time. A checkpoint that is damaged, or whose files are incomplete, is a finding.

    Args:
        path: A prefix, file or folder, as people have it.
        against: A checkpoint that the program which is to restore saved: what would it find here?
        pipeline_config: The `pipeline.config` of the Object Detection API that the checkpoint is for.
        from_: The format's id; "" finds out.
        progress: Told how far it is.

    Raises:
        SourceError: There is nothing at `path`, nothing that can be read at `against` or `pipeline_config`.

    >>> diagnose("model.ckpt", against="ckpt-0").exit_code  # doctest: +SKIP
    1
    """
    given = str(path)
    pipeline = read(pipeline_config, "a pipeline.config") if pipeline_config is not None else None
    with ExitStack() as stack:
        other = stack.enter_context(formats.open_checkpoint(against)) if against is not None else None
        try:
            checkpoint = stack.enter_context(formats.open_checkpoint(path, from_))
        except (SourceError, DamagedError) as error:
            return _unopened(given, error)
        scans, unread = read_values(checkpoint, progress)
        case = Case(given, checkpoint, other, str(against or ""), pipeline, scans, _installed())
        findings = [*checkpoint.issues, *unread, *examine_folder(case.prefix.parent, case.prefix.name)]
        findings += [issue for examine in EXAMINATIONS for issue in examine(case)]
        used = str(checkpoint.metadata.get("used") or checkpoint.path)
        return Diagnosis(given, used, checkpoint.format, tuple(findings), len(list(checkpoint.rows())))


def _unopened(given: str, error: CkptMigrateError) -> Diagnosis:
    """What the folder tells of a checkpoint that can't be opened; the error, where there is nothing at all."""
    path = Path(given)
    folder = path if path.is_dir() else path.parent
    around = tuple(examine_folder(folder)) if folder.is_dir() else ()
    if isinstance(error, DamagedError):
        first = damaged_bundle(given) or [Issue("damaged", "error", "", error.message, error.hint, error.where)]
        return Diagnosis(given, given, "", (*first, *around))
    if not path.exists() and not any(issue.name.startswith(path.name) for issue in around):
        raise error
    return Diagnosis(given, given, "", (Issue("source", "error", "", error.message, error.hint, error.where), *around))


def _installed() -> dict[str, str]:
    return {name: found for name in PACKAGES for found in _version(name)}


def _version(package: str) -> Iterator[str]:
    try:
        yield version(package.replace("_", "-"))
    except PackageNotFoundError:
        return
