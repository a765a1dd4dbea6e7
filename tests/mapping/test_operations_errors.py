"""What an operation doesn't accept: the message names what it does, and where it is written."""

from __future__ import annotations

import pytest

from ckptmigrate.dtypes import BY_NAME, FLOAT32
from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.operations import OPERATIONS, parse, resolve, reversibility

WRONG = [  # operation, parameters, what the message says
    ("squeze", 0, "no operation 'squeze'; there are transpose, squeeze"),
    ("subtract", 1, "no operation 'subtract'"),
    ("transpose", None, "`axes` is missing; takes `axes`"),
    ("transpose", "", "`axes` is missing"),
    ("transpose", [0, "x"], r"takes an axis or a list of axes, found \[0, 'x'\]"),
    ("transpose", [0, 0], "list of different axes"),
    ("transpose", {"order": [1, 0]}, "takes `axes`, found order"),
    ("squeeze", True, "an axis or a list of axes, found True"),
    ("squeeze", [], "an axis or a list of different axes"),
    ("flip", 0.5, "an axis or a list of axes"),
    ("reshape", [-1, -1], "one -1 at most"),
    ("reshape", {"to": [-2]}, r"a size \(N, dimK or dimK/N\)"),
    ("reshape", {"from": [1]}, "`to` is missing; takes `to`, `from` \\(optional\\)"),
    ("rearrange", {"as": "i (g u -> g u i"}, "`as` takes text like"),
    ("rearrange", {"as": "i j -> i"}, "each axis once on either side"),
    ("rearrange", {"as": "i i -> i i"}, "each axis once"),
    ("rearrange", {"as": "i ((g u)) -> g u i"}, "`as` takes text like"),
    ("rearrange", {"as": "i ... -> ... i"}, "`as` takes text like"),
    ("rearrange", {"as": "i j -> j i", "k": 2}, "takes sizes of i, j; k is none of them"),
    ("rearrange", {"as": "i j -> j i", "i": "two"}, r"`i` takes a size \(N, dimK or dimK/N\)"),
    ("rearrange", "i j -> j i", "takes `as`, found 'i j -> j i'"),
    ("concat", {}, "`axis` is missing"),
    ("concat", {"axis": "last"}, "`axis` takes an integer, found 'last'"),
    ("split", {"axis": 0, "sizes": ["rest", "rest"]}, "one `rest` at most"),
    ("split", {"axis": 0, "sizes": 2}, "a list of sizes"),
    ("split", {"axis": 0, "sizes": ["dim1/0"]}, "dimK/N.*, rest, found"),
    ("split", {"axis": 0, "sizes": ["dim01"]}, "dimK/N"),
    ("reorder", {"axis": 0, "order": [0, 2]}, "holds each of 0, 1, 2, ... once"),
    ("reorder", {"axis": 0, "order": [True, 0]}, "holds each of"),
    ("slice", {"axis": 0}, "takes `start`, `stop` or both"),
    ("slice", {"axis": 0, "start": -1}, "`start` takes a size"),
    ("slice", 1, "takes `axis`, `start` \\(optional\\), `stop` \\(optional\\), found 1"),
    ("pad", {"axis": 0}, "`to` is missing"),
    ("pad", {"axis": 0, "to": "model"}, r"a size \(N, dimK or dimK/N\), template, found 'model'"),
    ("pad", {"axis": 0, "to": 3, "with": "zeros"}, "`with` takes a number, found 'zeros'"),
    ("pad", {"axis": 0, "to": 3, "with": float("nan")}, "`with` takes a number"),
    ("add", {"axis": 0, "value": 1}, "`axis`, `block` and `of` together"),
    ("add", {"axis": 0, "of": 4, "block": 4, "value": 1}, "a `block` from 0 to 3"),
    ("add", {}, "`value` is missing"),
    ("scale", 0, "a factor other than 0"),
    ("scale", "half", "`by` takes a number"),
    ("tile", {"axis": 0, "times": 0}, "`times` takes an integer from 1 to 65536"),
    ("copy", 1_000_000, "an integer from 1 to 65536"),
    ("sum", {"axis": 0}, "takes no parameters, found axis"),
    ("sum", 1, "takes no parameters, found 1"),
    ("cast", "float31", "`dtype` takes one of float32, float64"),
    ("cast", "string", "`dtype` takes one of"),
    ("cast", "qint8", "`dtype` takes one of"),
    ("cast", ["float32"], "`dtype` takes one of"),
]


@pytest.mark.parametrize(("name", "params", "message"), WRONG)
def test_wrong_parameters(name, params, message):
    with pytest.raises(MappingError, match=message) as found:
        parse(name, params, "map.yaml:12")
    assert found.value.where == "map.yaml:12"
    assert found.value.exit_code == 5
    assert [issue.kind for issue in found.value.issues] == ["mapping"]


