"""Pairing variables of two files by their names, without a mapping."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptmigrate.mapping.assign import assign_identity
from ckptmigrate.table import Layer, Structure


@pytest.fixture
def pairs(checkpoint):
    """Source name -> target name of what `assign_identity` moves, and the findings."""

    def run(source, template, **layers):
        sides = [checkpoint(side) for side in (source, template)]
        for at, name in enumerate(("near", "far")):
            if name in layers:
                sides[at] = replace(sides[at], structure=Structure(layout=layers[name]))
        found = assign_identity(*sides)
        return {move.sources[0]: move.targets[0] for move in found.moves}, found.findings

    return run


def layer(name, kind="Dense", prefix=None):
    return Layer(name, kind, tuple((leaf, f"{prefix or name}/{leaf}") for leaf in ("kernel", "bias")))


SAME = [  # (source, its aliases), (template, its aliases): one variable of both
    (("d/kernel", {}), ("layer_with_weights-0/kernel", {"layer_path": "d/kernel"})),
    (("d/kernel", {}), ("model/layer_with_weights-0/kernel", {"layer_path": "model/d/kernel"})),
    (("m/lstm_cell/bias", {"layer_path": "m/cell/bias"}), ("m/cell/bias", {})),
    (("mha/query/kernel", {}), ("_operations/3/_query_dense/_kernel", {"layer_path": "mha/_query_dense/_kernel"})),
    (("bi/forward_lstm/lstm_cell_2/bias", {}), ("bi/forward_layer/cell/bias", {})),
    (("dw/depthwise_kernel", {}), ("_operations/1/kernel", {"layer_path": "dw/kernel"})),
    (("td/kernel", {}), ("td/layer/kernel", {})),
    (("td/layer/kernel", {}), ("variables/3", {"full_name": "td/dense/kernel"})),
    (("td/layer/vars/0", {}), ("td/layer/kernel", {})),
    (("sub/a/kernel", {}), ("x", {"layer_path": "layer_with_weights-1/a/kernel"})),
    (("sub/a/kernel", {}), ("x", {"layer_path": "model/_operations/4/a/_kernel"})),
]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("backwards", [False, True])
def test_one_variable_under_two_names(one, other, backwards, pairs, variable):
    one, other = (other, one) if backwards else (one, other)
    found, findings = pairs([variable(one[0], **one[1])], [variable(other[0], **other[1])])
    assert found == {one[0]: other[0]}
    assert not findings


def test_inner_layer_of_an_outer_ones_name(pairs, variable):
    """`a` of the model and `a` of a model in it: TF2's full names are the same, its paths are not."""
    inner = {"full_name": "a/kernel", "layer_path": "layer_with_weights-1/a/kernel"}
    template = [variable("0/kernel", full_name="a/kernel", layer_path="a/kernel"), variable("1/0/kernel", **inner)]
    found, findings = pairs(["sub/a/kernel", "a/kernel"], template)
    assert found == {"a/kernel": "0/kernel", "sub/a/kernel": "1/0/kernel"}
    assert not findings


CONFUSED = [
    (["a/kernel"], ["b/kernel"]),
    (["d/kernel"], ["generator/d/kernel", "discriminator/d/kernel"]),
    (["sub/a/kernel"], ["sub/c/kernel"]),
    (["d/kernel", "e/kernel"], ["model/d/kernel", "model/f/kernel"]),
]


@pytest.mark.parametrize(("source", "template"), CONFUSED)
def test_never_by_shape(source, template, pairs):
    found, findings = pairs(source, template)
    assert not found
    assert {issue.kind for issue in findings} == {"unmatched", "unfilled"}
    assert f"{template[-1]} ha" in findings[len(source) - 1].message or "have its shape" in findings[0].message


def test_layers_that_only_count_on(pairs):
    near, far = (layer("dense_2"), layer("dense_3")), (layer("dense"), layer("dense_1"))
    names = [[f"{one.name}/{leaf}" for one in side for leaf in ("kernel", "bias")] for side in (near, far)]
    found, (issue,) = pairs(*names, near=near, far=far)
    assert found == dict(zip(*names, strict=True))
    assert (issue.kind, issue.severity) == ("order", "warning")
    assert "dense_2 -> dense, dense_3 -> dense_1" in issue.message


@pytest.mark.parametrize(
    "near",
    [
        (layer("dense_1"), layer("dense_2")),  # dense_1 is on both sides, and could be the same
        (layer("dense_2"), layer("head")),  # a name of the user's own
        (layer("dense_2"), layer("dense_3", "EinsumDense")),
        (layer("dense_2", ""), layer("dense_3")),
        (layer("dense_2"),),
    ],
)
def test_layers_that_may_be_others(near, pairs):
    far = (layer("dense", near[0].class_name), layer("dense_1"))
    names = [[f"{one.name}/{leaf}" for one in side for leaf in ("kernel", "bias")] for side in (near, far)]
    _, findings = pairs(*names, near=near, far=far)
    assert "order" not in {issue.kind for issue in findings}
    assert "unmatched" in {issue.kind for issue in findings} or "unfilled" in {issue.kind for issue in findings}
