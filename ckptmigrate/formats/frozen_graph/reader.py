"""Reading frozen graphs: constants that can be weights are variables, the others are counted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ckptmigrate.dtypes import DType
from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.roles import role_of
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Extent, Tensor, Variable
from ckptmigrate.wire.graph_def import Graph, kind_of, read_graph
from ckptmigrate.wire.tensor_proto import TensorPlace, read_place


def identify(path: Path) -> bool:
    """Whether `path` is a GraphDef, told by how it begins."""
    return path.is_file() and kind_of(path) == "graph"


def read(path: Path) -> Checkpoint:
    """Opens a GraphDef; walks its nodes, reads no values.

    Raises:
        SourceError: It can't be opened.
        DamagedError: It doesn't parse, or two nodes go by one name.
    """
    graph = read_graph(path)
    variables: dict[str, Variable] = {}
    others: list[str] = []
    seen: set[str] = set()
    for constant in graph.constants:
        if constant.name in seen:
            raise DamagedError(f"two nodes are called {constant.name!r}", where=str(path))
        seen.add(constant.name)
        place = constant.place
        if place is not None and _can_be_weights(place.dtype, place.shape):
            tensor = _tensor(path, constant.name, place)
            role = role_of(constant.name, tensor.dtype, tensor.shape)
            variables[constant.name] = Variable(constant.name, tensor, constant.name, role)
        else:
            others.append(constant.name)
    return Checkpoint(
        path=path,
        format="frozen-graph",
        variables=variables,
        files=(path,),
        metadata={
            "nodes": graph.nodes,
            "functions": graph.functions,
            "other_constants": {"count": len(others), "names": others},
        },
        issues=_issues(graph, variables),
    )


def _can_be_weights(dtype: DType, shape: tuple[int, ...]) -> bool:
    """Shapes, axes and epsilons are constants, too: integers and scalars are none of the model's weights."""
    return bool(shape) and (dtype.is_float or dtype.name.startswith(("qint", "quint")))


def _tensor(path: Path, name: str, place: TensorPlace) -> Tensor:
    extents = (Extent(path, *place.content),) if place.content is not None else ()
    return Tensor(place.shape, place.dtype, partial(read_place, path, place, name), extents)


def _issues(graph: Graph, variables: dict[str, Variable]) -> tuple[Issue, ...]:
    if graph.variables:
        message = f"the graph has {graph.variables} variables, whose values aren't in it: it isn't frozen"
        hint = "give the checkpoint that was saved with it"
        return (Issue("incomplete", "warning" if variables else "note", "", message, hint),)
    if not variables:
        return (Issue("empty", "note", "", "no constant of the graph can be a weight (floats of rank 1 or more)"),)
    return ()
