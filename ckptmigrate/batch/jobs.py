"""Jobs: every checkpoint that the entries of a manifest name, each with its own output."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ckptmigrate.batch.manifest import Entry
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.formats import by_name
from ckptmigrate.formats.paths import resolve
from ckptmigrate.issues import Issue
from ckptmigrate.urls import is_remote
from ckptmigrate.wire import store
from ckptmigrate.wire.names import INDEX_SUFFIX
from ckptmigrate.wire.state_file import STATE_NAME

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
    if is_remote(entry.source):
        found = dict.fromkeys(_remote_sources(entry.source))
    else:
        found = dict.fromkeys(str(resolve(path).path) for path in _sources(entry.source, base))
    for source in found:
        yield Job(source, _target(entry, source, base), entry.options, entry.where)


def _remote_sources(source: str) -> list[str]:
    urls = store.glob(source) if glob.has_magic(source) else [source]
    return [url.removesuffix(INDEX_SUFFIX) for url in urls if _may_be_source(PurePosixPath(url).name)]


def _may_be_source(name: str) -> bool:
    """Of a bundle's files the index stands for all."""
    return not _PART.search(name) and name != STATE_NAME


def _sources(source: str, base: Path) -> list[Path]:
    whole = base / source
    if not glob.has_magic(source) or os.path.exists(whole):  # noqa: PTH110 Path.exists raises of long names
        return [whole]
    found = [Path(name) for name in glob.glob(str(whole), recursive=True)]  # noqa: PTH207 `**` and hidden files as in shells
    return sorted(p for p in found if not _PART.search(p.name) and not (p.name == STATE_NAME and p.is_file()))


def _target(entry: Entry, source: str, base: Path) -> str:
    """The output's path; a folder stays a folder."""
    path = PurePosixPath(source)
    known = {
        "stem": path.name if os.path.isdir(source) else _stem(path.name),  # noqa: PTH112 it may be a URL
        "name": path.name,
        "parent": path.parent.name,
    }

    def fill(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise CkptMigrateError(
                f"unknown {found[0]} in `to`", hint=f"there are {', '.join(f'{{{k}}}' for k in known)}"
            )
        return known[found[1]]

    text = _HOLE.sub(fill, entry.target)
    if is_remote(text):
        return text
    return str(base / text) + ("/" if text.endswith("/") else "")


def _stem(name: str) -> str:
    """A name without its suffixes; the numbers of a bundle's prefix stay (`model.ckpt-300`)."""
    for suffix in (".weights.h5", ".index", ".h5", ".hdf5", ".keras", ".safetensors", ".npz", ".pb"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
