"""What pairs by its place below an object of one name, and what doesn't."""

from __future__ import annotations

import pytest

from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.mapping.positions import Placed, Side, by_position
from ckptmigrate.table import Tensor, Variable

ROW, SQUARE = (3,), (3, 3)


def side(origin, *variables):
    """A variable for each (path, shape); of several paths the first is its name."""
    placed = [(path.split("|"), shape) for path, shape in variables]
    return Side(tuple(Placed(Variable(p[0], Tensor(s, FLOAT32), p[0]), tuple(p)) for p, s in placed), origin)


NORM = ("beta", "gamma", "moving_mean", "moving_variance")  # as a table of names sorts them
NUMBERED = [(f"enc/norm/vars/{n}", ROW) for n in range(4)]

# Why -> (one side, other side, targets in the order of the first side; [] for none, whether it is a guess)
CASES = {
    "names of Keras' layers tell the order": (
        *(side("tf1", *((f"enc/norm/{name}", ROW) for name in NORM)), side("keras-v3", *NUMBERED)),
        *(["enc/norm/vars/1", "enc/norm/vars/0", "enc/norm/vars/2", "enc/norm/vars/3"], False),
    ),
    "shapes that all differ": (
        *(
            side("tf2", ("enc/shift", ()), ("enc/scale", ROW)),
            side("keras-v3", ("enc/vars/0", ROW), ("enc/vars/1", ())),
        ),
        *(["enc/vars/1", "enc/vars/0"], False),
    ),
    "other names, in another order": (
        *(side("tf2", ("enc/b", ROW), ("enc/a", ROW)), side("keras-v3", ("enc/vars/0", ROW), ("enc/vars/1", ROW))),
        *([], False),
    ),
    "other names, in the order of Keras' files": (
        *(side("keras-h5", ("enc/b", ROW), ("enc/a", ROW)), side("keras-v3", ("enc/vars/0", ROW), ("enc/vars/1", ROW))),
        *(["enc/vars/0", "enc/vars/1"], True),
    ),
    "other shapes": (
        *(side("tf2", ("enc/kernel", SQUARE)), side("keras-v3", ("enc/vars/0", ROW))),
        *([], False),
    ),
    "not as many": (
        *(side("tf2", ("enc/kernel", ROW)), side("keras-v3", ("enc/vars/0", ROW), ("enc/vars/1", ROW))),
        *([], False),
    ),
    "by the layers' own names": (
        *(side("keras-h5", ("enc/inner/kernel", ROW)), side("keras-v3", ("enc/first/vars/0|enc/inner/vars/0", ROW))),
        *(["enc/first/vars/0"], False),
    ),
    "without a root": (
        *(side("npz", ("model/enc/kernel", ROW)), side("keras-v3", ("enc/vars/0", ROW))),
        *(["enc/vars/0"], False),
    ),
    "names on both sides": (
        *(side("tf2", ("enc/a", ROW)), side("tf2", ("enc/b", ROW))),
        *([], False),
    ),
}


@pytest.mark.parametrize("why", CASES)
def test_pairs(why):
    one, other, expected, is_guess = CASES[why]
    found, issues = by_position(one, other)
    assert [found[placed.variable.name] for placed in one.placed if placed.variable.name in found] == expected
    assert [issue.severity for issue in issues] == ["warning"] * is_guess
