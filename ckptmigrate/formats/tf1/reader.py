"""Reading name-based bundles: every key is a variable, a slot, or a value of an optimizer."""

from __future__ import annotations

from pathlib import Path

from ckptmigrate.formats.bundles import facts_of, files_of, holds_graph, issues_of, tensors_of
from ckptmigrate.formats.roles import role_of
from ckptmigrate.optimizers import recognise_names
from ckptmigrate.table import Checkpoint, Role, Variable
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
    tensors = tensors_of(bundle)
    issues = issues_of(bundle)
    state = recognise_names(tensors)
    counters = frozenset(state.counters)
    variables = {}
    for name in state.variables:
        tensor = tensors[name]
        role: Role = "counter" if name in counters else role_of(name, tensor.dtype, tensor.shape)
        variables[name] = Variable(name, tensor, name, role)
    return Checkpoint(
        path=path,
        format="tf1",
        variables=variables,
        optimizers=state.optimizers,
        files=files_of(bundle),
        metadata=facts_of(bundle),
        issues=(*issues, *state.issues),
    )
