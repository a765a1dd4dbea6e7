"""Object-based bundles, as checkpoints and SavedModels hold them: the graph says what every key is.

Keys that the graph doesn't know are variables, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckptmigrate.dtypes import STRING, VARIANT
from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.bundles import MissingDataError, tensor_of, tensors_of
from ckptmigrate.formats.object_paths import layer_path, paths_of
from ckptmigrate.formats.object_states import states_of
from ckptmigrate.formats.object_view import Value, View, is_value
from ckptmigrate.formats.roles import role_of
from ckptmigrate.issues import Issue
from ckptmigrate.objects import ATTRIBUTES, GRAPH_KEY, OBJECT_CONFIG, VALUE_SUFFIX, Attribute, Node, ObjectGraph
from ckptmigrate.table import OptimizerState, Role, Stored, Structure, Tensor, Variable
from ckptmigrate.wire.bundle import Bundle
from ckptmigrate.wire.names import index_file
from ckptmigrate.wire.object_graph import decode_graph

_SHOWN = 20  # names in a message


@dataclass(frozen=True, slots=True)
class ObjectBased:
    """What an object-based bundle holds.

    Attributes:
        view: The graph, its paths and its values.
        variables: By name, in the graph's order.
        optimizers: In the graph's order.
        structure: The graph, and configurations.
        issues: Values that the graph names and the file lacks.
    """

    view: View
    variables: dict[str, Variable]
    optimizers: tuple[OptimizerState, ...]
    structure: Structure
    issues: tuple[Issue, ...]


def read_objects(bundle: Bundle) -> ObjectBased:
    """Joins a bundle with its object graph; reads the graph, and scalars of optimizers.

    Raises:
        DamagedError: There is no graph, or it is damaged.
    """
    graph = _graph(bundle)
    tensors = tensors_of(bundle)
    try:
        view = View.of(graph, paths_of(graph), tensors)
    except DamagedError as error:
        error.where = _where(bundle)
        raise
    states, guessed = states_of(view)
    claimed = set(_keys(states))
    blobs = {key: tensors[key] for key in tensors if key.endswith(ATTRIBUTES + OBJECT_CONFIG)}
    variables = _variables(view, tensors, claimed | blobs.keys())
    structure = Structure(objects=graph, blobs=Blobs(blobs))
    return ObjectBased(view, variables, states, structure, (*_missing(view, bundle), *guessed))


class Blobs(Mapping[str, bytes]):
    """Configurations by key, each read when it is asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, key: str) -> bytes:
        blob: bytes = self._tensors[key].read().reshape(-1)[0]
        return blob

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _where(bundle: Bundle) -> str:
    return f"{index_file(bundle.prefix)}, entry {GRAPH_KEY!r}"


def _graph(bundle: Bundle) -> ObjectGraph:
    entry = bundle.entries.get(GRAPH_KEY)
    if entry is None:
        hint = "read it as name-based: --from tf1"
        raise DamagedError("no object graph in it", where=str(index_file(bundle.prefix)), hint=hint)
    tensor = tensor_of(bundle, GRAPH_KEY)
    if tensor.dtype is not STRING or tensor.shape != ():
        raise DamagedError(f"expected one string, found {tensor.dtype} of shape {tensor.shape}", where=_where(bundle))
    try:
        graph = decode_graph(tensor.read().reshape(-1)[0], _where(bundle))
    except MissingDataError:  # the keys can still be listed; an issue tells of the file
        graph = ObjectGraph(())
    return graph if graph.nodes else ObjectGraph((Node(),))


def _keys(states: tuple[OptimizerState, ...]) -> Iterator[str]:
    for state in states:
        yield from (stored.key for stored in (*state.scalars.values(), *state.slots.values(), *state.unbound))


def _variables(view: View, tensors: Mapping[str, Tensor], claimed: set[str]) -> dict[str, Variable]:
    """Every tensor that no optimizer holds: those of the graph in its order, then those it doesn't know."""
    variables: dict[str, Variable] = {}
    named = [
        (view.names.get(number, "") if value is view.value(number) else value.stored.key, value)
        for number, values in view.values.items()
        for value in values
    ]
    loose = [Value(Attribute("", "", key), Stored(key, tensors[key])) for key in view.unknown]
    named += [(value.stored.key.removesuffix(VALUE_SUFFIX), value) for value in loose]
    for name, value in named:
        key = value.stored.key
        if key not in claimed:
            unique = name if name and name not in variables else key
            variables[unique] = _variable(unique, value)
    return variables


def _variable(name: str, value: Value) -> Variable:
    attribute, stored = value
    aliases: dict[str, tuple[str, ...]] = {}
    if attribute.full_name and is_value(attribute):
        aliases["full_name"] = (attribute.full_name,)
        if attribute.full_name != name and (path := layer_path(name, attribute.full_name)) != name:
            aliases["layer_path"] = (path,)
    return Variable(name, stored.tensor, stored.key, _role(name, stored), aliases=aliases)


def _role(name: str, stored: Stored) -> Role:
    suffix = stored.key.rpartition(ATTRIBUTES)[2]
    if stored.tensor.dtype is VARIANT or suffix.startswith("ITERATOR"):
        return "iterator"
    if suffix in ("table-keys", "table-values"):
        return "table"
    if name.startswith("keras_api/metrics/") or "/keras_api/metrics/" in name:
        return "metric"
    return role_of(name, stored.tensor.dtype, stored.tensor.shape)


def _missing(view: View, bundle: Bundle) -> tuple[Issue, ...]:
    if not view.missing:
        return ()
    shown = ", ".join(view.missing[:_SHOWN]) + (", ..." if len(view.missing) > _SHOWN else "")
    message = f"the object graph names {len(view.missing)} values that are not in the file: {shown}"
    return (Issue("incomplete", "warning", "", message, where=str(index_file(bundle.prefix))),)
