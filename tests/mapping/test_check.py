"""Check and explain: what a mapping says of itself without a checkpoint."""

import pytest

from ckptmigrate.mapping.check import check
from ckptmigrate.mapping.explain import explain, explain_both
from ckptmigrate.mapping.rules import Mapping


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "m.yaml"
        path.write_text(f"ckptmigrate: 1\n{text}\n")
        return Mapping.load(path)

    return load


TABLES = "tables: {conv: {w: kernel, b: bias}, same: {p: z, q: z}, step: [a, b]}\n"

VERDICTS = [  # a rename or rules, the verdict, a part of the reason
    ("rename: {'x/{conv}': 'y/{conv}'}", "reversible", ""),
    ("rename: {'x/{k:int}': 'y/{k+1}'}", "reversible", ""),
    ("rename: {'x/{k:2..5}': '.../y/{k}'}", "reversible", ""),
    ("rename: {'x/{a}/{b}': 'y/{a}'}", "one-way", "{b} of `from` is missing in `to`"),
    ("rename: {'x/{i:int}/{j:int}': 'y/{i+j}'}", "one-way", "two unknown integers"),
    ("rename: {'{same}/w': '{same}/k'}", "needs template", "fits in two ways"),
    ("rename: {'.../w': 'k'}", "needs template", "`.../` in `from`"),
    ("rename: {'c{x:rank}/w': 'd{x}/w'}", "needs template", "a rank in `from`"),
    ("rules: [{from: a, to: b, do: [{slice: {axis: 0, start: 1}}]}]", "one-way", "slice"),
    ("rules: [{from: a, to: b, do: [{pad: {axis: 0, to: template}}]}]", "needs template", "template"),
    ("rules: [{from: a, to: b, do: [{transpose: [1, 0]}]}]", "reversible", ""),
    ("rules: [{drop: a, why: no}]", "needs template", "drops"),
    ("rules: [{fill: a, with: zeros}]", "reversible", ""),
]


@pytest.mark.parametrize(("text", "verdict", "reason"), VERDICTS)
def test_verdicts(load, text, verdict, reason):
    (rule,) = check(load(TABLES + text)).rules
    assert rule.verdict == verdict
    assert reason in rule.reason
    assert str(rule).startswith(verdict)


def test_findings_of_names(load):
    checked = check(load(TABLES + "rename:\n  x/{step}: y/{step}\n  '{any}/a': z/{any}"))
    assert [(i.severity, i.where.rpartition(":")[2]) for i in checked.findings] == [("warning", "4")]
    assert "two rules fit" in checked.findings[0].message
    strict = check(load(TABLES + "rename:\n  x/{step}: y/{step}\n  '{any}/a': z/{any}"), strict=True)
    assert [i.severity for i in strict.findings] == ["error"]


def test_overriding_on_purpose_is_no_finding(load):
    assert check(load(TABLES + "rename:\n  x/{step}: y/{step}\n  x/a: z")).findings == ()


def test_vocabulary(load):
    checked = check(load("source: {vocabulary: [w, b]}\nrename: {a/w: x, a/c: y}"))
    assert ["'c', which isn't in the vocabulary" in i.message for i in checked.findings] == [True]


def test_examples(load):
    text = "rename: {'x/{a}': 'y/{a}'}\nexamples:\n  x/p: y/p\n  x/q: y/r\n  z: y"
    found = check(load(text)).findings
    assert [(i.name, i.where.rpartition(":")[2]) for i in found] == [("x/q", "5"), ("z", "6")]
    assert found[0].message == "becomes y/q; the example says y/r"


UNPROVEN = [
    ("rename: {'x/{conv}': 'y/{conv}'}", "entries of table conv"),
    ("rules: [{from: a, to: b, do: [{transpose: [1, 0]}]}]", "transpose"),
    ("rules: [{from: [a, b], to: c, do: [{concat: {axis: 0}}]}]", "order"),
]


@pytest.mark.parametrize(("text", "said"), UNPROVEN)
def test_what_shapes_do_not_prove(load, text, said):
    (rule,) = check(load(TABLES + text)).rules
    assert any(said in why for why in rule.unproven), rule.unproven
    assert check(load("rename: {a: b}")).rules[0].unproven == ()


def test_a_checkpoint_adds_the_findings_of_its_assignment(load, checkpoint):
    checked = check(load("rename: {a: b}"), checkpoint(["a", "z"]), checkpoint(["b", "c"]))
    assert [(i.kind, i.name) for i in checked.findings] == [("unmatched", "z"), ("unfilled", "c")]
    assert checked.assignment.moves


def test_explain(load, tmp_path):
    (tmp_path / "part.yaml").write_text("ckptmigrate: 1\nrename: {'a/{x}': 'old/{x}'}\n")
    text = (
        "include: [part.yaml]\ntables: {conv: {w: kernel, b: bias}}\n"
        "rules:\n  - {from: 'a/{conv}', to: 'y/{conv}', do: [{squeeze: 0}]}\n  - {from: a/w, to: z}\n"
        "  - {from: ['q/{x}', 'k/{x}'], to: 'qk/{x}', do: [{concat: {axis: 0}}]}\n  - {drop: aux, why: no}"
    )
    mapping = load(text)
    literal = explain(mapping, "a/w")
    assert (literal.becomes, [(loser.where.rpartition(":")[2], loser.why) for loser in literal.lost]) == (
        ("z",),
        [("5", "a pattern without holes wins"), ("2", "the including file's rule wins")],
    )
    table = explain(mapping, "a/b")
    assert (table.holes, table.becomes) == ({"conv": "b"}, ("y/bias",))
    assert [text.startswith("squeeze") for text in table.operations] == [True]
    assert explain(mapping, "q/w").also_takes == ("k/w",)
    assert explain(mapping, "aux").becomes == ()
    assert explain(mapping, "nothing").problem == "no rule fits it"
    back = explain(mapping, "y/kernel", reverse=True)
    assert (back.becomes, back.holes) == (("a/w",), {"conv": "kernel"})
    assert explain(mapping, "qk/w", reverse=True).becomes == ("q/w", "k/w")
    assert [e.reverse for e in explain_both(mapping, "z")] == [True]
    assert [e.problem for e in explain_both(mapping, "nothing")] == ["no rule fits it"]


def test_explain_what_two_rules_fit(load):
    explanation = explain(load("rename:\n  a/{x}: y/{x}\n  '{x}/b': z/{x}"), "a/b")
    assert "two rules fit" in explanation.problem
    assert [loser.text for loser in explanation.lost] == ["{x}/b -> z/{x}", "a/{x} -> y/{x}"]
