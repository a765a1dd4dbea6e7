"""Runs of names: exact on examples, and true of any names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.runs import Run, collapse, fold, ranges, spread


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        ([f"block_{n}_expand/kernel" for n in range(17)], ["block_{0..16}_expand/kernel"]),
        (["a", "b"], ["a", "b"]),
        (["l_1/w", "other", "l_0/w"], ["l_{0,1}/w", "other"]),
        ([f"l_{i}/h_{j}" for i in range(3) for j in range(2)], ["l_{0..2}/h_{0,1}"]),
        ([f"u_{i}/w -> b_{i - 1}/k" for i in range(1, 4)], ["u_{1..3}/w -> b_{0..2}/k"]),
        ([f"u_{i}/w -> l-{6 * i}/k" for i in range(1, 9)], ["u_{1..8}/w -> l-{6,12,...,48}/k"]),
        (["c_1_9", "c_2_5"], ["c_1_9", "c_2_5"]),
        (["l_007/w", "l_008/w"], ["l_007/w", "l_008/w"]),
        (["l_0/w", "l_1/w", "l_3/w"], ["l_{0,1,3}/w"]),
        (["x_1_1", "x_1_2", "x_2_1"], ["x_{1,2}_1", "x_1_2"]),
        (["same_1", "same_1", "same_2"], ["same_1", "same_1", "same_2"]),
    ],
)
def test_runs(names: list[str], lines: list[str]) -> None:
    assert [run.text for run in collapse(names)] == lines


def test_names_of_different_kinds_never_share_a_run() -> None:
    assert [r.text for r in collapse(["a_0", "a_1", "a_2"], ["f", "i", "f"])] == ["a_{0,2}", "a_1"]


@given(st.lists(st.from_regex(r"[ab/_.]{0,2}(0|[1-9][0-9]{0,1})?[ab/_]{1,2}[0-9]{0,2}", fullmatch=True)))
def test_runs_stand_for_every_name_once(names: list[str]) -> None:
    runs = collapse(names)
    assert sorted(name for run in runs for name in run.names) == sorted(names)
    assert all(run.text == run.names[0] for run in runs if len(run.names) == 1)


def test_runs_of_two_thousand_names_are_quick_and_few() -> None:
    leaves = ("attention/query/kernel", "attention/query/bias", "output/dense/kernel", "output/dense/bias")
    names = [f"bert/encoder/layer_{n}/{leaf}" for n in range(500) for leaf in leaves]
    assert [len(run.names) for run in collapse(names)] == [500] * 4


def test_ranges_and_shapes() -> None:
    assert ranges([0, 2, 4, 6, 8, 10]) == "{0,2,...,10}"
    assert spread([(3, 4), (5, 4)]) == "[3..5,4]"


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["c/beta", "c/gamma", "d/beta"], ["c/{beta,gamma}", "d/beta"]),
        (["a/w -> b/k", "a/b -> b/b"], ["a/{w,b} -> b/{k,b}"]),
        (["a/w -> x/v", "a/b -> y/v"], ["a/w -> x/v", "a/b -> y/v"]),
        (["a", "b"], ["a", "b"]),
        ([f"s/{c}" for c in "abcdefg"], [f"s/{c}" for c in "abcdefg"]),
        (["s/v_{0..2}", "s/u_{0..2}"], ["s/v_{0..2}", "s/u_{0..2}"]),
    ],
)
def test_last_segments_fold(texts: list[str], lines: list[str]) -> None:
    folded = fold([Run(text, (text,)) for text in texts], [""] * len(texts))
    assert [run.text for run in folded] == lines
    assert sorted(name for run in folded for name in run.names) == sorted(texts)


def test_lines_of_different_kinds_or_sizes_never_fold() -> None:
    runs = [Run("c/beta", ("1",)), Run("c/gamma", ("2",)), Run("c/mean", ("3", "4"))]
    assert fold(runs, ["[4]", "[5]", "[4]"]) == tuple(runs)
