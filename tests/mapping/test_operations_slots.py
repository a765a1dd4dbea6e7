"""How slots follow: as their variable where elements only move, the initial value where it is padded, else a reason."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME, FLOAT32
from ckptmigrate.mapping.operations import OPERATIONS, parse, resolve, resolve_slot

SAME = ["transpose", "squeeze", "expand_dims", "flip", "reshape", "rearrange", "concat", "split", "stack", "unstack",
        "reorder", "slice"]  # fmt: skip
UNCHANGED = ["add", "cast"]
STOPPED = ["scale", "tile", "copy", "sum"]
PADDED = ["pad"]

APPLIED = {  # parameters, shapes of the variables, number of outputs
    "transpose": ([1, 0], [(2, 3)], 1),
    "squeeze": (0, [(1, 2)], 1),
    "expand_dims": (0, [(2,)], 1),
    "flip": (0, [(3,)], 1),
    "reshape": ([-1], [(2, 3)], 1),
    "rearrange": ({"as": "i j -> j i"}, [(4, 3)], 1),
    "concat": (0, [(2,), (3,)], 1),
    "split": (0, [(4,)], 2),
    "stack": (0, [(4,), (4,)], 1),
    "unstack": (0, [(2, 4)], 2),
    "reorder": ({"axis": 0, "order": [1, 0]}, [(2,)], 1),
    "slice": ({"axis": 0, "start": 1}, [(3,)], 1),
    "pad": ({"axis": 0, "to": 5, "with": 7}, [(3,)], 1),
    "tile": ({"axis": 0, "times": 2}, [(3,)], 1),
    "copy": (2, [(3,)], 2),
    "add": (1, [(3,)], 1),
    "scale": (2, [(3,)], 1),
    "sum": (None, [(3,), (3,)], 1),
    "cast": ("float16", [(3,)], 1),
}


def values(steps, shapes):
    arrays = [np.arange(np.prod(s), dtype=np.float32).reshape(s) for s in shapes]
    for step in steps:
        arrays = step.apply(arrays)
    return [(x.dtype, x.tolist()) for x in arrays]


def both(name, **slot):
    """(values of the variable, what its slot gets) for the same numbers."""
    params, shapes, count = APPLIED[name]
    arguments = ([parse(name, params, "m:1")], shapes, [FLOAT32] * len(shapes), [None] * count)
    steps = resolve_slot(*arguments, **slot)
    follows = steps if isinstance(steps, str) else values(steps, shapes)
    return values(resolve(*arguments), shapes), follows


def test_every_operation_says_how_slots_follow():
    assert set(OPERATIONS) == {*SAME, *UNCHANGED, *STOPPED, *PADDED} == set(APPLIED)


@pytest.mark.parametrize("name", SAME)
def test_slots_move_as_their_variable(name):
    variable, slot = both(name, initial=0.5, is_average=False)
    assert slot == variable


@pytest.mark.parametrize("name", OPERATIONS)
def test_averages_are_treated_as_the_variable(name):
    variable, average = both(name, initial=0.5, is_average=True)
    assert average == variable


@pytest.mark.parametrize("name", UNCHANGED)
def test_slots_stay_when_only_values_change(name):
    _, slot = both(name, initial=0.5, is_average=False)
    assert slot == [(np.float32, [0, 1, 2])]


@pytest.mark.parametrize("name", STOPPED)
def test_slots_that_can_not_follow_say_so(name):
    _, slot = both(name, initial=0.5, is_average=False)
    assert slot.startswith(name)
    assert slot.endswith("says nothing of how optimizer state changes")


def test_padding_of_a_slot_is_its_initial_value():
    variable, slot = both("pad", initial=0.5, is_average=False)
    assert variable == [(np.float32, [0, 1, 2, 7, 7])]
    assert slot == [(np.float32, [0, 1, 2, 0.5, 0.5])]


def test_slots_go_back_with_their_variable():
    operations = [parse("add", 1), parse("pad", {"axis": 0, "to": "template"}), parse("transpose", [1, 0])]
    slot = {"initial": 0.1, "is_average": False}
    there = resolve_slot(operations, [(2, 3)], [FLOAT32], [(3, 4)], **slot)
    back = resolve_slot(operations, [(3, 4)], [FLOAT32], [(2, 3)], reverse=True, **slot)
    assert values([*there, *back], [(2, 3)]) == [(np.float32, [[0, 1, 2], [3, 4, 5]])]


def test_a_slot_that_does_not_fit_is_a_reason_and_no_exception():
    operations = [parse("transpose", [1, 0], "m:1")]
    reason = resolve_slot(operations, [()], [BY_NAME["int32"]], [(3, 2)], initial=0, is_average=False)
    assert reason == "transpose {axes: [1, 0]}: axes [1, 0] are not different axes of a tensor with 0 axes"


FACTORED = [  # operations, the variable's shape, the factor's, the factor's shape behind them (or the reason why not)
    ([], (2, 3), (2,), (2,)),
    ([("add", 1)], (2, 3), (3,), (3,)),
    ([("transpose", [1, 0, 2, 3])], (5, 6, 2, 3), (5, 6, 2), (6, 5, 2)),
    ([("transpose", [1, 0, 2, 3])], (5, 6, 2, 3), (5, 6, 3), (6, 5, 3)),
    ([("transpose", [1, 0]), ("transpose", [1, 0])], (2, 3), (3,), (3,)),
    ([("transpose", [1, 0])], (2, 3), (3,), "its two factors .* do as well"),
    ([("transpose", [2, 1, 0])], (4, 2, 3), (4, 2), "follows only a transpose"),
    ([("reshape", [-1])], (2, 3), (3,), "follows only a transpose"),
    ([("transpose", [1, 0])], (2, 3), (5,), "neither that of its variable"),
    ([("transpose", [1, 0])], (2, 3), (), "neither that of its variable"),
]


@pytest.mark.parametrize(("written", "variable", "factor", "expected"), FACTORED)
def test_factors(written, variable, factor, expected):
    operations = [parse(name, params, "m:1") for name, params in written]
    slot = {"initial": 0, "is_average": False, "variables": [variable]}
    steps = resolve_slot(operations, [factor], [FLOAT32], [None], **slot)
    if isinstance(expected, str):
        assert isinstance(steps, str)
        assert re.search(expected, steps)
        return
    assert (steps[-1].shapes if steps else (factor,)) == (expected,)
