"""Lists of the optimizers of tf_keras 2.11+ and Keras 3 in object graphs: of which optimizer they are, and whose slots.

All variables stand in `_variables`, in the order they were made in. Slots stand a second time in a list of their own
(`_momentums/3`), whose numbers are those of the trained variables; Keras 3 lists these as well
(`_trainable_variables/3`), tf_keras calls a slot after its variable (`Adam/m/d1/kernel`). Facts: graphs that tf_keras
2.21 and Keras 3.15 saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import AVERAGE, LOSS_SCALE, OPTIMIZERS, UNKNOWN
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.optimizers.keys import split_number
from ckptmigrate.optimizers.list_owners import Claim, Owner, owners_of
from ckptmigrate.optimizers.record import Optimizer, Slot, Spelling
from ckptmigrate.optimizers.scalars import scalar_value, whole_value
from ckptmigrate.optimizers.wrapping import INNER, WRAPPER
from ckptmigrate.steps import Shape
from ckptmigrate.table import OptimizerState, SlotKey, Stored

VARIABLES = "_variables"
TRAINED = "_trainable_variables"
ITERATIONS = "_iterations"
INDEX = "_index_dict"  # tf_keras has it, Keras 3 hasn't

# Lists that any optimizer has, where it was asked for: slot -> list, and how names spell the slot.
SHADOW_LISTS = {AVERAGE: "_model_variables_moving_average", "gradient_accumulator": "_accumulated_gradients"}

CURRENT_RATE = "current_learning_rate"  # what tf_keras keeps of a schedule
_ANYWHERE = ("iter", "learning_rate", CURRENT_RATE, *LOSS_SCALE)
_SCALARS = {
    "_iterations": "iter",
    "_learning_rate": "learning_rate",
    "_current_learning_rate": CURRENT_RATE,
    "_u_product": "momentum_cache",
}


class Member(NamedTuple):
    """A variable of an optimizer: its value, and its own name."""

    stored: Stored
    full_name: str


@dataclass(frozen=True, slots=True)
class ListNode:
    """An optimizer's node.

    Attributes:
        name: Where it stands.
        scalars: Its children that are variables, by local name; a child's child by its path.
        lists: Its other children: local name -> number -> node. Empty lists, too.
        members: Node -> the variable in it; none of the model's.
        trained: The model's variables in its list of them, by number.
        others: What else stands below it: values of tables.
    """

    name: str
    scalars: Mapping[str, int]
    lists: Mapping[str, Mapping[int, int]]
    members: Mapping[int, Member]
    trained: Mapping[int, Owner]
    others: tuple[Stored, ...] = ()


class ListedStates(NamedTuple):
    """The state of a node, averages behind it as a state of kind `ema`, and what was guessed or isn't told."""

    states: tuple[OptimizerState, ...]
    issues: tuple[Issue, ...] = ()


class _Reading(NamedTuple):
    """A node in the course of reading.

    Attributes:
        node: The node.
        dialect: Whose it is.
        scalars: Canonical name -> node.
        listed: The slots in their order, as nodes.
        loose: What is neither.
    """

    node: ListNode
    dialect: str
    scalars: Mapping[str, int]
    listed: tuple[int, ...]
    loose: tuple[Stored, ...]


def recognise_lists(node: ListNode, owners: Sequence[Owner]) -> ListedStates:
    """The state behind a node's lists. Scalars are read.

    Args:
        node: The optimizer.
        owners: The model's weights, in its own order.
    """
    reading = _read(node)
    optimizer, issues = _optimizer(reading)
    if optimizer is None:
        kind = WRAPPER if INNER in node.lists else UNKNOWN
        return ListedStates((_unbound(reading, kind),), issues)
    spelled = optimizer.dialects[reading.dialect]
    bound = _bind(reading, spelled, owners)
    if bound is None:
        return ListedStates((_unbound(reading, UNKNOWN),), (*issues, _unclear(reading)))
    issues = (*issues, _taken_for(reading, bound.part)) if bound.part else issues
    return ListedStates(tuple(_states(reading, optimizer, bound.slots)), issues)


def _read(node: ListNode) -> _Reading:
    """Parts the scalars from what stands in lists, and tells the dialect."""
    members = node.members
    scalars: dict[str, int] = {}
    for local, at in node.scalars.items():
        name = _SCALARS.get(local, local.removeprefix("loss_scale/"))
        if members[at].stored.tensor.size == 1 and at not in scalars.values():
            scalars[local if name in scalars else name] = at
    made = [at for _, at in sorted(node.lists.get(VARIABLES, {}).items())]
    apart = [at for name, held in node.lists.items() if name != VARIABLES for _, at in sorted(held.items())]
    listed = [at for at in dict.fromkeys([*made, *apart]) if at in members and at not in scalars.values()]
    dialect = _dialect(node, made)
    for name in ("iter", "learning_rate"):  # a graph without their names, as by hand
        is_there = not node.scalars and (name == "iter" or dialect == "keras3")
        if is_there and listed and members[listed[0]].stored.tensor.shape == ():
            scalars[name] = listed.pop(0)
    told = {*listed, *scalars.values()}
    loose = (*(member.stored for at, member in members.items() if at not in told), *node.others)
    return _Reading(node, dialect, scalars, tuple(listed), loose)


