"""What a format is: one record with its reader and writer, and the options a writer takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint

NUMBER = "[0-9]" * 5  # of a shard, as a glob pattern


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What the user asked of a writer.

    Attributes:
        template: A checkpoint of the target model: supplies names, order, object graph, layout.
        flavor: `tf_keras | keras3 | paths`, or "" for the default (design section 4).
        max_shard_bytes: Largest output file, for the formats that can split; None for one file.
        provenance: JSON-able record of where the output came from; the same input gives the same record.
        name: The output's base name, where its suffix decides between forms of a format.
        state_file: True when a bundle's folder gets a `checkpoint` state file.
        on_bytes: Told how many bytes were just written; for progress.
    """

    template: Checkpoint | None = None
    flavor: str = ""
    max_shard_bytes: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    state_file: bool = False
    on_bytes: Callable[[int], None] = lambda count: None


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer left in the staging folder.

    Attributes:
        files: Names relative to the folder, in the order in which they are to be published.
        commit: The file (or folder) that makes the output exist; published last.
        bytes_moved, bytes_cloned: Tensor bytes that were copied, and those that were shared or copied by the kernel.
    """

    files: tuple[str, ...]
    commit: str
    bytes_moved: int = 0
    bytes_cloned: int = 0


class Writer(Protocol):
    """Writes a Checkpoint in one format."""

    dialects: tuple[str, ...]
    """Dialects its files hold optimizer state in, the natural one first; () when it takes every dialect as it is."""
    holds_averages: bool
    """True when averages can stand beside the raw weights."""

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What the format can't hold, before a byte is written. Reads no tensor data."""

    def outputs(self, name: str) -> tuple[str, ...]:
        """Glob patterns of the files an output called `name` may consist of, the commit file's first."""

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """(optimizer, name, slot) -> the key it is written under, or the name it is read by, where that isn't its own.

        {} where files keep names and tell optimizers apart.
        """

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """Writes into the existing, empty `folder`, fsyncs, and says what it wrote."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format. Its reader and writer are modules of its folder that load on first use.

    Attributes:
        name: Its id on the command line.
        title: One line for people.
        suffixes: Usual file suffixes, for `--from` messages and default destinations.
        home: The package with `reader.py` (functions `identify` and `read`) and, where it can be written, `writer.py`
            (a `WRITER`).
        is_writable: False for formats that are only read.
        default_name: The base name when the destination is a folder; "" when the destination must be a file.
        is_folder: True when the output is itself a folder.
        hint: Shown when it can be recognised but not used as asked.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    home: str
    is_writable: bool = True
    default_name: str = ""
    is_folder: bool = False
    hint: str = ""

    def identify(self, path: Path) -> bool:
        """Whether a path (already resolved to a prefix, file or folder) is of this format; never raises for others."""
        return bool(self._module("reader").identify(path))

    def read(self, path: Path) -> Checkpoint:
        """Opens it, lazily. Raises SourceError or DamagedError."""
        checkpoint: Checkpoint = self._module("reader").read(path)
        return checkpoint

    @property
    def writer(self) -> Writer | None:
        """What writes it, or None."""
        if not self.is_writable:
            return None
        writer: Writer = self._module("writer").WRITER
        return writer

    def _module(self, name: str) -> ModuleType:
        return import_module(f"{self.home}.{name}")
