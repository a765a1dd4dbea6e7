"""Assignment: which rule takes which variable, what it becomes, and what is found on the way."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.mapping.assign import assign_identity
from ckptmigrate.mapping.rules import Mapping


def pairs(assignment):
    """The moves as text."""
    return {" ".join(m.sources): " ".join(m.targets) for m in assignment.moves}


def found(assignment, severity="error"):
    """(kind, name, line) of findings."""
    return [(i.kind, i.name, i.where.rpartition(":")[2]) for i in assignment.findings if i.severity == severity]


PRECEDENCE = [  # rename and rules, the variable's name, the line of the rule that takes it (0: an error)
    ("rename: {a/b: x, 'a/{h}': 'y/{h}'}", "a/b", 1),
    ("rename:\n  a/{h}: y/{h}\n  a/b: x", "a/b", 3),
    ("rename:\n  a/{h}: y/{h}\n  '{h}/b': x/{h}", "a/b", 0),
    ("rules:\n  - {from: 'a/{h}', to: 'y/{h}', first: true}\n  - {from: '{h}/b', to: 'x/{h}'}", "a/b", 2),
    ("rules:\n  - {from: '{h}/b', to: 'x/{h}'}\n  - {from: 'a/{h}', to: 'y/{h}', first: true}", "a/b", 0),
    ("rules:\n  - {from: 'a/{h}', to: 'y/{h}', first: true}\nrename:\n  '{h}/b': x/{h}", "a/b", 0),
    ("rename:\n  a/b: x\nrules:\n  - {drop: a/b, why: no}", "a/b", 0),
    ("rename:\n  a/b: x\nrules:\n  - {drop: 'a/{h}', why: no}", "a/b", 2),
    ("rename:\n  '{x}_{y}': '{y}/{x}'", "a_b_c", 0),
]


@pytest.mark.parametrize(("text", "name", "line"), PRECEDENCE)
def test_precedence(run, text, name, line):
    path_line = {1: "2"}.get(line, str(line + 1))
    assignment = run(text, [name])
    conflicts = [i for i in assignment.findings if i.kind == "conflict"]
    if line == 0:
        assert [i.name for i in conflicts] == [name]
        assert not assignment.moves
    else:
        assert not conflicts
        assert [m.where.rpartition(":")[2] for m in assignment.moves] == [path_line]


def test_an_including_file_overrides_what_it_includes(run, tmp_path):
    (tmp_path / "part.yaml").write_text("ckptmigrate: 1\nrename:\n  a/b: old\n  a/{x}: old/{x}\n")
    assignment = run("include: [part.yaml]\nrename:\n  a/{x}: new/{x}", ["a/b", "a/c"])
    assert pairs(assignment) == {"a/b": "new/b", "a/c": "new/c"}
    notes = [i for i in assignment.findings if i.kind == "override"]
    assert [(i.message.count("part.yaml"), "2 variables" in i.message) for i in notes] == [(1, True), (1, False)]
    assert found(assignment) == []


def test_rank_limits_a_rule(run):
    text = "rules:\n  - {from: '{x}/w', to: 'two/{x}', rank: 2}\n  - {from: '{x}/w', to: 'four/{x}', rank: 4}"
    assignment = run(text, {"a/w": (3, 3), "b/w": (1, 1, 2, 2)})
    assert pairs(assignment) == {"a/w": "two/a", "b/w": "four/b"}


QKV = "rules:\n  - from: ['l{i:int}/q/{x}', 'l{i:int}/k/{x}']\n    to: 'l{i}/qk/{x}'\n    do: [concat: {axis: -1}]"


def test_groups(run):
    assignment = run(QKV, ["l1/k/w", "l0/q/w", "l1/q/w", "l0/k/w", "l0/q/b", "l0/k/b"])
    assert pairs(assignment) == {"l1/q/w l1/k/w": "l1/qk/w", "l0/q/w l0/k/w": "l0/qk/w", "l0/q/b l0/k/b": "l0/qk/b"}
    back = run(QKV, ["l0/qk/w", "l1/qk/w"], reverse=True)
    assert pairs(back) == {"l0/qk/w": "l0/q/w l0/k/w", "l1/qk/w": "l1/q/w l1/k/w"}
    assert all(move.reverse for move in back.moves)


def test_an_incomplete_group(run):
    assignment = run(QKV, ["l0/q/w", "l0/k/w", "l1/q/w"])
    assert found(assignment) == [("incomplete", "l1/q/w", "3")]
    assert "l1/k/w is missing" in assignment.findings[0].message
    assert pairs(assignment) == {"l0/q/w l0/k/w": "l0/qk/w"}


FINDINGS = [  # text, source, template, findings
    ("rename: {a: b}", ["a", "z"], None, [("unmatched", "z")]),
    ("rename: {a: b}", ["a"], ["b", "c"], [("unfilled", "c")]),
    ("rename: {a: b}", ["a"], ["c"], [("conflict", "a"), ("unfilled", "c")]),
    ("rename: {a: c, b: c}", ["a", "b"], None, [("conflict", "c")]),
    ("rename: {a: .../c}", ["a"], None, [("conflict", "a")]),
    ("rename: {a: .../c}", ["a"], ["x/c", "y/c"], [("conflict", "a"), ("unfilled", "x/c"), ("unfilled", "y/c")]),
    ("rename: {a: b, x: y}", ["a"], None, [("unused", "x -> y")]),
    ("rules:\n  - {from: a, to: b}\n  - {from: x, to: y, optional: true}", ["a"], None, []),
    ("rules:\n  - {drop: a, why: no}\n  - {drop: x, why: no}", ["a"], None, [("unused", "drop x")]),
    ("rename: {'a{k:int}': 'b{k-1}'}", ["a0", "a1"], None, [("conflict", "a0")]),
    ("rename: {'{x:path}/w': '{x}/k'}\nunmatched: drop", ["a/w", "q"], None, []),
    ("rename: {'{x:path}/w': '{x}/k'}\nunmatched: keep", ["a/w", "q"], None, []),
    ("rename: {'{x:path}/w': '{x}/k'}\nunmatched: keep", ["a/w", "q"], ["a/k"], [("unmatched", "q")]),
]


@pytest.mark.parametrize(("text", "source", "template", "expected"), FINDINGS)
def test_findings(run, text, source, template, expected):
    assignment = run(text, source, template)
    assert [(kind, name) for kind, name, _ in found(assignment)] == expected
    assert list(assignment.unmatched) == [name for kind, name in expected if kind == "unmatched"]
    assert list(assignment.unfilled) == [name for kind, name in expected if kind == "unfilled"]


def test_unfilled_prints_the_line_that_settles_it(run):
    (issue,) = [i for i in run("rename: {a: b}", ["a"], ["b", "c"]).findings if i.kind == "unfilled"]
    assert "{fill: c, with: zeros}" in issue.hint


def test_unmatched_drop_and_keep(run):
    dropped = run("rename: {a: b}\nunmatched: drop", ["a", "z"])
    assert [(d.source, d.where.rpartition(":")[2]) for d in dropped.drops] == [("z", "3")]
    assert pairs(run("rename: {a: b}\nunmatched: keep", ["a", "z"], ["b", "z"])) == {"a": "b", "z": "z"}


def test_counters_follow(run, checkpoint, variable):
    source = checkpoint([variable("a"), variable("global_step", role="counter"), variable("seed", role="rng")])
    assignment = run("rename: {a: b}", source)
    assert assignment.followers == ("global_step", "seed")
    assert found(assignment) == []
    assert pairs(run("rename: {a: b, global_step: step}", source)) == {"a": "b", "global_step": "step"}
    lacking = run("rename: {a: b, global_step: step}", source, ["b"])
    assert found(lacking) == []
    assert ("counter", "global_step", "2") in found(lacking, "note")


def test_any_of_its_names(run, checkpoint, variable):
    source = checkpoint([variable("m/l-0/kernel", full_name="conv/kernel", layer_path="m/conv/kernel")])
    assert pairs(run("rename: {conv/kernel: w}", source)) == {"m/l-0/kernel": "w"}
    assert pairs(run("rename: {'m/{x}/kernel': '{x}'}", source)) == {}
    assert found(run("rename: {'m/{x}/kernel': '{x}'}", source))[0][0] == "conflict"
    assert pairs(run("source: {names: layer_path}\nrename: {'m/{x}/kernel': '{x}'}", source)) == {
        "m/l-0/kernel": "conv"
    }
    assert pairs(run("rename: {'m/{x}/kernel': '{x}'}", source, names="name")) == {"m/l-0/kernel": "l-0"}
    with pytest.raises(MappingError, match="speaks of h5_paths"):
        run("source: {names: h5_path}\nrename: {a: b}", source)
    with pytest.raises(UsageError, match="h5_path"):
        run("rename: {a: b}", source, names="h5_path")


def test_hints_speak_of_the_names_that_the_mapping_speaks_of(run, checkpoint, variable):
    source = checkpoint([variable("m/l-0/kernel", full_name="old/kernel")])
    template = checkpoint([variable("m/l-1/kernel", full_name="new/kernel")])
    sides = "source: {names: full_name}\ntarget: {names: full_name}\n"
    hints = [issue.hint for issue in run(sides, source, template).findings]
    assert [hint.partition("`, or")[0] for hint in hints] == [
        "add a rule with `from: old/kernel",
        "- {fill: new/kernel, with: zeros}  # or ones, a number, template",
    ]
    settled = run(f"{sides}rules:\n  - {{drop: old/kernel, why: no}}\n  {hints[1]}", source, template)
    assert found(settled) == []


def test_a_drop_needs_no_single_reading_of_names(run, checkpoint, variable):
    source = checkpoint([variable("m/aux/kernel", full_name="aux/kernel")])
    assignment = run("rules:\n  - {drop: '{x:path}/kernel', why: no}", source)
    assert [(d.source, d.why) for d in assignment.drops] == [("m/aux/kernel", "no")]


def test_templates_find_by_any_name(run, checkpoint, variable):
    template = checkpoint(
        [variable("m/l-0/kernel", full_name="net/conv/kernel"), variable("m/l-1/kernel", full_name="net/fc/kernel")]
    )
    assignment = run("rename: {a: .../conv/kernel, b: net/fc/kernel}", ["a", "b"], template)
    assert pairs(assignment) == {"a": "m/l-0/kernel", "b": "m/l-1/kernel"}


def test_open_names_of_a_template(run, checkpoint, variable):
    opened = [variable(f"m/{k}", is_open=True, full_name=f"net/conv_{k}_{{depth:int}}/kernel") for k in (1, 2)]
    (one, two) = run(
        "rename: {'c{k:int}_{d:int}': '.../conv_{k}_{d}/kernel'}", ["c1_64", "c2_512"], checkpoint(opened)
    ).moves
    assert one.targets == ("m/1",)
    assert one.renamed == {"m/1": {"full_name": "net/conv_1_64/kernel"}}
    assert two.renamed == {"m/2": {"full_name": "net/conv_2_512/kernel"}}
    assert found(run("rename: {a: net/conv_1_x/kernel}", ["a"], checkpoint(opened)))[0][:2] == ("conflict", "a")


def test_ranks_follow_the_template(run, checkpoint):
    text = (
        "tables: {stem: {first: 0, names: [c1, c2, c3]}}\n"
        "rename: {'x/{stem}/w': 'conv{stem:rank}/k', 'x/{stem}/b': 'norm{stem:rank}/b'}"
    )
    source = ["x/c1/w", "x/c2/w", "x/c3/w", "x/c1/b", "x/c2/b", "x/c3/b"]
    template = ["conv_7/k", "conv_12/k", "conv_9/k", "norm/b", "norm_1/b", "norm_2/b"]
    expected = {
        "x/c1/w": "conv_7/k", "x/c2/w": "conv_9/k", "x/c3/w": "conv_12/k",
        "x/c1/b": "norm/b", "x/c2/b": "norm_1/b", "x/c3/b": "norm_2/b",
    }  # fmt: skip
    assert pairs(run(text, source, template)) == expected
    assert pairs(run(text, template, reverse=True)) == {v: k for k, v in expected.items()}
    assert pairs(run(text, source))["x/c3/w"] == "conv_2/k"
    short = run(text, source, template[1:])
    assert ("conflict", "x/c3/w", "3") in found(short)


FILLS = [  # rules, source, template, fills
    ("- {fill: c, with: zeros, shape: [3]}", ["a"], None, [("c", "zeros", None, (3,))]),
    ("- {fill: 'n/{x}/b', with: 0.5, like: 'm/{x}'}", ["a", "m/p", "m/q"], None, [
        ("n/p/b", 0.5, "m/p", None), ("n/q/b", 0.5, "m/q", None)
    ]),
    ("- {fill: 'n/{x}/b', with: template}", ["a"], ["b", "n/p/b"], [("n/p/b", "template", None, None)]),
    ("- {fill: .../z, with: ones}", ["a"], ["b", "n/z"], [("n/z", "ones", None, None)]),
    ("- {fill: 'n{k+1}', with: ones, like: 'm{k:0..3}'}", ["a", "m1"], ["b", "n2"], [("n2", "ones", "m1", None)]),
    ("- {fill: '{x:path}', with: ones}", ["a"], ["b", "c"], [("c", "ones", None, None)]),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "source", "template", "expected"), FILLS)
def test_fills(run, rules, source, template, expected):
    rest = "\n  - {drop: 'm{x}', why: like, optional: true}\n  - {drop: 'm/{x}', why: like, optional: true}"
    assignment = run(f"rename: {{a: b}}\nrules:\n  {rules}{rest}", source, template)
    assert [(f.target, f.value, f.like, f.shape) for f in assignment.fills] == expected
    assert found(assignment) == []


def test_fills_backwards_are_dropped_with_the_value_they_must_have(run):
    text = "rename: {a: b}\nrules:\n  - {fill: 'n/{x}/bias', with: ones}"
    assignment = run(text, ["b", "n/p/bias"], reverse=True)
    assert pairs(assignment) == {"b": "a"}
    assert [(d.source, d.expected) for d in assignment.drops] == [("n/p/bias", "ones")]


def test_drops_backwards_are_gaps_of_the_template(run):
    text = "rename: {a: b}\nrules:\n  - {drop: 'aux/{x:path}', why: no}"
    assert found(run(text, ["b"], reverse=True)) == []
    assignment = run(text, ["b"], ["a", "aux/w"], reverse=True)
    assert [(f.target, f.value) for f in assignment.fills] == [("aux/w", "template")]


def test_backwards_the_template_decides(run):
    text = (
        "tables: {plain: {W: kernel, b: bias}, rnn: {U: recurrent, W: kernel}}\n"
        "rename: {'{l}/{plain}_p': '{l}/{plain}', '{l}/{rnn}_r': '{l}/{rnn}'}"
    )
    assert found(run(text, ["d/kernel", "d/recurrent"], reverse=True))[0][:2] == ("conflict", "d/kernel")
    assert pairs(run(text, ["d/kernel", "d/recurrent"], ["d/W_r", "d/U_r"], reverse=True)) == {
        "d/kernel": "d/W_r",
        "d/recurrent": "d/U_r",
    }
    two = "tables: {t: {p: z, q: z}}\nrename: {'{t}/w': '{t}/k'}"
    assert found(run(two, ["z/k"], reverse=True))[0][:2] == ("conflict", "z/k")
    assert pairs(run(two, ["z/k"], ["q/w"], reverse=True)) == {"z/k": "q/w"}


def test_what_cannot_go_back_is_said_once(run):
    slicing = "  - from: 'a{k:int}'\n    to: 'b{k}'\n    do:\n      - slice: {axis: 0, start: 1}\n"
    text = f"rules:\n{slicing}  - {{from: 'c{{x}}/{{y}}', to: 'd{{x}}'}}"
    assignment = run(text, ["b1", "b2", "dp"], reverse=True)
    assert [(kind, line) for kind, _, line in found(assignment)] == [("irreversible", "6"), ("irreversible", "7")]


def test_drop_option(run):
    assignment = run("rename: {'{x}/w': '{x}/k'}", ["a/w", "b/w", "aux"], drop=["aux", "b/{x}", "nothing"])
    assert pairs(assignment) == {"a/w": "a/k"}
    assert [(d.source, d.where) for d in assignment.drops] == [("aux", "--drop"), ("b/w", "--drop")]
    assert found(assignment) == [("unused", "nothing", "--drop")]
    with pytest.raises(UsageError, match="isn't closed"):
        run("rename: {a: b}", ["a"], drop=["{x"])


def test_reinit_option(run):
    text = "rename: {'{x}/w': '{x}/k'}"
    assignment = run(
        text,
        {"a/w": (2,), "head/w": (5, 3)},
        {"a/k": (2,), "head/k": (9, 3), "new/k": (1,)},
        reinit=["head/{x}", "new/k"],
    )
    assert pairs(assignment) == {"a/w": "a/k"}
    assert [(d.source, d.why) for d in assignment.drops] == [("head/w", "--reinit head/{x}")]
    assert [(f.target, f.value) for f in assignment.fills] == [("head/k", "template"), ("new/k", "template")]
    alone = run(text, {"a/w": (2,), "head/w": (5, 3)}, reinit=["head/k"])
    assert [(f.target, f.value, f.shape) for f in alone.fills] == [("head/k", "default", (5, 3))]


def test_optimizer_blocks(run, tmp_path, variable):
    run("optimizers:\n  - {from: Adam, variables: 'gen/{x:path}', to: gen_opt}\nrename: {a: b}", ["a"])
    (block,) = Mapping.load(tmp_path / "m.yaml").optimizers
    assert block.holds(variable("gen/conv/w"))
    assert not block.holds(variable("disc/conv/w"))


def test_identity(checkpoint, variable):
    source = checkpoint([variable("m/0/w", full_name="conv/w"), variable("m/1/w", full_name="fc/w")])
    assert pairs(assign_identity(source, None)) == {"m/0/w": "m/0/w", "m/1/w": "m/1/w"}
    assert pairs(assign_identity(source, None, names="full_name")) == {"m/0/w": "conv/w", "m/1/w": "fc/w"}
    template = checkpoint(["fc/w", "conv/w"])
    assert pairs(assign_identity(source, template)) == {"m/0/w": "conv/w", "m/1/w": "fc/w"}
    lacking = assign_identity(source, checkpoint(["fc/w", "other"]))
    assert (lacking.unmatched, lacking.unfilled) == (("m/0/w",), ("other",))
    assert assign_identity(source, None, drop=["{x:path}/0/w"]).drops[0].source == "m/0/w"
    twins = checkpoint([variable("a", full_name="w"), variable("b", full_name="w")])
    issue = assign_identity(twins, None, names="full_name").findings[0]
    assert (issue.kind, issue.name) == ("conflict", "w")
    assert "a" in issue.message
    assert "b" in issue.message
    assert found(assign_identity(twins, checkpoint(["a", "b"]))) == []
    assert found(assign_identity(checkpoint(["w"]), twins))[0][:2] == ("conflict", "w")


segments = st.text("abcxyz", min_size=1, max_size=4)


@settings(max_examples=60)
@given(st.dictionaries(st.tuples(segments, st.integers(0, 30), st.integers(0, 2)), st.none(), max_size=12))
def test_forward_then_backwards_changes_nothing(tmp_path_factory, checkpoint, chosen):
    path = tmp_path_factory.getbasetemp() / "law.yaml"
    if not path.exists():
        path.write_text(
            "ckptmigrate: 1\ntarget: {separator: .}\n"
            "tables: {leaf: {w: kernel, b: bias, g: gamma}, part: {first: 0, names: [p, q/r, s]}}\n"
            "rename:\n"
            "  net/{x}/{i:int}/{leaf}: n.{i}.{x}.{leaf}\n"
            "  slim/{part}/{x}_{i:nth}/w: s.{3*i + part}.{x}_w\n"
            "  deep/{p:path}/{leaf}: d.{leaf}.{p}\n"
        )
    mapping = Mapping.load(path)
    leaf, part = ("w", "b", "g"), ("p", "q/r", "s")
    names = {f"net/{x}/{i}/{leaf[k]}" for x, i, k in chosen}
    names |= {f"slim/{part[k]}/{x}_{f'_{i}' if i else ''}/w" for x, i, k in chosen}
    names |= {f"deep/{x}/{x}{i}/{leaf[k]}" for x, i, k in chosen}
    there = mapping.assign(checkpoint(sorted(names)))
    assert len(there.moves) == len(names)
    back = mapping.assign(checkpoint([m.targets[0] for m in there.moves]), reverse=True)
    assert {(m.targets, m.sources) for m in back.moves} == {(m.sources, m.targets) for m in there.moves}


def test_speed(run, checkpoint, variable):
    rules = "\n".join(
        f"  scope{k}/block_{{b:int}}/{{layer}}/{{leaf:path}}: model/part{k}/b{{b}}/{{layer}}/{{leaf}}"
        for k in range(60)
    )
    source = checkpoint([f"scope{i % 60}/block_{i}/conv/BatchNorm/gamma" for i in range(2000)])
    start = time.process_time()
    assignment = run(f"rename:\n{rules}", source)
    assert time.process_time() - start < 2  # a fifth of a second
    assert len(assignment.moves) == 2000
    template = checkpoint(
        [variable(m.targets[0], full_name=m.targets[0][6:], layer_path=f"x/{m.targets[0]}") for m in assignment.moves]
    )
    endings = rules.replace(": model/", ": .../")
    start = time.process_time()
    assert len(run(f"rename:\n{endings}", source, template).moves) == 2000
    assert time.process_time() - start < 2


def test_many_findings_of_one_kind_do_not_hide_others(run):
    assignment = run("rename:\n  a/{x}: b/{x}\n  '{x}/c': d/{x}", ["a/c", *(f"other/{i}" for i in range(50))])
    assert [issue.kind for issue in assignment.findings][:2] == ["conflict", "unmatched"]
    assert "first: true" in assignment.findings[0].hint
    assert [bool(issue.hint) for issue in assignment.findings[1:4]] == [True, False, False]
