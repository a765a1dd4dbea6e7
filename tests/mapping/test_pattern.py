"""Patterns: what they fit, in how many ways, and what they render."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.errors import MappingError
from ckptmigrate.mapping import expression
from ckptmigrate.mapping.braces import Scope, compile_pattern, compile_patterns
from ckptmigrate.mapping.tables import Table

TABLES = {
    "conv": Table("conv", (("weights", "biases"), ("kernel", "bias"))),
    "step": Table("step", (("expand", "depthwise"), ("expand", "depthwise")), rejoin=True),
    "block": Table("block", (("a/b", "b"), ("a/b", "b")), rejoin=True),
    "nest": Table("nest", (("b", "a/b"), ("b", "a/b")), rejoin=True),
    "stem": Table("stem", (("c1", "c2", "c3"), ("0", "1", "2")), (0, 1, 2)),
    "mixed": Table("mixed", (("x", "y"), ("10", "20")), (10, 20)),
    "big": Table("big", (tuple(map(str, range(200))),) * 2, tuple(range(200))),
    "same": Table("same", (("p", "q"), ("z", "z"))),
}


def scope(**more):
    return Scope(TABLES.get, **more)


def values(pattern, name):
    return [dict(b) for b in pattern.bindings(name)]


FITS = [  # pattern, name, the bindings
    ("a/b", "a/b", [{}]),
    ("a/b", "a/B", []),
    ("a/{x}", "a/b", [{"x": "b"}]),
    ("a/{x}", "a/", []),
    ("a/{x}", "a/b/c", []),
    ("a{x}c", "abc", [{"x": "b"}]),
    ("a{x}c", "ac", []),
    ("{x}_{y}", "a_b", [{"x": "a", "y": "b"}]),
    ("{x}/{x}_W", "dense/dense_W", [{"x": "dense"}]),
    ("{x}/{x}_W", "dense/conv_W", []),
    ("{x}_{x}", "ab_ab", [{"x": "ab"}]),
    ("{x}_{x}", "a_b_a_b", [{"x": "a_b"}]),
    ("h{i:int}", "h0", [{"i": 0}]),
    ("h{i:int}", "h12", [{"i": 12}]),
    ("h{i:int}", "h012", []),
    ("h{i:int}", "h1234567890123456789", []),
    ("h{i:int}", "h٣", []),
    ("h{i:2..11}", "h11", [{"i": 11}]),
    ("h{i:2..11}", "h1", []),
    ("{p:path}/w", "a/b/w", [{"p": ("a", "b")}]),
    ("{p:path}/w", "w", []),
    ("a/{p:path}", "a/b", [{"p": ("b",)}]),
    ("l/{conv}", "l/biases", [{"conv": 1}]),
    ("l/{c:conv}", "l/weights", [{"c": 0}]),
    ("l/{conv}", "l/kernel", []),
    ("{block}/w", "a/b/w", [{"block": 0}]),
    ("C{i:nth}/w", "C/w", [{"i": 0}]),
    ("C{i:nth}/w", "C_3/w", [{"i": 3}]),
    ("C{i:nth}/w", "C_0/w", []),
    ("C{i:nth}/w", "C_03/w", []),
    (".../w", "w", [{}]),
    (".../w", "a/b/w", [{}]),
    (".../w", "a/bw", []),
    (".../{x}/w", "a/b/w", [{"x": "b"}]),
    ("a{{b}}/{x}", "a{b}/c", [{"x": "c"}]),
]

TWO_WAYS = [
    ("{x}_{y}", "a_b_c"),
    ("{x}{y}", "abc"),
    ("{a:path}/{b:path}", "x/y/z"),
    ("{a:int}{b:int}", "123"),
    ("{x}/{nest}", "a/b"),  # not two: the hole can't hold a separator
    (".../{p:path}", "a/b"),
    ("a{i:nth}{x}", "a_1_2"),
]


@pytest.mark.parametrize(("text", "name", "expected"), FITS, ids=str)
def test_fits(text, name, expected):
    assert values(compile_pattern(text, scope()), name) == expected


@pytest.mark.parametrize(("text", "name"), TWO_WAYS, ids=str)
def test_two_ways(text, name):
    assert len(compile_pattern(text, scope()).bindings(name)) == (1 if "nest" in text else 2)


def test_separators_of_a_side():
    (left,), (right,) = compile_patterns(["m/{p:path}/{block}/{x}"], ["{p}.{block}.{x}"], scope(separators=("/", ".")))
    binding = left.bindings("m/a/q/a/b/k.v")[0]
    assert right.render(binding) == "a.q.a.b.k.v"
    assert right.bindings("a.q.a.b.k")[0] == left.bindings("m/a/q/a/b/k")[0]


FORMULAS = [  # from, to, source name, target name, bindings of the way back
    ("b{b:1..4}/{conv}", "c{b+1}/{conv}", "b4/weights", "c5/kernel", 1),
    ("k{k:1..10}/{stem}", "c{12 + 6*(k-1) + stem:rank}", "k2/c3", "c_20", 1),
    ("{mixed}/{stem}", "c{mixed + stem}", "y/c2", "c21", 1),
    ("{i:nth}x", "l{3*i}", "_2x", "l6", 1),
    ("a{i:int}", "b{2 - i}", "a2", "b0", 1),
    ("{stem}", "c{stem:rank}", "c1", "c", 1),
    ("{stem}", "c{stem:nth}", "c3", "c_2", 1),
    ("{stem}/{mixed}", "c{stem*10 + mixed}", "c2/x", "c20", 2),
    ("a{i:int}_{j:int}", "b{i}_{i+j}", "a1_2", "b1_3", 1),
    ("{a:same}", "{a}", "p", "z", 2),
    ("a{i:int}/{same}", "b{i:nth}/{same}", "a0/q", "b/z", 2),
    ("c{x:rank}", "d{x}", "c_4", "d_4", 1),
    ("c{x}", "d{x:int}", "c4", "d4", 1),
]


@pytest.mark.parametrize(("source", "target", "name", "becomes", "ways"), FORMULAS)
def test_formulas_there_and_back(source, target, name, becomes, ways):
    (left,), (right,) = compile_patterns([source], [target], scope())
    (binding,) = left.bindings(name)
    assert right.render(binding) == becomes
    back = right.bindings(becomes)
    assert len(back) == ways
    assert binding in back


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [("b{b:1..4}", "c{b+1}", "c6"), ("k{k:1..3}/{stem}", "c{6*k + stem}", "c5"), ("a{i:int}", "b{2*i}", "b3")],
)
def test_no_solution_is_no_match(source, target, name):
    assert compile_patterns([source], [target], scope())[1][0].bindings(name) == []


def test_rank_counts_the_numbers_there_are():
    (left,), (right,) = compile_patterns(["{stem}/w"], ["conv{stem:rank}/k"], scope())
    numbers = [7, 9, 30]

    def positions(pattern, index):
        return numbers

    assert right.render({"stem": 2}, positions) == "conv_30/k"
    assert right.bindings("conv_9/k", positions) == [{"stem": 1}]
    assert right.bindings("conv_8/k", positions) == []
    with pytest.raises(ValueError, match=r"number 2 .* of the 2"):
        right.render({"stem": 2}, lambda pattern, index: [7, 9])
    assert left.bindings("c2/w", positions) == [{"stem": 1}]


WRONG = [
    (["a{"], [], "isn't closed"),
    (["a}"], [], "wasn't opened"),
    (["a{}"], [], "no name"),
    (["a{x:conv2}"], [], "no kind of hole"),
    (["a{x:5..2}"], [], "empty"),
    (["a{x+1}"], ["b"], "expressions stand in `to`"),
    (["a{x}"], ["b{x+1}"], "text hole"),
    (["a{conv}"], ["b{conv+1}"], "no integers on its right"),
    (["a{x:int}"], ["b{x*x}"], "multiplied by itself"),
    (["a{x:int}"], ["b{y+1}"], "isn't a hole of `from`"),
    (["a{x:int}"], ["b{x+1:int}"], ":nth"),
    (["a{x:int}"], ["b{x:path}"], "two kinds"),
    (["a{x:path}"], [], "whole segments"),
    ([""], [], "empty"),
    ([".../"], [], "empty"),
    (["x" * 3000], [], "at most"),
    (["a{x:int}"], ["b{" + "(" * 200 + "x" + ")" * 200 + "}"], "at most"),
    (["a{x:int}"], ["b{x +}"], "missing"),
    (["a{x:int}"], ["b{(x}"], "isn't closed"),
    (["a{x:int}"], ["b{x 1}"], "should end"),
    (["a{x:int}"], ["b{x/2}"], "no place"),
    (["{a:big}{b:big}"], ["{a+b}"], "combines more than"),
]


@pytest.mark.parametrize(("sources", "targets", "message"), WRONG, ids=lambda v: str(v)[:30])
def test_wrong_patterns(sources, targets, message):
    with pytest.raises(ValueError, match=message):
        compile_patterns(sources, targets, scope())


LONG = [
    ("{a}_{b}_{c}_{d}_{e}x", "_a" * 2500),
    ("{a:path}/{b:path}/{c:path}/x", "a/" * 2500),
    ("{a:int}{b:int}{c:int}x", "1" * 5000),
    ("{a}{b}{c}{d}{e}{f}!", "a" * 5000),
    (".../{a}/{b}_{b}/{c:path}/x", "a_a/" * 1250),
    ("{step}{step}_{a}_{a}!", "expand" * 800),
]


@pytest.mark.parametrize(("text", "name"), LONG)
def test_long_names_take_no_time(text, name):
    pattern = compile_pattern(text, scope())
    start = time.process_time()
    assert pattern.bindings(name) == []
    assert time.process_time() - start < 1


def test_hopeless_repetition_is_given_up():
    with pytest.raises(MappingError, match="too many ways"):
        compile_pattern("{a}_{a}_{b}_{b}").bindings("_a" * 2500)


names = st.text("ab_/1", max_size=12)
parts = st.sampled_from(["a", "b", "_", "/", "1", "{x}", "{y}", "{i:int}", "{n:nth}"])


@settings(max_examples=200)
@given(st.lists(parts, min_size=1, max_size=6, unique=True), names)
def test_what_fits_renders_back(pieces, name):
    pattern = compile_pattern("".join(pieces))
    for binding in pattern.bindings(name):
        assert pattern.render(binding) == name


@settings(max_examples=200)
@given(st.lists(parts, min_size=1, max_size=6, unique=True), names)
def test_readings_are_what_trying_everything_finds(pieces, name):
    pattern = compile_pattern("".join(pieces))
    assert sorted(map(str, pattern.readings(name))) == sorted(map(str, _try_all(list(pattern.tokens), name)))


def _try_all(tokens, name):
    """All readings, the slow and plain way."""
    if not tokens:
        return [()] if not name else []
    token, found = tokens[0], []
    for end in range(len(name) + 1):
        part = name[:end]
        if isinstance(token, str):
            captured = [None] if part == token else []
        elif token.form == "text":
            captured = [part] if part and "/" not in part else []
        elif token.form == "int":
            captured = [int(part)] if part.isdigit() and (part == "0" or part[0] != "0") else []
        else:
            digits = part.removeprefix("_")
            is_nth = part == "" or (part.startswith("_") and digits.isdigit() and digits[0] != "0")
            captured = [int(digits or 0)] if is_nth else []
        found += [(c, *rest) for c in captured for rest in _try_all(tokens[1:], name[end:])]
    return found


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("1", {}, 1),
        ("a+2*b", {"a": 1, "b": 3}, 7),
        ("(a+2)*b", {"a": 1, "b": 3}, 9),
        ("-a+3", {"a": 1}, 2),
        ("a-1-1", {"a": 5}, 3),
    ],
)
def test_expressions(text, values, expected):
    assert expression.parse(text).value(values) == expected


def test_an_expression_without_slope_is_ambiguous():
    assert len(list(expression.parse("0*a + 3").solve(3, {}, {}, "a"))) == 2
    assert list(expression.parse("0*a + 3").solve(4, {}, {}, "a")) == []


holes = st.lists(
    st.sampled_from(["{x}", "{i:int}", "{n:nth}", "{conv}", "{stem}"]), min_size=1, max_size=4, unique=True
)
glue = st.sampled_from(["/", "_", "a/", "/b_", "-"])


@settings(max_examples=150)
@given(holes, st.randoms(use_true_random=False), st.data())
def test_what_is_renamed_leads_back(pieces, random, data):
    """The same holes in any order: a name is read with the values it was made from, or it is ambiguous."""
    shuffled = random.sample(pieces, len(pieces))
    texts = ["s/" + "".join(p + data.draw(glue) for p in side) + "e" for side in (pieces, shuffled)]
    targets = re.sub(r":(int|nth)", "", texts[1])
    (left,), (right,) = compile_patterns([texts[0]], [targets], scope())
    binding = {
        "x": data.draw(st.text("ab1_", min_size=1, max_size=3)),
        "i": data.draw(st.integers(0, 40)),
        "n": data.draw(st.integers(0, 12)),
        "conv": data.draw(st.integers(0, 1)),
        "stem": data.draw(st.integers(0, 2)),
    }
    binding = {name: value for name, value in binding.items() if name in left.names}
    for pattern in (left, right):
        found = pattern.bindings(pattern.render(binding))
        assert binding in found or len(found) == 2
