"""Jobs: every checkpoint that the entries of a manifest name, each with its own output."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptmigrate.batch.manifest import Entry
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.formats import by_name
from ckptmigrate.formats.paths import resolve
from ckptmigrate.issues import Issue

_HOLE = re.compile(r"\{(\w*)\}")
_PART = re.compile(r"\.(data-\d+-of-\d+|meta)$")  # of a bundle, whose index stands for it


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion.

    Attributes:
        source: What is converted, as resolved.
        destination: Where to, as `convert` takes it.
        options: Keyword arguments of `convert`.
        where: The manifest's line.
        is_ours: Whether an earlier run of this batch wrote there, which may be written anew.
    """

    source: str
    destination: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    is_ours: bool = False


def jobs_of(entries: Sequence[Entry], base: Path) -> tuple[list[Job], list[Issue]]:
    """The jobs, in the manifest's order, and what is wrong with entries: those go on that aren't.

    Args:
        entries: Of the manifest.
        base: The folder that relative paths start from.
    """
    jobs: dict[str, Job] = {}
    issues: list[Issue] = []
    for entry in entries:
        try:
            found = list(_jobs_of(entry, base))
        except CkptMigrateError as error:
            issues.append(Issue("entry", "error", entry.source, error.message, error.hint, entry.where))
            continue
        if not found:
            hint = "patterns are quoted, and relative to the manifest's folder"
            issues.append(Issue("entry", "error", entry.source, "nothing fits this pattern", hint, entry.where))
        for job in found:
            other = jobs.setdefault(job.destination, job)
            if other is not job and other.source != job.source:
                text = f"{other.source} and {job.source} would both become {job.destination}"
                hint = "tell them apart: {parent}, {stem}, {name} in `to`"
                issues.append(Issue("entry", "error", entry.source, text, hint, entry.where))
    return list(jobs.values()), issues


def _jobs_of(entry: Entry, base: Path) -> Iterator[Job]:
    by_name(entry.options["to"])
    seen = set()
    for path in _sources(entry.source, base):
        source = resolve(path).path
        if source not in seen:
            seen.add(source)
            yield Job(str(source), _target(entry, source, base), entry.options, entry.where)


def _sources(source: str, base: Path) -> list[Path]:
    whole = base / source
    if not glob.has_magic(source) or os.path.exists(whole):  # noqa: PTH110 Path.exists raises of long names
        return [whole]
    found = [Path(name) for name in glob.glob(str(whole), recursive=True)]  # noqa: PTH207 `**` and hidden files as in shells
    return sorted(p for p in found if not _PART.search(p.name) and not (p.name == "checkpoint" and p.is_file()))


def _target(entry: Entry, source: Path, base: Path) -> str:
    """The output's path; a folder stays a folder."""
    known = {
        "stem": source.name if source.is_dir() else _stem(source.name),
        "name": source.name,
        "parent": source.parent.name,
    }

    def fill(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise CkptMigrateError(
                f"unknown {found[0]} in `to`", hint=f"there are {', '.join(f'{{{k}}}' for k in known)}"
            )
        return known[found[1]]

    text = _HOLE.sub(fill, entry.target)
    return str(base / text) + ("/" if text.endswith("/") else "")


def _stem(name: str) -> str:
    """A name without its suffixes; the numbers of a bundle's prefix stay (`model.ckpt-300`)."""
    for suffix in (".weights.h5", ".index", ".h5", ".hdf5", ".keras", ".safetensors", ".npz", ".pb"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
