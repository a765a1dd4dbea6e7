"""Writing SavedModels: variables alone, or new values under a template's graph."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from glob import escape
from pathlib import Path

from ckptmigrate.errors import SourceError
from ckptmigrate.formats import bundles
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.formats.savedmodel.bare import bare
from ckptmigrate.formats.savedmodel.filled import fill
from ckptmigrate.formats.savedmodel.naming import (
    ASSETS,
    FINGERPRINT,
    HUB_MODULE,
    KERAS_METADATA,
    PROTO,
    VARIABLES,
)
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint
from ckptmigrate.wire.output_file import write_file
from ckptmigrate.wire.reading import stream
from ckptmigrate.wire.state_file import STATE_NAME


class SavedModelWriter:
    """Writes a folder."""

    dialects: tuple[str, ...] = ("keras-legacy", "tf1", "keras2", "keras3")
    holds_averages = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What can't be held; under a template's graph, what it has no place for or can't compute with."""
        template = _graph_of(options)
        if template is not None:
            return fill(checkpoint, template).issues
        made = bare(checkpoint, options.template)
        return (*bundles.key_issues(made.stored), *made.issues, *_below_variables(checkpoint))

    def outputs(self, name: str) -> tuple[str, ...]:
        """The folder, and all that may lie in one that is replaced."""
        plain = escape(name)
        bundle = (f"{VARIABLES}/{part}" for part in (*bundles.outputs(VARIABLES), STATE_NAME))
        parts = (PROTO, KERAS_METADATA, FINGERPRINT, HUB_MODULE, VARIABLES, *bundle, *ASSETS)
        return (plain, *(f"{plain}/{part}" for part in parts))

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """Its files tell optimizers apart."""
        return {}

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """Writes the folder `name`."""
        home = folder / name
        (home / VARIABLES).mkdir(parents=True)
        template = _graph_of(options)
        if template is not None:
            stored = fill(checkpoint, template).stored
            _copy_graph(template.path, home)
        else:
            made = bare(checkpoint, options.template)
            stored = made.stored
            write_file(home / PROTO, made.proto)
        written = bundles.write_bundle(home / VARIABLES, VARIABLES, stored, replace(options, state_file=False))
        for place in (home / VARIABLES, home, folder):
            _settle(place)
        return Written((name,), name, bytes_moved=written.bytes_moved, bytes_cloned=written.bytes_cloned)


def _graph_of(options: WriteOptions) -> Checkpoint | None:
    """The template, where it has a graph to put values under."""
    template = options.template
    return template if template is not None and template.format == "savedmodel" else None


def _below_variables(checkpoint: Checkpoint) -> Iterator[Issue]:
    """TensorFlow loads a variable that is an attribute of another one as an empty tensor, and says nothing."""
    for name in checkpoint.variables:
        parts = name.split("/")
        above = next((u for n in range(1, len(parts)) if (u := "/".join(parts[:n])) in checkpoint.variables), None)
        if above is not None:
            hint = "give one of them another name with a mapping, or leave it out: --drop"
            yield Issue("unholdable", "error", name, f"its name leads through that of the variable {above}", hint)


def _copy_graph(source: Path, target: Path) -> None:
    """Copies what a SavedModel has beside its variables, but for the fingerprint, which speaks of them too.

    Raises:
        SourceError: One of its files is a link that leads out of it.
    """
    inside = source.resolve()
    files = [source / name for name in (PROTO, KERAS_METADATA, HUB_MODULE) if (source / name).is_file()]
    for folder in ASSETS:
        if (source / folder).is_dir():
            (target / folder).mkdir()
            files += [file for file in sorted((source / folder).rglob("*")) if file.is_file()]
    for file in files:
        if not file.resolve().is_relative_to(inside):
            hint = "copy the SavedModel with its links followed (cp -rL), and give the copy"
            raise SourceError("a link that leads out of the SavedModel is not followed", where=str(file), hint=hint)
        copy = target / file.relative_to(source)
        if not copy.parent.is_dir():
            copy.parent.mkdir(parents=True)
        with stream(file) as content, copy.open("xb") as written:
            shutil.copyfileobj(content, written)
        _settle(copy)


def _settle(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


WRITER = SavedModelWriter()