UNFIT = [  # operation, parameters, shapes, dtype, number of outputs, what the message says
    ("transpose", [1, 0], [(2, 3, 4)], "float32", 1, r"names 2 axes, the tensor's shape is \[2, 3, 4\]"),
    ("transpose", [2, 0], [(2, 3)], "float32", 1, "not different axes of a tensor with 2 axes"),
    ("transpose", [-1, 1], [(2, 3)], "float32", 1, "not different axes"),
    ("squeeze", 0, [(2, 3)], "float32", 1, r"expected size 1 at axes \[0\], the tensor's shape is \[2, 3\]"),
    ("squeeze", 3, [(1,)], "float32", 1, "not different axes of a tensor with 1 axes"),
    ("reshape", [4, -1], [(2, 3)], "float32", 1, "6 elements of shape"),
    ("reshape", [5], [(2, 3)], "float32", 1, "has 6 elements, .5. has 5"),
    ("reshape", [-1], [(0, 3), (2,)], "float32", 2, ""),
    ("reshape", [0, -1], [(0, 3)], "float32", 1, "don't fit"),
    ("reshape", {"to": [-1], "from": [3, -1]}, [(2, 3)], "float32", 1, "not the one that `from` names"),
    ("reshape", [-1, "dim2"], [(2, 3)], "float32", 1, "dim2 of a tensor of shape"),
    ("rearrange", {"as": "i j -> j i"}, [(2, 3, 4)], "float32", 1, "names 2 axes"),
    ("rearrange", {"as": "i (g u) -> g u i"}, [(2, 8)], "float32", 1, r"no sizes for \(g u\) that make 8"),
    ("rearrange", {"as": "i (g u) -> g u i", "g": 3}, [(2, 8)], "float32", 1, "no sizes for"),
    ("rearrange", {"as": "i j -> j i", "i": 3}, [(2, 8)], "float32", 1, "no sizes for i that make 2"),
    ("concat", 0, [(2, 3), (2, 4)], "float32", 1, "differ beyond axis 0"),
    ("concat", 2, [(2, 3), (2, 3)], "float32", 1, "axis 2 of a tensor of shape"),
    ("concat", {"axis": 0, "sizes": [1, 3]}, [(2, 3), (2, 3)], "float32", 1, r"the parts have sizes \[2, 2\]"),
    ("stack", 0, [(2, 3), (3, 2)], "float32", 1, "takes tensors of one shape"),
    ("split", {"axis": 0, "sizes": [1, 2]}, [(4,)], "float32", 2, "sizes add up to 3, axis 0 .* has 4"),
    ("split", {"axis": 0, "sizes": [5, "rest"]}, [(4,)], "float32", 2, "sizes add up to 5"),
    ("split", {"axis": 0, "sizes": ["rest", "dim0/3"]}, [(4,)], "float32", 2, "dim0/3 is no whole number"),
    ("split", 0, [(4,)], "float32", 3, "has no 3 equal parts"),
    ("split", 0, [(4,), (4,)], "float32", 2, "takes one tensor, found 2"),
    ("unstack", 0, [(4,)], "float32", 3, "3 tensors wanted, axis 0 of shape .* gives 4"),
    ("reorder", {"axis": 0, "order": [1, 0]}, [(3,)], "float32", 1, "no 2 equal parts"),
    ("slice", {"axis": 0, "start": 3, "stop": 2}, [(4,)], "float32", 1, "expected start <= stop <= 4"),
    ("slice", {"axis": 0, "stop": 5}, [(4,)], "float32", 1, "expected start <= stop <= 4"),
    ("pad", {"axis": 0, "to": 3}, [(4,)], "float32", 1, "has 4 already, more than 3"),
    ("pad", {"axis": 0, "to": "template"}, [(4,)], "float32", 1, "has no template's shape to go by"),
    ("pad", {"axis": 0, "to": 5, "from": 3}, [(4,)], "float32", 1, "`from` isn't the size of axis 0"),
    ("pad", {"axis": 0, "to": 5, "with": 0.5}, [(4,)], "int32", 1, "holds integers from"),
    ("pad", {"axis": 0, "to": 5, "with": 256}, [(4,)], "uint8", 1, "integers from 0 to 255, not 256"),
    ("pad", {"axis": 0, "to": 5, "with": 2}, [(4,)], "bool", 1, "integers from 0 to 1"),
    ("pad", {"axis": 0, "to": 5, "with": 1}, [(4,)], "string", 1, "string elements take no number"),
    ("pad", {"axis": 0, "to": 5}, [(4,)], "qint8", 1, "qint8 elements take no number"),
    ("add", {"axis": 0, "of": 4, "block": 1, "value": 1}, [(6,)], "float32", 1, "no 4 equal parts"),
    ("add", 1, [(6,)], "string", 1, "takes numbers, found string"),
    ("add", 1, [(6,)], "bool", 1, "takes numbers, found bool"),
    ("scale", 2, [(6,)], "int32", 1, "takes floating-point or complex numbers, found int32"),
    ("scale", 1e-300, [(6,)], "float32", 1, "as float32 the factor is 0"),
    ("sum", None, [(2,), (3,)], "float32", 1, "takes tensors of one shape"),
    ("cast", "float32", [(2,)], "complex64", 1, "would drop the imaginary part"),
    ("cast", "float32", [(2,)], "qint8", 1, "takes numbers, found qint8"),
    ("cast", {"dtype": "float32", "from": "float16"}, [(2,)], "float64", 1, "the tensor is float64, `from` says"),
    ("squeeze", 0, [(1,)], "variant", 1, "takes numbers or strings, found variant"),
]