def _dialect(node: ListNode, listed: Sequence[int]) -> str:
    """tf_keras has an index of variables, Keras 3 calls the step after the optimizer, and counts the rate."""
    if INDEX in node.lists or f"_{CURRENT_RATE}" in node.scalars:
        return "keras2"
    if step := node.members[node.scalars[ITERATIONS]].full_name if ITERATIONS in node.scalars else "":
        return "keras3" if "/" in step else "keras2"
    rate, numbers = node.scalars.get("_learning_rate"), node.lists.get(VARIABLES, {})
    if rate is None or (TRAINED in node.lists and not numbers):
        return "keras3"
    first = min((number for number, at in numbers.items() if at not in node.scalars.values()), default=0)
    return "keras3" if rate in listed or first > 1 or not numbers else "keras2"


# Which optimizer


def _optimizer(reading: _Reading) -> tuple[Optimizer | None, tuple[Issue, ...]]:
    """The optimizer whose lists and scalars these are: by its title, else the first that fits, with a warning."""
    fits = [o for o in OPTIMIZERS if _fits(o, reading)]
    titles = set(_titles(reading))
    told = [o for o in fits if titles & {_flat(o.dialects[reading.dialect].title), _flat(o.kind)}]
    if told or len(fits) < 2 or not reading.listed:
        return next(iter(told or (fits if reading.listed else ())), None), ()
    kinds = [o.kind for o in fits]
    text = f"its lists are those of {', '.join(kinds)}, and names don't tell which it is: taken for {kinds[0]}."
    return fits[0], (Issue("guess", "warning", reading.node.name, text),)


def _fits(optimizer: Optimizer, reading: _Reading) -> bool:
    """Whether the optimizer has these scalars and lists, and makes its variables in this order."""
    spelled = optimizer.dialects.get(reading.dialect)
    if spelled is None or spelled.listed is None:
        return False
    needed = spelled.scalars.keys() - {"iter"}
    if not needed <= reading.scalars.keys() <= {*spelled.scalars, *spelled.hyper, *_ANYWHERE}:
        return False
    there = _every_list(reading.dialect) & reading.node.lists.keys()
    full = {name for name in there if reading.node.lists[name]}
    shadows = {at for name in SHADOW_LISTS.values() for at in reading.node.lists.get(name, {}).values()}
    own = set(spelled.lists.values())
    if not spelled.slots:  # Keras 3 has an empty list for SGD without momentum
        return not full and shadows.issuperset(reading.listed)
    required = {spelled.lists.get(s.name, "") for s in spelled.slots if not s.is_optional}
    return there <= own and (required <= there or not reading.listed) and _in_order(reading, spelled)


def _every_list(dialect: str) -> set[str]:
    spelled = [s for o in OPTIMIZERS if (s := o.dialects.get(dialect)) is not None]
    return {name for s in spelled for name in s.lists.values()}


def _in_order(reading: _Reading, spelled: Spelling) -> bool:
    """Adam makes two slots for each variable, RMSprop one for every variable, then the other."""
    lists = reading.node.lists
    if VARIABLES not in lists or spelled.listed is None:
        return True
    made = set(lists[VARIABLES].values())
    expected = []
    for block in spelled.listed.blocks:
        held = [lists.get(spelled.lists.get(slot, ""), {}) for slot in block.slots]
        numbers = sorted({number for one in held for number in one})
        expected += [one[number] for number in numbers for one in held if one.get(number) in made]
    ours = set(expected)
    return [at for at in reading.listed if at in ours] == expected


def _titles(reading: _Reading) -> Iterator[str]:
    """What the optimizer may be called: `adam_1/iteration`, `Adam/m/d1/kernel`."""
    members = reading.node.members
    step = members.get(reading.scalars.get("iter", -1))
    for member in (*([step] if step else []), *(members[at] for at in reading.listed[:1])):
        head, _, rest = member.full_name.partition("/")
        if rest:
            yield _flat(split_number(head)[0])
            yield _flat(split_number(rest.partition("/")[0])[0])


def _flat(title: str) -> str:
    return title.replace("_", "").lower()


# Whose slots


class _Bound(NamedTuple):
    """Node -> slot for all of the list; and the part of the model that was taken for the whole of what it trains."""

    slots: Mapping[int, SlotKey]
    part: str


def _bind(reading: _Reading, spelled: Spelling, owners: Sequence[Owner]) -> _Bound | None:
    """Whose all slots of the list are; None when it isn't told of one."""
    slots = {s.name: s for s in (*spelled.slots, *(Slot(name) for name in SHADOW_LISTS))}
    lists = {**spelled.lists, **SHADOW_LISTS}
    held = {name: reading.node.lists.get(lists.get(name, ""), {}) for name in slots}
    members = reading.node.members
    claims = [
        Claim(number, members[at].stored.tensor.shape if slots[name].shape is None else None, _tail(members[at], slot))
        for name, numbers in held.items()
        for slot in (slots[name],)
        for number, at in numbers.items()
        if at in members
    ]
    found, part = (reading.node.trained, "") if reading.node.trained else owners_of(claims, owners)
    bound = {
        at: SlotKey(found[n].name, name) for name, numbers in held.items() for n, at in numbers.items() if n in found
    }
    trained = [owner for _, owner in sorted(found.items())]
    rest = [at for at in reading.listed if at not in bound]
    named = _by_names(reading, rest, spelled, trained)
    bound |= named if len(named) == len(rest) else _by_order(reading, rest, spelled, trained)
    return _Bound(bound, part) if bound.keys() >= set(reading.listed) else None


