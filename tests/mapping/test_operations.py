"""Laws of the operations: shapes agree with values, undo gives back the bits, the way back gives back the inputs."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME, DTYPES, FLOAT32, STRING
from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.operations import OPERATIONS, parse, resolve, reversibility, unproven

ANY_DTYPE = [d.name for d in DTYPES if d.name not in ("resource", "variant")]
MOVING = [  # operations that move elements and change none
    "transpose", "squeeze", "expand_dims", "flip", "reshape", "rearrange", "concat", "split", "stack", "unstack",
    "reorder", "pad", "tile", "copy",
]  # fmt: skip
laws = settings(max_examples=250)


def elements(shape, dtype, seed=0):
    """Arbitrary bits of this type: NaNs, infinities and denormals among them."""
    rng = np.random.default_rng(seed)
    if dtype is STRING:
        values = np.array([bytes(rng.bytes(int(n))) for n in rng.integers(0, 4, prod(shape))] + [None], object)[:-1]
        return values.reshape(shape)
    if dtype.name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    raw = rng.integers(0, 256, prod(shape) * dtype.numpy.itemsize, dtype=np.uint8)
    if dtype.name.endswith(("int4", "int2", "e2m1fn")):
        raw &= 1  # one element a byte, of which the upper bits say nothing
    return raw.view(dtype.numpy).reshape(shape)


def bits(array):
    return array.tolist() if array.dtype == object else (array.shape, array.tobytes())


def run(steps, arrays):
    for step in steps:
        arrays = step.apply(arrays)
        assert [a.shape for a in arrays] == list(step.shapes)
        assert all(isinstance(a, np.ndarray) for a in arrays)
        assert [a.dtype for a in arrays] == [d.numpy for d in step.dtypes]
    return arrays


def sized(draw, low=0):
    return draw(st.integers(low, 4))


def _ones(shape, axes):
    return [1 if axis in axes else size for axis, size in enumerate(shape)]


@st.composite
def applications(draw, names=tuple(MOVING)):
    """(operation as written, shapes of its inputs, number of its outputs)."""
    shape = [sized(draw) for _ in range(draw(st.integers(1, 4)))]
    rank = len(shape)
    axis = draw(st.integers(-rank, rank - 1))
    count = draw(st.integers(1, 3))
    axes = sorted(draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    order = draw(st.permutations(range(rank)))
    blocks = draw(st.permutations(range(count)))
    sizes = [sized(draw) for _ in range(count)]
    i, g, u = (sized(draw, 1) for _ in range(3))
    rest = draw(st.integers(0, count - 1))
    cases = {
        "transpose": (order, [shape], 1),
        "squeeze": (axes, [_ones(shape, axes)], 1),
        "expand_dims": (axes, [shape], 1),
        "flip": (axis, [shape] * count, count),
        "reshape": (
            {"to": [-1], "from": [-1, *(s + 1 for s in shape[1:])]},
            [[shape[0], *(s + 1 for s in shape[1:])]],
            1,
        ),
        "rearrange": ({"as": "i (g u) -> g (u i)", "g": g, "u": u}, [[i, g * u]], 1),
        "concat": ({"axis": axis, "sizes": sizes}, [_with(shape, axis, s) for s in sizes], 1),
        "split": (
            {"axis": axis, "sizes": ["rest" if k == rest else s for k, s in enumerate(sizes)]},
            [_with(shape, axis, sum(sizes))],
            count,
        ),
        "stack": (axis, [shape] * count, 1),
        "unstack": (axis, [_with(shape, axis, count)], count),
        "reorder": ({"axis": axis, "order": blocks}, [_with(shape, axis, count * sizes[0])], 1),
        "pad": ({"axis": axis, "to": shape[axis] + sizes[0], "from": shape[axis]}, [shape], 1),
        "tile": ({"axis": axis, "times": count}, [shape], 1),
        "copy": (count, [shape], count),
    }
    name = draw(st.sampled_from(names))
    params, shapes, outputs = cases[name]
    return (name, params), shapes, outputs


def _with(shape, axis, size):
    axis %= len(shape)
    return [*shape[:axis], size, *shape[axis + 1 :]]


@laws
@given(applications(), st.sampled_from(ANY_DTYPE))
def test_moving_keeps_every_bit_both_ways(application, dtype_name):
    (name, params), shapes, count = application
    dtype = BY_NAME[dtype_name]
    if name == "pad" and dtype_name.startswith(("qint", "quint")):
        return  # what a quantised zero is isn't in the file
    operation = parse(name, params, "map.yaml:3")
    inputs = [elements(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    before = [bits(x) for x in inputs]
    for x in inputs:
        x.flags.writeable = False
    (step,) = resolve([operation], shapes, [dtype] * len(shapes), [None] * count)
    outputs = run([step], inputs)
    assert len(outputs) == count
    assert step.is_exact
    assert [bits(x) for x in step.undo(outputs)] == before

    (back,) = resolve([operation], [x.shape for x in outputs], [dtype] * count, [None] * len(shapes), reverse=True)
    assert [bits(x) for x in run([back], outputs)] == before
    assert back.is_exact == (name != "pad")
    if back.is_exact:
        assert [bits(x) for x in back.undo(inputs)] == [bits(x) for x in outputs]


@laws
@given(applications(("transpose", "squeeze", "expand_dims", "flip", "reorder")), st.data())
def test_a_chain_is_undone_from_its_end(application, data):
    (name, params), shapes, _ = application
    (then, more), _, _ = data.draw(applications(("expand_dims",)))
    chain = [parse(name, params), parse("expand_dims", 0), parse("copy", 2), parse("stack", -1), parse(then, more)]
    dtype = BY_NAME["bfloat16"]
    try:
        steps = resolve(chain, shapes[:1], [dtype], [None])
    except MappingError:
        return  # the last one drew axes that this rank lacks
    inputs = [elements(shapes[0], dtype)]
    outputs = run(steps, inputs)
    back = resolve(chain, [x.shape for x in outputs], [dtype] * len(outputs), [None], reverse=True)
    assert bits(run(back, outputs)[0]) == bits(inputs[0])


GIVEN = [  # operations, shapes of the inputs, shapes of the outputs, and what is needed on the way back
    ([("squeeze", [0, 1]), ("transpose", [1, 0])], [(1, 1, 3, 5)], [(5, 3)], "nothing"),
    ([("concat", {"axis": -1})], [(2, 3), (2, 3), (2, 3)], [(2, 9)], "nothing"),
    ([("concat", {"axis": -1})], [(2, 3), (2, 4)], [(2, 7)], "template"),
    ([("transpose", [1, 0]), ("concat", 0)], [(2, 3), (2, 4)], [(7, 2)], "template"),
    ([("concat", {"axis": 0, "sizes": ["rest", "dim1/4"]})], [(8, 80), (20, 80)], [(28, 80)], "nothing"),
    ([("split", {"axis": 1})], [(2, 6)], [(2, 2)] * 3, "nothing"),
    ([("transpose", [1, 0]), ("split", 0), ("expand_dims", 0)], [(2, 6)], [(1, 3, 2)] * 2, "nothing"),
    ([("reorder", {"axis": 1, "order": [0, 2, 1, 3]}), ("split", {"axis": 0, "sizes": ["rest", "dim1/4"]})],
     [(28, 80)], [(8, 80), (20, 80)], "nothing"),
    ([("reshape", {"to": [-1, "dim3"]})], [(1, 1, 4, 5)], [(4, 5)], "template"),
    ([("reshape", [6, -1]), ("concat", 1)], [(2, 3, 2), (3, 2, 4)], [(6, 6)], "template"),
    ([("reshape", {"to": [-1], "from": [3, -1]})], [(3, 4)], [(12,)], "nothing"),
    ([("pad", {"axis": 3, "to": "template"})], [(1, 1, 4, 5)], [(1, 1, 4, 9)], "template"),
    ([("pad", {"axis": 3, "to": "template"}), ("pad", {"axis": 2, "to": "template"}), ("transpose", [3, 2, 0, 1])],
     [(1, 1, 4, 5)], [(9, 8, 1, 1)], "template"),
    ([("pad", {"axis": 0, "to": "template"}), ("split", {"axis": 1, "sizes": [1, "rest"]})],
     [(4, 5)], [(7, 1), (7, 4)], "template"),
    ([("pad", {"axis": 1, "to": "template"})], [(2, 3), (2, 4)], [(2, 4), (2, 5)], "template"),
    ([("pad", {"axis": 0, "to": "dim1", "from": 2})], [(2, 3)], [(3, 3)], "nothing"),
    ([("rearrange", {"as": "i (g u) -> g (u i)", "g": 4})], [(3, 8)], [(4, 6)], "template"),
    ([("rearrange", {"as": "(g u) -> u g", "g": "dim0/2"})], [(8,)], [(2, 4)], "nothing"),
    ([("rearrange", {"as": "(h w) c -> c h w", "h": 2})], [(6, 5)], [(5, 2, 3)], "nothing"),
    ([("unstack", 0), ("transpose", [1, 0]), ("stack", 2)], [(2, 3, 4)], [(4, 3, 2)], "nothing"),
    ([("tile", {"axis": 1, "times": 3})], [(2, 2)], [(2, 6)], "nothing"),
    ([("copy", {"times": 3})], [(2,)], [(2,)] * 3, "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "shapes", "outputs", "needs"), GIVEN)
def test_resolved_shapes_and_the_way_back(written, shapes, outputs, needs):
    operations = [parse(name, params, "map.yaml:7") for name, params in written]
    inputs = [elements(shape, FLOAT32, seed) for seed, shape in enumerate(shapes)]
    steps = resolve(operations, shapes, [FLOAT32] * len(shapes), outputs)
    there = run(steps, inputs)
    assert [x.shape for x in there] == outputs
    undone = there
    for step in reversed(steps):
        undone = step.undo(undone)
    assert [bits(x) for x in undone] == [bits(x) for x in inputs]

    backwards = {"dtypes": [FLOAT32] * len(outputs), "reverse": True}
    with_template = resolve(operations, outputs, targets=shapes, **backwards)
    assert [bits(x) for x in run(with_template, there)] == [bits(x) for x in inputs]
    if needs == "nothing":
        without = resolve(operations, outputs, targets=[None] * len(shapes), **backwards)
        assert [bits(x) for x in run(without, there)] == [bits(x) for x in inputs]
        assert not any(reversibility(op, has_template=False) for op in operations)
    else:
        with pytest.raises(MappingError) as found:
            resolve(operations, outputs, targets=[None] * len(shapes), **backwards)
        assert found.value.where == "map.yaml:7"


VALUES = [  # operations, inputs, outputs
    ([("reorder", {"axis": 0, "order": [0, 2, 1, 3]}), ("add", {"axis": 0, "of": 4, "block": 1, "value": 1.0})],
     [[0.0, 1.0, 2.0, 3.0]], [[0.0, 3.0, 1.0, 3.0]]),
    ([("add", 2)], [[1, 2]], [[3, 4]]),
    ([("scale", 0.5)], [[1.0, 3.0]], [[0.5, 1.5]]),
    ([("scale", {"by": -2})], [[1.0]], [[-2.0]]),
    ([("sum", None)], [[1.0, 2.0], [10.0, 20.0], [0.0, 1.0]], [[11.0, 23.0]]),
    ([("slice", {"axis": 1, "start": 1})], [[[1.0, 2.0, 3.0]]], [[[2.0, 3.0]]]),
    ([("slice", {"axis": 0, "start": "dim0/4", "stop": "dim0/2"})], [[0.0, 1.0, 2.0, 3.0]], [[1.0]]),
    ([("pad", {"axis": -1, "to": 3, "with": 1})], [[[5.0], [6.0]]], [[[5.0, 1.0, 1.0], [6.0, 1.0, 1.0]]]),
    ([("rearrange", {"as": "(g u) -> (u g)", "g": 2})], [[1.0, 2.0, 3.0, 4.0]], [[1.0, 3.0, 2.0, 4.0]]),
    ([("flip", 0)], [[1.0, 2.0]], [[2.0, 1.0]]),
    ([("tile", {"axis": 0, "times": 2})], [[1.0, 2.0]], [[1.0, 2.0, 1.0, 2.0]]),
    ([("stack", 1), ("flip", [0, 1])], [[1.0, 2.0], [3.0, 4.0]], [[[4.0, 2.0], [3.0, 1.0]]]),
    ([("split", 0), ("concat", {"axis": 0, "sizes": ["rest"]})], [[1.0]], [[1.0]]),
]  # fmt: skip


@pytest.mark.parametrize(("written", "inputs", "outputs"), VALUES)
@pytest.mark.parametrize("dtype_name", ["float32", "float64", "float16", "bfloat16"])
def test_values(written, inputs, outputs, dtype_name):
    dtype = BY_NAME[dtype_name]
    arrays = [np.array(x).astype(dtype.numpy) for x in inputs]
    operations = [parse(name, params) for name, params in written]
    if written[0][0] == "split":
        operations[0] = parse("split", {"axis": 0, "sizes": ["rest"]})
    steps = resolve(operations, [x.shape for x in arrays], [dtype] * len(arrays), [None] * len(outputs))
    assert [x.astype(np.float64).tolist() for x in run(steps, arrays)] == outputs


UNDONE = [("add", {"value": 0.25}), ("scale", 4), ("cast", {"dtype": "float64", "from": "float32"})]


@pytest.mark.parametrize(("name", "params"), UNDONE)
def test_arithmetic_is_undone_but_not_claimed_bit_exact(name, params):
    (step,) = resolve([parse(name, params)], [(3,)], [FLOAT32], [None])
    array = np.array([0.5, -8, 1024], np.float32)
    assert not step.is_exact
    (out,) = run([step], [array])
    assert step.undo([out])[0].tolist() == array.tolist()
    back = resolve([parse(name, params)], [(3,)], list(step.dtypes), [None], reverse=True)
    (again,) = run(back, [out])
    assert (again.dtype, again.tolist()) == (array.dtype, array.tolist())


CASTS = [  # from, to, exact
    ("float32", "bfloat16", False), ("bfloat16", "float32", False), ("float32", "float32", True),
    ("int32", "int64", True), ("int64", "int32", False), ("int16", "float32", True), ("int64", "float64", False),
    ("bool", "int8", True), ("float32", "int32", False), ("float32", "float8_e4m3fn", False), ("int4", "int8", True),
    ("int8", "uint8", False), ("uint2", "float8_e5m2", True), ("float32", "complex64", False),
]  # fmt: skip


@pytest.mark.parametrize(("have", "want", "exact"), CASTS)
def test_cast(have, want, exact):
    (step,) = resolve([parse("cast", want)], [(50,)], [BY_NAME[have]], [None])
    array = elements((50,), BY_NAME[have])
    (out,) = run([step], [array])
    assert step.is_exact == exact
    assert not exact or bits(step.undo([out])[0]) == bits(array)


def test_a_cast_goes_back_to_the_template_type():
    operations = [parse("cast", "float32", "m:1")]
    target = {"targets": [(2,)], "reverse": True}
    (step,) = resolve(operations, [(2,)], [FLOAT32], target_dtypes=[BY_NAME["float16"]], **target)
    assert step.dtypes == (BY_NAME["float16"],)
    with pytest.raises(MappingError, match=r"no way back: needs a template, or `from`"):
        resolve(operations, [(2,)], [FLOAT32], **target)


def test_integers_are_added_exactly():
    dtype = BY_NAME["uint8"]
    (step,) = resolve([parse("add", 200)], [(2,)], [dtype], [None])
    assert step.is_exact
    (out,) = run([step], [np.array([1, 100], np.uint8)])
    assert step.undo([out])[0].tolist() == [1, 100]


def test_a_sum_goes_back_to_the_first():
    (back,) = resolve([parse("sum")], [(2,)], [FLOAT32], [None] * 3, reverse=True)
    assert [x.tolist() for x in run([back], [np.array([1, 2], np.float32)])] == [[1, 2], [0, 0], [0, 0]]
    assert not back.is_exact


@pytest.mark.parametrize(("name", "params"), [("copy", 2), ("tile", {"axis": 0, "times": 2})])
def test_copies_that_differ_have_no_way_back(name, params):
    shapes = [(2,), (2,)] if name == "copy" else [(4,)]
    (back,) = resolve([parse(name, params, "m:9")], shapes, [FLOAT32] * len(shapes), [None], reverse=True)
    arrays = [np.arange(prod(s), dtype=np.float32) + i for i, s in enumerate(shapes)]
    with pytest.raises(MappingError, match="copies have different values") as found:
        back.apply(arrays)
    assert found.value.where == "m:9"
    (same,) = back.apply([np.full(s, np.nan, np.float32) for s in shapes])
    assert same.shape == (2,)


def test_layout_operations_return_views():
    operations = [parse("transpose", [1, 0]), parse("flip", 0), parse("expand_dims", 0)]
    array = np.zeros((2, 3), np.float32)
    out = run(resolve(operations, [(2, 3)], [FLOAT32], [None]), [array])[0]
    assert np.shares_memory(out, array)


def test_steps_read_as_a_mapping_would_write_them():
    operations = [
        parse("squeeze", [0, 1]),
        parse("slice", {"axis": -1, "start": 1}),
        parse("pad", {"axis": 0, "to": "dim1"}),
    ]
    steps = resolve(operations, [(1, 1, 3, 5)], [FLOAT32], [None])
    assert [s.text for s in steps] == [
        "squeeze [0, 1]", "slice {axis: 1, start: 1, stop: 5}", "pad {axis: 0, to: 4, with: 0}"
    ]  # fmt: skip


UNPROVEN = {
    "transpose", "flip", "rearrange", "concat", "split", "stack", "unstack", "reorder", "add", "scale"
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_shapes_do_not_prove(name):
    _, _, example = OPERATIONS[name].example.partition(": ")
    params = {
        "transpose": [1, 0], "reorder": {"axis": 0, "order": [1, 0]}, "rearrange": {"as": "a b -> b a"},
        "reshape": [-1], "slice": {"axis": 0, "start": 1}, "pad": {"axis": 0, "to": 3}, "cast": "float32", "scale": 2,
        "tile": {"axis": 0, "times": 2}, "sum": None, "add": 1.0,
    }.get(name, 0 if name != "copy" else 2)  # fmt: skip
    assert example or name == "sum"
    assert bool(unproven(parse(name, params))) == (name in UNPROVEN)


@pytest.mark.parametrize(("name", "params"), [("transpose", [0, 1, 2]), ("reorder", {"axis": 0, "order": [0, 1]})])
def test_what_changes_nothing_needs_no_proof(name, params):
    assert unproven(parse(name, params)) == ""
