"""Reading name-based bundles."""

from __future__ import annotations

from pathlib import Path

from ckptmigrate.formats.bundles import facts_of, files_of, holds_graph, issues_of
from ckptmigrate.formats.named import read_named
from ckptmigrate.table import Checkpoint
from ckptmigrate.wire.bundle import read_bundle


def identify(path: Path) -> bool:
    """Whether `path` is the prefix of a bundle without an object graph."""
    return holds_graph(path) is False


def read(path: Path) -> Checkpoint:
    """Opens a name-based bundle by its prefix; reads the index, and scalars of optimizers.

    Raises:
        SourceError: There is no index, or it is for newer readers.
        DamagedError: The index is damaged.
    """
    bundle = read_bundle(path)
    found = read_named(bundle)
    return Checkpoint(
        path=path,
        format="tf1",
        variables=found.variables,
        optimizers=found.optimizers,
        files=files_of(bundle),
        metadata=facts_of(bundle),
        issues=(*issues_of(bundle), *found.issues),
    )