def _tail(member: Member, slot: Slot) -> str:
    """The variable that tf_keras calls a slot after: `d1/kernel` of `Adam/m/d1/kernel`, or of `m/d1/kernel`."""
    _, mark, tail = f"/{member.full_name}".partition(f"/{slot.spelling}/")
    return tail if mark else ""


def _by_names(
    reading: _Reading, nodes: Sequence[int], spelled: Spelling, owners: Sequence[Owner]
) -> dict[int, SlotKey]:
    """Slots in no list of their own, by what Keras 3 calls them: `muon/sequential_d1_kernel_velocity`."""
    told: dict[str, SlotKey | None] = {}
    for owner in owners if nodes else ():
        for slot in spelled.slots:
            name = f"{owner.full_name.replace('/', '_')}_{slot.spelling}"
            told[name] = None if name in told else SlotKey(owner.name, slot.name)
    names = {at: reading.node.members[at].full_name.rpartition("/")[2] for at in nodes}
    return {at: key for at, name in names.items() if (key := told.get(name)) is not None}


def _by_order(
    reading: _Reading, nodes: Sequence[int], spelled: Spelling, owners: Sequence[Owner]
) -> dict[int, SlotKey]:
    """Those that neither tell (Adafactor's), by the order in which Keras makes them, if shapes agree."""
    listed = spelled.listed
    places: list[tuple[SlotKey, Shape]] = []
    for owner, name in [(o, n) for block in listed.blocks for o in owners for n in block.slots] if listed else ():
        slot = spelled.slot(name)
        shape = slot.shape(owner.full_name, owner.shape) if slot and slot.shape else owner.shape
        if shape is not None or (listed and listed.is_padded):
            places.append((SlotKey(owner.name, name), shape or ()))
    shapes = [reading.node.members[at].stored.tensor.shape for at in nodes]
    return dict(zip(nodes, (key for key, _ in places), strict=True)) if shapes == [s for _, s in places] else {}


# States


def _states(reading: _Reading, optimizer: Optimizer, bound: Mapping[int, SlotKey]) -> Iterator[OptimizerState]:
    """The state, and averages as one of their own."""
    spelled = optimizer.dialects[reading.dialect]
    shapes = {s.name: s.shape for s in spelled.slots}
    scalars = _scalars(reading)
    slots: dict[SlotKey, Stored] = {}
    for at in reading.listed:
        key, stored = bound[at], reading.node.members[at].stored
        shape = shapes.get(key.slot)
        if shape is not None and not stored.tensor.dtype.is_float:
            scalars[f"{PLACEHOLDER}/{sum(n.startswith(PLACEHOLDER) for n in scalars)}"] = stored
        else:
            slots[key] = stored
    own = {key: stored for key, stored in slots.items() if key.slot != AVERAGE}
    averages = {key: stored for key, stored in slots.items() if key.slot == AVERAGE}
    yield replace(_bare(reading, optimizer.kind, scalars), slots=own, order=tuple(own), unbound=reading.loose)
    if averages:
        name = reading.node.name
        yield OptimizerState(
            f"{name}/{AVERAGE}", "ema", reading.dialect, slots=averages, order=tuple(averages), parent=name
        )


def _bare(reading: _Reading, kind: str, scalars: Mapping[str, Stored]) -> OptimizerState:
    step, rate = whole_value(scalars.get("iter")), scalar_value(scalars.get("learning_rate"))
    hyper = {} if rate is None else {"learning_rate": rate}
    return OptimizerState(reading.node.name, kind, reading.dialect, step, hyper, scalars)


def _scalars(reading: _Reading) -> dict[str, Stored]:
    return {name: reading.node.members[at].stored for name, at in reading.scalars.items()}


def _unbound(reading: _Reading, kind: str) -> OptimizerState:
    stored = tuple(reading.node.members[at].stored for at in reading.listed)
    return replace(_bare(reading, kind, _scalars(reading)), unbound=(*stored, *reading.loose))


def _taken_for(reading: _Reading, part: str) -> Issue:
    text = (
        f"{len(reading.listed)} slots: their names fit variables of several models, and all of {part.rstrip('/')} "
        "alone: they are taken for its"
    )
    return Issue("guess", "warning", reading.node.name, text)


def _unclear(reading: _Reading) -> Issue:
    text = (
        f"{len(reading.listed)} slots: whose they are isn't told. They stay in their order, for the same model and the "
        f"dialect {reading.dialect}"
    )
    return Issue("guess", "warning", reading.node.name, text)
