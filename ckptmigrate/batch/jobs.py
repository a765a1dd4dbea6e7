"""Jobs: every checkpoint that the entries of a manifest name, each with its own output."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ckptmigrate.batch.manifest import Entry
from ckptmigrate.batch.sources import fixed_part, is_pattern, sources_of
from ckptmigrate.destination import Destination, destination_of
from ckptmigrate.errors import CkptMigrateError, OutputError, UsageError
from ckptmigrate.formats import by_name
from ckptmigrate.issues import Issue
from ckptmigrate.planning import CHOICES, check_choices, writer_of
from ckptmigrate.urls import is_remote

_HOLE = re.compile(r"\{(\w*)\}")
_HOLES = ("stem", "name", "parent", "folder")
_SUFFIXES = (
    ".safetensors.index.json", ".weights.json", ".weights.h5",
    ".index", ".h5", ".hdf5", ".keras", ".safetensors", ".npz", ".pb",
)  # fmt: skip
_SHOWN = 3  # sources with one output, in a message


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion.

    Attributes:
        source: What is converted, as resolved.
        destination: Where to, as `convert` takes it.
        options: Keyword arguments of `convert`.
        where: The manifest's line.
        made_of: Digests of sources that earlier runs of this batch made it of: such an output may be written anew.
    """

    source: str
    destination: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    made_of: tuple[str, ...] = ()

    @property
    def place(self) -> Destination:
        """Where its output stands.

        Raises:
            OutputError: It can't stand there.
        """
        target = by_name(self.options["to"])
        return destination_of(self.destination, target.default_name, writes_folder=target.is_folder)


def jobs_of(entries: Sequence[Entry], base: Path, written: Collection[str] = ()) -> tuple[list[Job], list[Issue]]:
    """The jobs, in the manifest's order, and what is wrong with entries: those go on that aren't.

    Args:
        entries: Of the manifest.
        base: The folder that relative paths start from.
        written: Outputs of earlier runs of this batch, which are no sources of a pattern.
    """
    rivals: dict[str, list[Job]] = {}
    issues: list[Issue] = []
    for entry in entries:
        try:
            found = list(_jobs_of(entry, base, written))
        except CkptMigrateError as error:
            issues.append(Issue("entry", "error", entry.source, error.message, error.hint, entry.where))
            continue
        if not found:
            hint = f"it starts from {base.absolute()}; `~` and {{a,b}} are the shell's: write them out"
            hint = "check the bucket, and the folders in it" if is_remote(entry.source) else hint
            issues.append(Issue("entry", "error", entry.source, "nothing fits this pattern", hint, entry.where))
        for job in found:
            same = rivals.setdefault(_place(job), [])
            if not any((job.source, job.options) == (other.source, other.options) for other in same):
                same.append(job)
    issues += [_clash(same) for same in rivals.values() if len(same) > 1]
    sources = {_real(job.source) for same in rivals.values() for job in same}
    lost = [job for place, (job, *_) in rivals.items() if place in sources and job.options.get("force")]
    for job in lost:
        text = f"{job.source} would replace this, which is a source as well; it isn't converted"
        issues.append(Issue("entry", "error", job.destination, text, "name another output in `to`", job.where))
    return [same[0] for same in rivals.values() if len(same) == 1 and same[0] not in lost], issues


def _place(job: Job) -> str:
    """Where its output stands, however that is spelled."""
    if is_remote(job.destination):
        return job.destination  # asking the store once for each job takes longer than some jobs do
    try:
        return _real(str(job.place.path))
    except OutputError:
        return job.destination  # it will tell


def _real(path: str) -> str:
    return path if is_remote(path) else os.path.realpath(path)


def _clash(jobs: Sequence[Job]) -> Issue:
    """Several jobs with one output: none of them is the one that is meant."""
    sources = list(dict.fromkeys(job.source for job in jobs))
    named = ", ".join(sources[:_SHOWN]) + (f" and {len(sources) - _SHOWN:,} more" if len(sources) > _SHOWN else "")
    if len(sources) > 1:
        text = f"{len(sources):,} checkpoints would become this one: {named}; none of them is converted"
        hint = "tell them apart in `to`: {folder}, {parent}, {stem}, {name}"
    else:
        text = f"{named} would be converted to this in {len(jobs)} ways; it isn't converted"
        hint = "give each its own `to`, or leave this checkpoint out of the pattern"
    where = ", ".join(dict.fromkeys(job.where for job in jobs))
    return Issue("entry", "error", jobs[0].destination, text, hint, where)


def _jobs_of(entry: Entry, base: Path, written: Collection[str]) -> Iterator[Job]:
    writer_of(entry.options["to"])
    check_choices({name: entry.options[name] for name in CHOICES if name in entry.options})
    if unknown := [hole for hole in _HOLE.findall(entry.target) if hole not in _HOLES]:
        hint = f"there are {', '.join(f'{{{hole}}}' for hole in _HOLES)}"
        raise UsageError(f"unknown {{{unknown[0]}}} in `to`", hint=hint)
    for source in sources_of(entry.source, base):
        is_output = source in written or f"{PurePosixPath(source).parent}/" in written
        if not (is_output and is_pattern(entry.source, base)):
            yield Job(source, _target(entry, source, base), entry.options, entry.where)


def _target(entry: Entry, source: str, base: Path) -> str:
    """The output's path; a folder stays a folder."""
    path, fixed = PurePosixPath(source), fixed_part(entry.source)
    holes = {
        "stem": path.name if os.path.isdir(source) else _stem(path.name),  # noqa: PTH112 it may be a URL
        "name": path.name,
        "parent": path.parent.name,
        "folder": _folder(path.parent, PurePosixPath(fixed if is_remote(source) else base / fixed)),
    }
    text = _HOLE.sub(lambda found: holes[found[1]], entry.target)
    scheme, mark, rest = text.rpartition("://")
    whole = f"{scheme}{mark}{PurePosixPath(rest)}" if is_remote(text) else str(base / text)
    return whole + ("/" if text.endswith("/") else "")


def _folder(of: PurePosixPath, fixed: PurePosixPath) -> str:
    """The folders between the fixed part of a pattern and a source; "." where there are none."""
    return str(of.relative_to(fixed)) if of.is_relative_to(fixed) else "."


def _stem(name: str) -> str:
    """A name without its suffixes; the numbers of a bundle's prefix stay (`model.ckpt-300`)."""
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
