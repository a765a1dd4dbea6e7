"""Lists of tf_keras 2.11+ and Keras 3: which optimizer's they are, whose slots, and where each slot goes again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.optimizers.list_layout import ZERO, lay_out
from ckptmigrate.optimizers.list_owners import Claim, Owner, owners_of
from ckptmigrate.optimizers.lists import ListNode, Member, recognise_lists
from ckptmigrate.table import OptimizerState, SlotKey, Stored

OWNERS = (
    Owner("m/0/kernel", (3, 2), "d/kernel"),
    Owner("m/0/bias", (2,), "d/bias"),
    Owner("m/1/gamma", (2,), "n/gamma"),
)
KERNEL, BIAS, GAMMA = (owner.name for owner in OWNERS)


def node(
    make: Any,
    members: list[tuple[str, Any]],
    lists: dict[str, list[int]],
    scalars: dict[str, int] | None = None,
    trained: tuple[Owner, ...] = (),
) -> ListNode:
    """A node from (full name, shape or value) by number, lists of numbers, and the scalars' numbers."""
    tensors = make.table({str(number): value for number, (_, value) in enumerate(members)})
    held = {n: Member(Stored(f"key{n}", tensors[str(n)]), name) for n, (name, _) in enumerate(members)}
    numbered = {name: dict(enumerate(numbers)) for name, numbers in lists.items()}
    scalars = {"_iterations": 0, "_learning_rate": 1} if scalars is None else scalars
    return ListNode("optimizer", scalars, numbered, held, dict(enumerate(trained)))


STEP, RATE = ("iteration", 7), ("learning_rate", 0.5)
ADAM = [
    *(STEP, RATE),
    *(("Adam/m/d/kernel", [3, 2]), ("Adam/v/d/kernel", [3, 2]), ("Adam/m/d/bias", [2]), ("Adam/v/d/bias", [2])),
]
ADAM_LISTS = {"_variables": [0, 2, 3, 4, 5], "_index_dict": [], "_momentums": [2, 4], "_velocities": [3, 5]}


def renamed(title: str) -> list[tuple[str, Any]]:
    return [(name.replace("Adam", title), value) for name, value in ADAM]


def test_names_tell_the_owners(make: Any) -> None:
    (state,), issues = recognise_lists(node(make, ADAM, ADAM_LISTS), OWNERS)
    assert (state.kind, state.dialect, state.step, state.hyper, issues) == (
        "adam",
        "keras2",
        7,
        {"learning_rate": 0.5},
        (),
    )
    assert state.order == tuple(SlotKey(owner, slot) for owner in (KERNEL, BIAS) for slot in "mv")
    assert [state.slots[key].key for key in state.order] == ["key2", "key3", "key4", "key5"]
    assert {n: s.key for n, s in state.scalars.items()} == {"iter": "key0", "learning_rate": "key1"}


def test_the_list_of_trained_variables_tells_them(make: Any) -> None:
    """Whatever names say."""
    members = [("adam/iteration", 7), ("adam/learning_rate", 0.5), *(("", value) for _, value in ADAM[2:])]
    lists = {**ADAM_LISTS, "_variables": [0, 1, 2, 3, 4, 5], "_trainable_variables": []}
    lists.pop("_index_dict")
    (state,), issues = recognise_lists(node(make, members, lists, trained=(OWNERS[0], OWNERS[2])), ())
    assert (state.dialect, issues, dict.fromkeys(k.variable for k in state.order)) == (
        "keras3",
        (),
        dict.fromkeys((KERNEL, GAMMA)),
    )


@pytest.mark.parametrize(
    ("title", "kind", "guessed"), [("AdamW", "adamw", False), ("Adam_1", "adam", False), ("Mine", "adam", True)]
)
def test_titles(make: Any, title: str, kind: str, guessed: bool) -> None:
    states, issues = recognise_lists(node(make, renamed(title), ADAM_LISTS), OWNERS)
    assert (states[0].kind, [issue.severity for issue in issues]) == (kind, ["warning"] if guessed else [])


def test_order_tells_rmsprop_from_adam(make: Any) -> None:
    """Both have lists of momentums and velocities."""
    by_slot = {**ADAM_LISTS, "_variables": [0, 3, 5, 2, 4]}
    states, _ = recognise_lists(node(make, [*ADAM[:2], *(("", v) for _, v in ADAM[2:])], by_slot), OWNERS[:2])
    assert states[0].kind == "rmsprop"


def test_averages_and_gradients(make: Any) -> None:
    members = [*ADAM, ("Adam/average/d/kernel", [3, 2]), ("Adam/average/d/bias", [2])]
    lists = {**ADAM_LISTS, "_variables": [0, 6, 7, 2, 3, 4, 5], "_model_variables_moving_average": [6, 7]}
    (state, averages), _ = recognise_lists(node(make, members, lists), OWNERS)
    assert (averages.name, averages.kind, averages.parent) == ("optimizer/average", "ema", "optimizer")
    assert list(averages.slots) == [SlotKey(KERNEL, "average"), SlotKey(BIAS, "average")]
    assert (len(state.slots), state.unbound) == (4, ())


def test_a_schedule_and_loss_scaling(make: Any) -> None:
    members = [*ADAM, ("current_loss_scale", 8.0), ("good_steps", 3)]
    scalars = {
        "_iterations": 0,
        "_current_learning_rate": 1,
        "loss_scale/current_loss_scale": 6,
        "loss_scale/good_steps": 7,
    }
    (state,), _ = recognise_lists(node(make, members, ADAM_LISTS, scalars), OWNERS)
    assert set(state.scalars) == {"iter", "current_learning_rate", "current_loss_scale", "good_steps"}
    assert (state.kind, state.dialect, state.hyper) == ("adam", "keras2", {})


