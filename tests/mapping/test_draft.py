"""Drafts: pairs that are proven, and nothing else; files that say exactly these."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.mapping.draft import draft
from ckptmigrate.mapping.draft.holes import Places, Term
from ckptmigrate.mapping.draft.turns import turns
from ckptmigrate.mapping.load import loads
from ckptmigrate.table import Tensor

FLOAT = BY_NAME["float32"]


@pytest.fixture(scope="session")
def drafted(checkpoint):
    """Drafts for two sides, given as name -> shape, or as name -> values."""

    def side(given):
        made = checkpoint(list(given))
        variables = {name: replace(made.variables[name], tensor=_tensor(shape)) for name, shape in given.items()}
        return replace(made, variables=variables)

    def run(source, target, **options):
        sides = [one if hasattr(one, "variables") else side(one) for one in (source, target)]
        found = draft(*sides, **options)
        assert says(found.text, *sides) == {name: pair.target for name, pair in found.pairs.items()}
        return found

    return run


def _tensor(given):
    return Tensor.of(given, BY_NAME[given.dtype.name]) if isinstance(given, np.ndarray) else Tensor(tuple(given), FLOAT)


def says(text, source, target):
    """Source -> target of what a mapping's text makes of two checkpoints."""
    moves = loads(text, "draft.yaml").assign(source, target).moves
    return {move.sources[0]: move.targets[0] for move in moves if source.variables[move.sources[0]].role == "weight"}


def pairs(found):
    return {name: pair.target for name, pair in found.pairs.items()}


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


BERT = {
    f"bert/layer_{i}/{name}": shape
    for i in range(3)
    for name, shape in {
        "attention/self/query/kernel": (8, 8), "attention/self/query/bias": (8,),
        "attention/self/key/kernel": (8, 8), "attention/self/key/bias": (8,),
        "attention/output/dense/kernel": (8, 8), "attention/output/dense/bias": (8,),
        "attention/output/LayerNorm/gamma": (8,), "attention/output/LayerNorm/beta": (8,),
        "intermediate/dense/kernel": (8, 32), "intermediate/dense/bias": (32,),
        "output/dense/kernel": (32, 8), "output/dense/bias": (8,),
    }.items()
}  # fmt: skip


def in_pytorch(name):
    for old, new in (("bert/layer_", "encoder.layer."), ("/kernel", "/weight"), ("gamma", "weight"), ("beta", "bias")):
        name = name.replace(old, new)
    return name.replace("/", ".")


def test_repeated_blocks_become_rules_with_holes(drafted):
    truth = {name: in_pytorch(name) for name in BERT}
    found = drafted(BERT, {truth[name]: shape[::-1] for name, shape in reversed(BERT.items())})
    square = {name for name, shape in BERT.items() if shape == (8, 8)}  # not even the kernels beside them tell
    assert pairs(found) == {name: to for name, to in truth.items() if name not in square}
    assert {name: found.unsure[name] for name in square} == {name: (truth[name],) for name in square}
    kernels = {name for name in BERT if name.endswith("kernel")}
    assert {name for name, pair in found.pairs.items() if pair.operations} == kernels - square
    assert "bert/layer_{i:int}/output/dense/kernel" in found.text
    assert len(found.mapping.rules) <= 12


def test_square_tensors_alone_do_not_tell_whether_they_are_turned(drafted):
    square = {name: shape for name, shape in BERT.items() if 32 not in shape}
    found = drafted(square, {in_pytorch(name): shape for name, shape in square.items()})
    kernels = {name for name in square if name.endswith("kernel")}
    assert pairs(found) == {name: in_pytorch(name) for name in square.keys() - kernels}
    assert {name: found.unsure[name] for name in kernels} == {name: (in_pytorch(name),) for name in kernels}
    assert "#     do: [transpose: [1, 0]]" in found.text


def test_equal_shapes_without_a_shared_word_are_left_open(drafted):
    found = drafted({"a/q": (8, 8), "a/k": (8, 8), "a/o": (9, 4)}, {"b/x": (8, 8), "b/y": (8, 8), "b/z": (9, 4)})
    assert pairs(found) == {"a/o": "b/z"}
    assert found.unsure == {"a/q": ("b/x", "b/y"), "a/k": ("b/x", "b/y")}
    assert found.unfilled == ("b/x", "b/y")


