"""Keys of parts, regions, and what covers a tensor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.wire.slices import concrete, coverage_fault, slice_key

# Measured from TensorFlow: a start and its OrderedCode.
NUMBERS = {
    0: "80",
    1: "81",
    63: "bf",
    64: "c040",
    128: "c080",
    8191: "dfff",
    8192: "e02000",
    (1 << 20) - 1: "efffff",
    1 << 20: "f0100000",
    (1 << 27) - 1: "f7ffffff",
    1 << 27: "f808000000",
    1 << 34: "fc0400000000",
    1 << 41: "fe020000000000",
}
KEYS = [
    (b"part/w", ((0, 2), (0, -1)), "00 70 61 72 74 2f 77 00 01 01 02 80 82 80 7f"),
    (b"part/w", ((2, 2), (0, -1)), "00 70 61 72 74 2f 77 00 01 01 02 82 82 80 7f"),
    (b"sc", (), "00 73 63 00 01 00"),
    (b"a\x00b", (), "00 61 00 ff 62 00 01 00"),
    (b"a\xffb\xff", (), "00 61 ff 00 62 ff 00 00 01 00"),
]


@pytest.mark.parametrize(("value", "code"), NUMBERS.items())
def test_numbers_are_ordered_code(value: int, code: str) -> None:
    assert slice_key(b"", ((value, -1),)).hex() == "000001" + "0101" + code + "7f"


@pytest.mark.parametrize(("name", "region", "key"), KEYS)
def test_keys_are_tensorflows(name: bytes, region: tuple[tuple[int, int], ...], key: str) -> None:
    assert slice_key(name, region).hex(" ") == key


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_codes_sort_as_numbers_do(a: int, b: int) -> None:
    first, second = (slice_key(b"", ((value, 0),)) for value in (a, b))
    assert (first < second) == (a < b)


@pytest.mark.parametrize(
    ("region", "shape"),
    [
        (((0, 3),), (3, 2)),
        (((-1, 2), (0, 2)), (3, 2)),
        (((2, 2), (0, 2)), (3, 2)),
        (((0, -2), (0, 2)), (3, 2)),
        (((1, -1), (0, 2)), (3, 2)),
        (((1 << 62, 1 << 62), (0, 2)), (3, 2)),
    ],
)
def test_regions_outside_the_shape_are_none(region: tuple[tuple[int, int], ...], shape: tuple[int, ...]) -> None:
    assert concrete(region, shape) is None


def test_parts_on_the_diagonal_are_no_memory_bomb() -> None:
    parts = [((i, 1), (i, 1), (i, 1)) for i in range(2000)]
    assert "pieces" in coverage_fault(parts, (1 << 30, 1 << 30, 1 << 30))


def test_many_parts_along_one_axis_are_quick() -> None:
    assert coverage_fault([((i, 1), (0, 8)) for i in range(20_000)], (20_000, 8)) == ""


def test_coverage() -> None:
    quarters = [((r, 2), (c, 3)) for r in (0, 2) for c in (0, 3)]
    assert coverage_fault(quarters, (4, 6)) == ""
    assert "gap" in coverage_fault(quarters[:3], (4, 6))
    assert "overlaps" in coverage_fault([*quarters, quarters[0]], (4, 6))
    assert "overlaps" in coverage_fault([((0, 3), (0, 6)), ((2, 2), (0, 6))], (4, 6))
    assert coverage_fault([()], ()) == ""
    assert coverage_fault([((0, 0), (0, 3))], (0, 3)) == ""