@pytest.mark.parametrize(
    ("at", "member"),
    [
        (2, ("Adam/m/x/kernel", [3, 2])),  # of a variable that isn't there
        (2, ("Adam/m/d/kernel", [9])),
        (6, ("Adam/m/d/other", [2])),  # in no list of its own
    ],
)
def test_what_is_not_told_stays_in_its_order(make: Any, at: int, member: tuple[str, Any]) -> None:
    members = [*ADAM[:at], member, *ADAM[at + 1 :]]
    lists = {**ADAM_LISTS, "_variables": [0, *range(2, len(members))]}
    (state,), issues = recognise_lists(node(make, members, lists), OWNERS)
    assert (state.kind, state.slots, [i.severity for i in issues]) == ("unknown", {}, ["warning"])
    assert [s.key for s in state.unbound] == [f"key{number}" for number in range(2, len(members))]


def twins(*parts: str) -> tuple[Owner, ...]:
    return tuple(Owner(f"{part}/{owner.name}", owner.shape, owner.full_name) for part in parts for owner in OWNERS)


def names(claims: list[Claim], owners: tuple[Owner, ...]) -> list[str]:
    return [o.name for o in owners_of(claims, owners).owners.values()]


CLAIMS = [Claim(0, (3, 2), "d/kernel"), Claim(1, (2,), "d/bias")]


def test_names_that_two_models_share() -> None:
    assert names(CLAIMS, twins("a", "b")) == []
    only = (*twins("a"), *twins("b")[:1])
    assert names(CLAIMS, only) == [f"a/{KERNEL}", f"a/{BIAS}"]
    assert owners_of(CLAIMS, only).part == ""


def test_of_two_models_the_one_that_is_all_trained() -> None:
    owners = (*twins("a"), *twins("b")[:2])
    assert names(CLAIMS, owners) == [f"b/{KERNEL}", f"b/{BIAS}"]
    assert owners_of(CLAIMS, owners).part == "b/"
    assert names(CLAIMS, (*owners, *twins("c")[:2])) == []


def test_shapes_in_order_tell_what_has_no_names() -> None:
    claims = [Claim(0, (3, 2), ""), Claim(1, (2,), "")]
    assert names(claims, OWNERS) == []  # the bias, or the gamma?
    assert names(claims, OWNERS[:2]) == [KERNEL, BIAS]
    assert names([*claims, Claim(2, (2,), "")], OWNERS) == [KERNEL, BIAS, GAMMA]


KINDS = {
    ("keras2", "adam"): ("m", "v"),
    ("keras3", "adam"): ("m", "v", "vhat"),
    ("keras2", "rmsprop"): ("rms", "momentum", "mg"),
    ("keras3", "momentum"): ("momentum",),
    ("keras2", "ftrl"): ("accumulator", "linear"),
    ("keras3", "lion"): ("m",),
    ("keras2", "adafactor"): ("r", "c", "v"),
    ("keras3", "adafactor"): ("r", "c", "v"),
}


SHAPES = st.lists(st.sampled_from([(2,), (3, 2), (2, 2)]), min_size=1, max_size=5)


@given(case=st.sampled_from(sorted(KINDS)), shapes=SHAPES)
def test_what_is_laid_out_is_recognised(make: Any, case: tuple[str, str], shapes: list[tuple[int, ...]]) -> None:
    """Law: lists made of slots give these slots, by the names alone and by the list of trained variables."""
    (dialect, kind), slots = case, KINDS[case]
    owners = tuple(Owner(f"m/{n}", shape, f"layer{n}/w") for n, shape in enumerate(shapes))
    shaped = {SlotKey(o.name, slot): shape_of(o, slot) for o in owners for slot in slots}
    held = {key: Stored("", make.shaped(shape)) for key, shape in shaped.items() if shape is not None}
    scalars = {"iter": Stored("", make.value(3, "int64")), "learning_rate": Stored("", make.value(0.5))}
    layout = lay_out(OptimizerState("optimizer", kind, dialect, scalars=scalars, slots=held), {}, owners, has_rate=True)
    members = {
        0: Member(scalars["iter"], f"{kind}/iteration" if dialect == "keras3" else "iteration"),
        1: Member(scalars["learning_rate"], "learning_rate"),
    }
    lists: dict[str, dict[int, int]] = {"_variables": dict(zip(layout.scalars.values(), (0, 1), strict=False))}
    for number, place in enumerate(layout.places, start=2):
        members[number] = Member(place.stored or Stored("", ZERO), place.full_name)
        if place.number is not None:
            lists["_variables"][place.number] = number
        if place.at is not None:
            lists.setdefault(place.at[0], {})[place.at[1]] = number
    assert sorted(lists["_variables"]) == list(range(len(lists["_variables"])))
    lists |= {"_index_dict": {}} if dialect == "keras2" else {"_trainable_variables": {}}
    for trained in (dict(enumerate(owners)), {}):
        made = ListNode("optimizer", {"_iterations": 0, "_learning_rate": 1}, lists, members, trained)
        (read,), _ = recognise_lists(made, owners)
        assert (read.kind, read.slots.keys(), read.unbound) == (kind, held.keys(), ())


def shape_of(owner: Owner, slot: str) -> tuple[int, ...] | None:
    if slot not in ("r", "c"):
        return owner.shape
    if len(owner.shape) < 2:
        return None
    return owner.shape[:-1] if slot == "r" else owner.shape[1:]
