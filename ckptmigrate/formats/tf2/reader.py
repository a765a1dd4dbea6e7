"""Reading object-based bundles."""

from __future__ import annotations

from pathlib import Path

from ckptmigrate.formats.bundles import facts_of, files_of, holds_graph, issues_of
from ckptmigrate.formats.object_based import read_objects
from ckptmigrate.table import Checkpoint
from ckptmigrate.wire.bundle import read_bundle


def identify(path: Path) -> bool:
    """Whether `path` is the prefix of a bundle with an object graph."""
    return holds_graph(path) is True


def read(path: Path) -> Checkpoint:
    """Opens an object-based bundle by its prefix; reads the index, the graph, and scalars of optimizers.

    Raises:
        SourceError: There is no index, or it is for newer readers.
        DamagedError: The index or the graph is damaged, or there is no graph.
    """
    bundle = read_bundle(path)
    found = read_objects(bundle)
    return Checkpoint(
        path=path,
        format="tf2",
        variables=found.variables,
        optimizers=found.optimizers,
        structure=found.structure,
        files=files_of(bundle),
        metadata=facts_of(bundle),
        issues=(*issues_of(bundle), *found.issues),
    )
