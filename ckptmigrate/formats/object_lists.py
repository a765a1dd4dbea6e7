"""Optimizers that keep their slots in lists, as an object graph has them; the order of a model's variables."""

from __future__ import annotations

from ckptmigrate.formats.object_paths import depth_first
from ckptmigrate.formats.object_view import View, is_value
from ckptmigrate.formats.roles import role_of
from ckptmigrate.optimizers.list_owners import Owner
from ckptmigrate.optimizers.lists import ITERATIONS, TRAINED, VARIABLES, ListedStates, ListNode, Member, recognise_lists

_MAX_NUMBER_LENGTH = 9  # digits of a number in a list


def holds_lists(view: View, number: int) -> bool:
    """Whether an optimizer's node is one of tf_keras 2.11+ or Keras 3."""
    node = view.graph.nodes[number]
    return not node.slots and bool({ITERATIONS, VARIABLES} & {edge.name for edge in node.children})


def read_lists(view: View, number: int, name: str) -> ListedStates:
    """The state of such a node."""
    owned = view.paths.owned[number]
    scalars: dict[str, int] = {}
    lists: dict[str, dict[int, int]] = {}
    for edge in view.graph.nodes[number].children:
        if edge.node in owned and view.value(edge.node) is not None:
            scalars.setdefault(edge.name, edge.node)
            continue
        held = lists.setdefault(edge.name, {})
        for child in view.graph.nodes[edge.node].children:
            if _is_number(child.name):
                held.setdefault(int(child.name), child.node)
            elif child.node in owned and view.value(child.node) is not None:
                scalars.setdefault(f"{edge.name}/{child.name}", child.node)
    members = {n: Member(v.stored, v.attribute.full_name) for n in owned if (v := view.value(n)) is not None}
    told = {at: _owner(view, n) for at, n in lists.get(TRAINED, {}).items() if n not in owned}
    trained = {at: one for at, one in told.items() if one is not None}
    others = tuple(v.stored for n in owned for v in view.values.get(n, ()) if not is_value(v.attribute))
    return recognise_lists(ListNode(name, scalars, lists, members, trained, others), _owners(view))


def _owner(view: View, number: int) -> Owner | None:
    """The model's variable in a node."""
    name, value = view.names.get(number), view.value(number)
    if name is None or value is None:
        return None
    return Owner(name, value.stored.tensor.shape, value.attribute.full_name)


def _owners(view: View) -> tuple[Owner, ...]:
    """The model's weights in its order."""
    found = []
    for number in depth_first(view.graph, view.paths.optimizers):
        value, owner = view.value(number), _owner(view, number)
        if owner is not None and value is not None and number in view.paths.names:
            dtype = value.stored.tensor.dtype
            found += [owner] if dtype.is_float and role_of(owner.name, dtype, owner.shape) == "weight" else []
    return tuple(found)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_NUMBER_LENGTH and (text == "0" or text[0] != "0")