@pytest.mark.parametrize("row", UNFIT, ids=lambda row: f"{row[0]}-{row[-1]}")
def test_shapes_and_types_that_do_not_suit(row):
    name, params, shapes, dtype, count, message = row
    operation = parse(name, params, "map.yaml:12")
    arguments = ([operation], shapes, [BY_NAME[dtype]] * len(shapes), [None] * count)
    if not message:
        assert resolve(*arguments)
        return
    with pytest.raises(MappingError, match=message) as found:
        resolve(*arguments)
    assert found.value.where == "map.yaml:12"
    assert found.value.issues[0].kind in ("shape", "mapping")


def test_an_axis_of_any_size_is_not_taken_apart():
    operations = [parse("unstack", 0, "m:1"), parse("stack", 0)]
    with pytest.raises(MappingError, match=r"1 to 65536 tensors wanted, axis 0 of shape .* gives 1000000000"):
        resolve(operations, [(10**9,)], [FLOAT32], [None])


@pytest.mark.parametrize("name", ["concat", "stack", "sum"])
def test_tensors_of_different_types_do_not_join(name):
    dtypes = [FLOAT32, BY_NAME["bfloat16"]]
    with pytest.raises(MappingError, match="one type, found float32, bfloat16") as found:
        resolve([parse(name, None if name == "sum" else 0, "m:1")], [(2,), (2,)], dtypes, [None])
    assert "cast" in found.value.hint


@pytest.mark.parametrize("has_template", [True, False])
@pytest.mark.parametrize("name", OPERATIONS)
def test_reversibility_says_what_resolve_does(name, has_template):
    """For one operation on its own; joined tensors of unequal size need the template in both answers."""
    params, shapes, outputs = {
        "transpose": ([1, 0], [(2, 3)], [(3, 2)]),
        "squeeze": (0, [(1, 2)], [(2,)]),
        "expand_dims": (0, [(2,)], [(1, 2)]),
        "flip": (0, [(2,)], [(2,)]),
        "reshape": ([-1], [(2, 3)], [(6,)]),
        "rearrange": ({"as": "(i j) k -> (j k) i", "i": 2}, [(4, 3)], [(6, 2)]),
        "concat": (0, [(2,), (2,)], [(4,)]),
        "split": (0, [(4,)], [(2,), (2,)]),
        "stack": (0, [(4,), (4,)], [(2, 4)]),
        "unstack": (0, [(2, 4)], [(4,), (4,)]),
        "reorder": ({"axis": 0, "order": [1, 0]}, [(2,)], [(2,)]),
        "slice": ({"axis": 0, "start": 1}, [(3,)], [(2,)]),
        "pad": ({"axis": 0, "to": "template"}, [(3,)], [(4,)]),
        "tile": ({"axis": 0, "times": 2}, [(3,)], [(6,)]),
        "copy": (2, [(3,)], [(3,), (3,)]),
        "add": (1, [(3,)], [(3,)]),
        "scale": (2, [(3,)], [(3,)]),
        "sum": (None, [(3,), (3,)], [(3,)]),
        "cast": ("float32", [(3,)], [(3,)]),
    }[name]
    operation = parse(name, params, "m:1")
    targets = shapes if has_template else [None] * len(shapes)
    types = [FLOAT32] * len(shapes) if has_template else []
    reason = reversibility(operation, has_template)
    arguments = ([operation], outputs, [FLOAT32] * len(outputs), targets)
    if not reason:
        (step,) = resolve(*arguments, reverse=True, target_dtypes=types)
        assert list(step.shapes) == shapes
        return
    with pytest.raises(MappingError) as found:
        resolve(*arguments, reverse=True, target_dtypes=types)
    assert found.value.issues[0].kind == "irreversible"
    assert found.value.message.endswith(f"no way back: {reason}")


def test_a_pad_to_the_template_can_not_be_followed_by_what_hides_its_size():
    operations = [parse("pad", {"axis": 0, "to": "template"}, "m:1"), parse("slice", {"axis": 0, "start": 1}, "m:2")]
    with pytest.raises(MappingError, match="needs to undo what follows it") as found:
        resolve(operations, [(3,)], [FLOAT32], [(4,)])
    assert found.value.where == "m:1"


def test_a_template_that_does_not_fit_is_not_called_missing():
    operation = parse("pad", {"axis": 0, "to": "template"}, "m:1")
    with pytest.raises(MappingError, match=r"the template's tensors don't go through .* has 4 already, more than 3"):
        resolve([operation], [(3,)], [FLOAT32], [(4,)], reverse=True)