UNPROVEN = [  # two models of which nothing can be said, or only what is in `says`
    ({"dense/kernel": (4, 4), "dense_1/kernel": (4, 4)}, {"dense_1/kernel": (4, 4), "dense_2/kernel": (4, 4)}, {}),
    ({"a/dense/kernel": (8, 8)}, {"b/dense/kernel": (8, 8), "c/dense/kernel": (8, 8)}, {}),
    ({"generator/w": (8, 8), "discriminator/w": (8, 8)}, {"net/w": (8, 8)}, {}),
    ({"v_0/w": (8, 8), "v_1/w": (8, 8)}, {"w_0/w": (8, 8), "w_1/w": (8, 8), "w_2/w": (8, 8)}, {}),
    ({"layer_with_weights-0/kernel": (3, 4), "layer_with_weights-1/gamma": (4,)},
     {"layer_with_weights-0/kernel": (5, 4), "layer_with_weights-1/gamma": (4,)}, {}),
    ({"head/kernel": (8, 10), "head/bias": (10,), "body/bias": (8,)},
     {"head/kernel": (9, 10), "head/bias": (10,), "body/bias": (8,)}, {"body/bias": "body/bias"}),
    ({"a": (3, 3)}, {"b": (4, 4)}, {}),
    ({}, {"b": (4, 4)}, {}),
    ({"a": (3, 3)}, {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "expected"), UNPROVEN)
@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_not_proven_is_not_paired(source, target, expected, backwards, drafted):
    found = drafted(*((target, source) if backwards else (source, target)))
    assert pairs(found) == expected
    assert set(found.unsure) == set(target if backwards else source) - set(expected)


def test_a_shape_proves_nothing_where_what_stands_beside_it_is_missing(drafted):
    source = {"skip/kernel": (8, 4), "skip/bias": (4,), "a/kernel": (3, 5)}
    assert pairs(drafted(source, {"new/kernel": (8, 4), "a/kernel": (3, 5)})) == {"a/kernel": "a/kernel"}
    without = {name: shape for name, shape in source.items() if name != "skip/bias"}
    assert len(drafted(without, {"new/kernel": (8, 4), "new/bias": (4,), "a/kernel": (3, 5)}).pairs) == 2


def test_equal_values_prove_whatever_the_names_say(drafted):
    kernels = {name: values(8, 8, seed=seed) for seed, name in enumerate("abcd")}
    moved = {"p": kernels["a"], "q": kernels["b"].T, "r": kernels["c"].reshape(64), "s": np.roll(kernels["d"], 1)}
    found = drafted(kernels, moved)
    told = {name: (pair.target, pair.operations) for name, pair in found.pairs.items()}
    turned = ("transpose: [1, 0]",)
    assert told == {"a": ("p", ()), "b": ("q", turned), "c": ("r", ("reshape: {to: [64], from: [8, 8]}",))}
    assert found.unsure["d"] == ("s",)


def test_values_outweigh_names_of_one_model(drafted):
    source = {f"dense_{i}/kernel": values(8, 8, seed=i) for i in range(4)}
    target = {f"dense_{i}/kernel": values(8, 8, seed=(i + 1) % 4) for i in range(4)}
    assert pairs(drafted(source, target)) == {f"dense_{i}/kernel": f"dense_{(i - 1) % 4}/kernel" for i in range(4)}
    assert pairs(drafted(source, target, values=False)) == {name: name for name in source}


@pytest.mark.parametrize("there", ["a/kernel", "c/kernel", "net/z/kernel"])
def test_other_values_are_never_certain_where_some_are_equal(there, drafted):
    """One of four is copied: the only tensors of their shape, or of one name, may still be strangers."""
    shapes = {"a/kernel": (3, 4), "b/kernel": (5, 6), "d/kernel": (7, 8), "e/kernel": (9, 8)}
    source = {name: values(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}
    found = drafted(source, {there: values(3, 4, seed=9), "b/kernel": source["b/kernel"]})
    assert pairs(found) == {"b/kernel": "b/kernel"}
    assert found.unsure["a/kernel"] == (there,)
    assert f"differ:\n#   - from: a/kernel  # [3,4]\n#     to: {there}  # [3,4]\n" in found.text


def test_of_those_with_other_values_the_namesake_is_named(drafted):
    source = {name: values(4, 4, seed=seed) for seed, name in enumerate("abc")}
    found = drafted(source, {"a": source["a"], "b": values(4, 4, seed=7), "x": values(4, 4, seed=8)})
    assert pairs(found) == {"a": "a"}
    assert found.unsure == {"b": ("b",), "c": ("b", "x")}


def test_equal_integers_say_nothing_of_the_rest(drafted):
    """Positions are counted alike in models that share no weight."""
    places = np.arange(8, dtype="i4")
    source, target = ({"positions": places, "a/kernel": values(3, 4, seed=seed)} for seed in range(2))
    assert pairs(drafted(source, target)) == {"positions": "positions", "a/kernel": "a/kernel"}


def test_the_head_says_where_names_alone_are_believed(drafted):
    source = {"a/kernel": values(4, 4), "b/kernel": values(4, 4, seed=1)}
    assert "\n# Names are believed: " in drafted(source, source, values=False).text
    assert "Names are believed" not in drafted(source, source).text
    assert "Names are believed" not in drafted(source, {"x": (5, 6)}).text


def test_zeros_and_twins_prove_nothing(drafted):
    twin, zeros = values(8, 8), np.zeros((8, 8), "f4")
    assert pairs(drafted({"c": twin, "d": twin}, {"x": twin, "y": twin})) == {}
    assert pairs(drafted({"a": zeros, "b": zeros}, {"x": zeros, "y": zeros})) == {}


NAMES = [
    "a b", "a: b", "#a", "-", "{x}", "x{{y}}", "'", '"', "\\", "\n", "\x7f", "é", "\U0001f600", "\ud800", "1", "null",
    "~", ".../a", "&a", "*a", "!a", "%a", "@", "`", "a#", "a #b", "[a]", "a,b", "", " a", "a ", "a" * 1500, "a" * 2500,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_gives_a_file_that_loads(name, drafted):
    given = {f"{name}": (3, 5), "plain/kernel": (4, 6), f"scope/{name}/1/x": (7, 8), f"scope/{name}/2/x": (7, 8)}
    found = drafted(given, {f"new/{key}": shape for key, shape in given.items()})
    assert found.pairs["plain/kernel"].target == "new/plain/kernel"
    drafted(given, {"other": (1, 2)})


def test_thousands_of_equal_shapes(drafted):
    source = {f"{'abcdefghij'[i % 10] * (i + 1)}": (4, 4) for i in range(600)}
    found = drafted(source, {f"x{name}": shape for name, shape in source.items()})
    assert found.pairs == {}
    assert found.text.count("\n") < 120


def test_systems_of_names(drafted, checkpoint, variable):
    """Object paths count, layers' own names tell."""
    target = checkpoint(
        [
            variable("m/layer_with_weights-0/kernel", (8, 8), full_name="q/kernel", layer_path="m/q/kernel"),
            variable("m/layer_with_weights-1/kernel", (8, 8), full_name="k/kernel", layer_path="m/k/kernel"),
        ],
        "tf2",
    )
    found = drafted({"net/k/kernel": (8, 8), "net/q/kernel": (8, 8)}, target)
    assert pairs(found)["net/k/kernel"] == "m/layer_with_weights-1/kernel"
    assert len(found.pairs) == 2


MODELS = ["ssd_mobilenet_v2", "ssd_resnet50_v1_fpn", "faster_rcnn_resnet50"]


@pytest.mark.parametrize("model", MODELS)
def test_detection_models_of_known_pairs(model, manifests, manifest, drafted):
    told = json.loads((manifests / "pairs" / f"{model}.json").read_text())
    truth = {name: pair["tf2"].removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name, pair in told.items()}
    found = pairs(drafted(manifest(model, "tf1"), manifest(model, "tf2")))
    assert found.items() <= truth.items()
    assert len(found) > 0.7 * len(truth)


# Laws

SHAPES = st.sampled_from([(4, 4), (4, 8), (8, 4), (3, 3, 4, 8), (4,), (8,)])
WORDS = st.sampled_from(["conv", "dense", "query", "key", "expand", "project", "a", "b"])
LEAVES = {1: ["bias", "gamma", "beta"], 2: ["kernel", "weights"], 4: ["kernel", "weights"]}


@st.composite
def models(draw):
    """A model, another program's names for it (source -> target), and what only one of both has."""
    layers = draw(st.lists(st.tuples(WORDS, SHAPES, st.integers(1, 3)), min_size=1, max_size=6))
    source, truth = {}, {}
    renamed = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(("conv", "dense", "query", "expand"), WORDS)))
    shift, root = draw(st.integers(0, 2)), draw(st.sampled_from(["", "net/", "model/"]))
    for at, (word, shape, count) in enumerate(layers):
        leaf = draw(st.sampled_from(LEAVES[len(shape)]))
        for i in range(count):
            name = f"top/{word}{at}_{i}/{leaf}"
            source[name] = shape
            truth[name] = f"{root}{renamed.get(word, word)}{at}_{i + shift}/{leaf}"
    extra = draw(st.dictionaries(st.sampled_from(["x/kernel", "y/kernel", "z/bias"]), SHAPES, max_size=2))
    less = draw(st.sets(st.sampled_from(sorted(source)), max_size=2))
    target = {truth[name]: shape for name, shape in source.items() if name not in less} | extra
    return source, target, truth


@settings(max_examples=150)
@given(models(), st.randoms(use_true_random=False))
def test_drafts_do_not_depend_on_the_order(model, random):
    source, target, _ = model
    run = _plain_draft(source, target)
    mixed = [dict(random.sample(list(side.items()), len(side))) for side in (source, target)]
    assert pairs(_plain_draft(*mixed)) == pairs(run)


@settings(max_examples=150)
@given(models())
def test_drafts_say_what_they_pair_and_agree_in_shape(model):
    source, target, _ = model
    found = _plain_draft(source, target)
    for name, other in pairs(found).items():
        assert source[name] == target[other] or found.pairs[name].operations
    assert len(set(pairs(found).values())) == len(found.pairs)
    assert set(found.pairs) | set(found.unsure) == set(source)
    assert set(found.unfilled) == set(target) - set(pairs(found).values())


@settings(max_examples=100)
@given(models(), st.randoms(use_true_random=False))
def test_values_are_never_wrong(model, random):
    """Every tensor has values of its own, and names are exchanged at will."""
    source, _, _ = model
    filled = {name: values(*shape, seed=seed) for seed, (name, shape) in enumerate(source.items())}
    names = random.sample(sorted(source), len(source))
    truth = dict(zip(source, names, strict=True))
    found = _plain_draft(filled, {truth[name]: value for name, value in filled.items()})
    assert pairs(found) == truth


def _plain_draft(source, target):
    from tests.mapping.conftest import checkpoint

    sides = []
    for side in (source, target):
        made = checkpoint(list(side))
        sides.append(
            replace(made, variables={n: replace(v, tensor=_tensor(side[n])) for n, v in made.variables.items()})
        )
    found = draft(*sides)
    assert says(found.text, *sides) == pairs(found)
    return found


def test_ways_to_pair_two_families():
    places = Places({(2, 1): "a", (2, 2): "b", (3, 1): "a", (3, 2): "b", (3, 0): "b"})
    kept = Term(0, 0)
    assert list(places.ways({(1,): "a", (2,): "b"})) == [
        (Term(0, 1), kept),
        (Term(None, 2), kept),
        (Term(None, 3), kept),
    ]
    assert list(places.ways({(1, 1): "a", (2, 1): "a"})) == [(Term(0, 1), Term(1, 0)), (Term(0, 1), Term(None, 1))]
    assert list(places.ways({(7,): "c"})) == []


TO, FROM = "to PyTorch", "from PyTorch"
TURNS = [  # source, target, the way -> what can make one of the other
    ((4, 8), (8, 4), "", []),
    ((4, 8), (8, 4), TO, [("transpose: [1, 0]",)]),
    ((4, 4), (4, 4), "", [()]),
    ((3, 3, 4, 8), (8, 4, 3, 3), TO, [("transpose: [3, 2, 0, 1]",)]),
    ((8, 4, 3, 3), (3, 3, 4, 8), FROM, [("transpose: [2, 3, 1, 0]",)]),
    ((3, 3, 8, 1), (8, 1, 3, 3), TO, [("transpose: [2, 3, 0, 1]",)]),
    ((1, 4, 8), (4, 8), TO, [("squeeze: [0]",)]),
    ((4, 8), (1, 1, 4, 8), "", [("expand_dims: [0, 1]",)]),
    ((4, 8), (32,), "", []),
]


@pytest.mark.parametrize(("source", "target", "way", "expected"), TURNS)
def test_turns(source, target, way, expected):
    assert turns(source, target, way) == expected


def test_what_is_to_decide_is_a_rule_once_its_marks_are_taken_off(drafted):
    near = {"net/gate_a/scales": (5,), "net/gate_b/scales": (5,), "net/w": (3, 4)}
    text = drafted(near, {"switch.first": (5,), "switch.second": (5,), "net.w": (3, 4)}, values=False).text
    lines = text.splitlines()
    source = next(line for line in lines if line.startswith("#   - from: net/gate_a"))
    target = next(line for line in lines if line.startswith("#     to: switch.first"))
    rule = "\n".join(line.removeprefix("# ") for line in (source, target))
    assert loads(f"ckptmigrate: 1\ntitle: decided\nrules:\n{rule}\n", "draft.yaml").rules


def test_a_norm_named_after_a_proven_layer_is_proven(drafted):
    near, far = {}, {}
    norm = {"gamma": "gamma", "beta": "beta", "moving_mean": "moving_mean", "moving_variance": "moving_variance"}
    for i, (k, n) in enumerate(((3, 8), (8, 16), (16, 32))):
        for scope, place in (("down", "enc"), ("up", "dec")):
            kernel = (3, 3, k + (scope == "up"), n)
            near[f"net/{scope}_{i}/conv_a/weights"] = far[f"{place}{i + 1}_conv1/kernel"] = kernel
            near |= {f"net/{scope}_{i}/conv_a/BatchNorm/{leaf}": (n,) for leaf in norm}
            far |= {f"{place}{i + 1}_conv1_bn/{leaf}": (n,) for leaf in norm}
    found = pairs(drafted(near, far, values=False))
    assert found["net/down_1/conv_a/BatchNorm/gamma"] == "enc2_conv1_bn/gamma"
    assert found["net/up_2/conv_a/BatchNorm/moving_mean"] == "dec3_conv1_bn/moving_mean"
    assert len(found) == len(near)


def test_a_counted_layer_is_not_named_after_another(drafted):
    near = {"x/kernel": (3, 4), "x_norm/gamma": (4,), "y/kernel": (4, 5), "y_norm/gamma": (5,)}
    far = {"a/kernel": (3, 4), "a_1/gamma": (4,), "a_norm_of_b/gamma": (4,), "c/kernel": (4, 5), "d_norm/gamma": (5,)}
    assert "x_norm/gamma" not in pairs(drafted(near, far, values=False))


def test_numbers_with_leading_zeros_count(drafted):
    near = {f"stack/layer{i}/gate/kernel": (2, 4, 4) for i in range(12)} | {"stack/a": (3, 4)}
    far = {f"res_{i:02}_gate/kernel": (2, 4, 4) for i in range(12)} | {"b": (3, 4)}
    found = pairs(drafted(near, far, values=False))
    assert [found[f"stack/layer{i}/gate/kernel"] for i in (0, 9, 11)] == [
        f"res_{i}_gate/kernel" for i in ("00", "09", 11)
    ]


def test_one_number_in_two_spellings_is_two_variables(drafted):
    names = ("w_7", "w_07", "w_007")
    assert pairs(drafted(dict.fromkeys(names, (4, 5)), dict.fromkeys(names, (4, 5)), values=False)) == {
        name: name for name in names
    }


def test_what_is_to_decide_speaks_of_the_names_that_the_file_speaks_of(checkpoint, drafted):
    heads = {2: (4, 5), 5: (5, 6), 9: (6, 7)}
    near = checkpoint(["net/x/w", "net/y/w", *(f"net/h{i}/kernel" for i in range(3))])
    far = checkpoint([f"model/layer_with_weights-{i}/{'kernel' if i in heads else 'w'}" for i in (0, 1, *heads)])
    full = dict(zip(far.variables, ("b1/w", "b2/w", *(f"h{i}/kernel" for i in range(3))), strict=True))
    shapes = dict(zip((*near.variables, *far.variables), [(4, 4), (4, 4), *heads.values()] * 2, strict=True))

    def shaped(variable):
        return replace(variable, tensor=_tensor(shapes[variable.name]))

    near = replace(near, variables={name: shaped(one) for name, one in near.variables.items()})
    far = replace(
        far,
        variables={n: replace(shaped(one), aliases={"full_name": (full[n],)}) for n, one in far.variables.items()},
    )
    text = drafted(near, far, values=False).text
    assert "layer_with_weights" not in text
    assert "#     to: b{1,2}/w" in text
    assert "names: full_name" in text


def test_the_same_question_is_asked_once(drafted):
    leaves = ("gamma", "beta", "moving_mean", "moving_variance")
    near = {f"{scope}/bn/{leaf}": (8,) for scope in "ab" for leaf in leaves} | {"net/w": (3, 4)}
    far = {f"{scope}_bn/{leaf}": (8,) for scope in "xy" for leaf in leaves} | {"model/w": (3, 4)}
    lines = drafted(near, far, values=False).text.splitlines()
    asked = [line for line in lines if line.startswith(("#   - ", "#     to"))]
    assert asked == [
        "#   - from: a/bn/{x}  # 4 of [8]: gamma, beta, moving_mean, moving_variance",
        "#   - from: b/bn/{x}  # 4 of [8]: gamma, beta, moving_mean, moving_variance",
        "#     to: x_bn/{x}  # 4 of [8]",
        "#     to: y_bn/{x}  # 4 of [8]",
    ]


def test_heads_of_attention_are_candidates(drafted):
    near = {f"layer_{i}/{name}/kernel": (12, 12) for i in range(3) for name in "qkv"} | {"e": (7, 12)}
    far = {f"block{i}_mha/{name}/kernel": (12, 3, 4) for i in range(3) for name in ("one", "two", "three")} | {
        "e": (7, 12)
    }
    found = drafted(near, far, values=False)
    assert "block1_mha/two/kernel" in found.unsure["layer_1/q/kernel"]
    assert "#   - from: layer_{i:0..2}/q/kernel  # 3 of [12,12]" in found.text.splitlines()


def test_what_nothing_is_like_is_a_drop_once_its_marks_are_taken_off(drafted):
    near = {f"old/{{{i}}}/lstm/kernel": (5, 8) for i in range(3)} | {"a": (3, 4)}
    text = drafted(near, {"a": (3, 4), "b": (2, 4)}, values=False).text
    rules = "".join(f"{line[2:]}\n" for line in text.splitlines() if line.startswith("#   - {drop"))
    (rule,) = loads(f"ckptmigrate: 1\ntitle: decided\nrules:\n{rules}", "draft.yaml").rules
    assert str(rule) == "drop old/{{{i:0..2}}}/lstm/kernel"


def test_a_tensor_beside_a_proven_one_goes_by_its_last_segment(drafted):
    near, far = {}, {}
    for i, (a, b) in enumerate(((8, 8), (8, 16))):
        near |= {f"net/sep{i}/depthwise_kernel": (3, 3, 8, 1), f"net/sep{i}/pointwise_kernel": (1, 1, a, b)}
        far |= {f"s{'xy'[i]}/depthwise_kernel": (3, 3, 8, 1), f"s{'xy'[i]}/pointwise_kernel": (1, 1, a, b)}
    near |= {"net/e/table": (7, 5), "net/e/left": (5, 5), "net/e/right": (5, 5)}
    far |= {"f/table": (7, 5), "f/upper": (5, 5), "f/lower": (5, 5)}
    found = pairs(drafted(near, far, values=False))
    assert found["net/sep1/depthwise_kernel"] == "sy/depthwise_kernel"
    assert not {"net/e/left", "net/e/right"} & found.keys()


def test_a_question_about_whole_layers_shows_all_shapes(drafted):
    near = {f"net/{n}/{leaf}": shape for n in "qk" for leaf, shape in (("bias", (6,)), ("kernel", (6, 6)))} | {
        "e": (7, 6)
    }
    far = {name.replace("net", "mha").replace("/q", "/one").replace("/k/", "/two/"): one for name, one in near.items()}
    lines = drafted(near, far, values=False).text.splitlines()
    assert "#   - from: net/q/{x}  # 2 of [6] or [6,6]: bias, kernel" in lines
    assert "#     to: mha/two/{x}  # 2 of [6] or [6,6]" in lines


def test_a_bias_is_no_candidate_for_a_kernel_of_as_many_numbers(drafted):
    near = {"gates/bias": (14,), "query/bias": (12,), "w": (5, 9)}
    far = {"out/kernel": (7, 2), "mha/one/bias": (3, 4), "mha/one/kernel": (4, 3), "v": (5, 9)}
    unsure = drafted(near, far, values=False).unsure
    assert unsure["gates/bias"] == ()
    assert unsure["query/bias"] == ("mha/one/bias",)
