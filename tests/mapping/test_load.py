"""Loading: what a mapping file may say, and the complaint with file:line for everything else."""

from pathlib import Path

import pytest

from ckptmigrate.errors import MappingError
from ckptmigrate.mapping.nodes import parse_yaml
from ckptmigrate.mapping.rules import Mapping


@pytest.fixture
def write(tmp_path):
    def write(text, name="m.yaml", *, header="ckptmigrate: 1\n"):
        path = tmp_path / "maps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + text)
        return path

    return write


def complaints(path):
    with pytest.raises(MappingError) as caught:
        Mapping.load(path)
    issues = caught.value.issues
    return [(i.where.rpartition(":")[2], i.message, i.hint) for i in issues] or [
        (caught.value.where.rpartition(":")[2], caught.value.message, caught.value.hint)
    ]


WRONG = [  # text, line, part of the message
    ("title: a\ntitle: b", 3, "'title' stands here twice, first in line 2"),
    ("rename: {a: b, a: c}", 2, "stands here twice"),
    ("titel: a", 2, "no key 'titel'"),
    ("source: {format: [tf1]}", 2, "no key 'format'"),
    ("rules:\n  - from: a\n    too: b", 4, "no key 'too'"),
    ("rules:\n  - {drop: a, why: b, to: c}", 3, "no key 'to'"),
    ("tables: &t {a: [b]}", 2, "anchors and aliases"),
    ("tables: {a: [b]}\nrename: *t", 3, "undefined alias|anchors and aliases|found undefined"),
    ("tables:\n  <<: {a: [b]}", 3, "merge keys"),
    ("title: !!python/name:os.system x", 2, "tags"),
    ("rename:\n  a: {x: null}", 3, "what?|is a text"),
    ("rules:\n  - from: {x}\n    to: b", 3, "is a text"),
    ("rename:\n  {x}: b", 3, "a key is a text"),
    ("rules:\n  - from: [a{x:int}, b{x}]\n    to: c", 3, "is not YAML"),
    ("rules:\n  - from: a\n", 3, "needs `to`"),
    ("rules:\n  - to: a\n", 3, "begins with from, drop or fill"),
    ("rules:\n  - drop: a\n", 3, "says `why`"),
    ("rules:\n  - {fill: a}", 3, "needs `with`"),
    ("rules:\n  - {fill: a, with: zeroes}", 3, "is a number, template, zeros"),
    ("rules:\n  - {fill: a, with: 1e3}", 3, "is a number, template, zeros"),
    ("rules:\n  - {fill: a, with: 010}", 3, "is a number, template, zeros"),
    ("rules:\n  - {fill: a, with: zeros, shape: 3}", 3, "list of sizes"),
    ("rules:\n  - {fill: a, with: zeros, shape: [x]}", 3, "a size is an integer"),
    ("rules:\n  - {from: a, to: b, first: yes}", 3, "one of true, false"),
    ("rules:\n  - {from: a, to: b, optional: 1}", 3, "one of true, false"),
    ("rules:\n  - {from: a, to: b, rank: two}", 3, "an integer, 0 or more"),
    ("rules:\n  - {from: a, to: b, do: squeeze}", 3, "`do` is a list"),
    ("rules:\n  - {from: a, to: b, do: [{squeeze: 0, flip: 1}]}", 3, "one name with its parameters"),
    ("rules:\n  - from: a\n    to: b\n    do:\n      - sqeeze: 0", 6, "sqeeze"),
    ("rules:\n  - {from: 'a{x}', to: 'b{y}'}", 3, "{y} stands in `to` but not in `from`"),
    ("rules:\n  - {from: ['a{x}', 'b'], to: 'c'}", 3, "have the same holes"),
    ("rules:\n  - {from: [], to: c}", 3, "is empty"),
    ("rules:\n  - {fill: 'a{x}', like: b, with: ones}", 3, "not in `like`"),
    ("rename: {'a{x:foo}': b}", 2, "no kind of hole"),
    ("rename: [a]", 2, "is a mapping"),
    ("rules: {a: b}", 2, "is a list"),
    ("tables: {a: []}", 2, "at least one name"),
    ("tables: {a: b}", 2, "at least one name"),
    ("tables: {a: [b, b]}", 2, "has 'b' twice"),
    ("tables: {a: {b: ''}}", 2, "without text"),
    ("tables: {int: [a]}", 2, "can't name a table"),
    ("tables: {a-b: [a]}", 2, "can't name a table"),
    ("tables: {a: {first: x, names: [b]}}", 2, "`first` is an integer"),
    ("unmatched: maybe", 2, "one of error, keep, drop"),
    ("averages: maybe", 2, "one of keep, use, drop"),
    ("source: {separator: ab}", 2, "one character"),
    ("source: {requires: ['a{']}", 2, "isn't closed"),
    ("target: {template: no.json}", 2, "doesn't exist"),
    ("target: {template: ../../no.json}", 2, "outside"),
    ('target: {template: "a\\0b"}', 2, "doesn't exist"),
    ("optimizers: [Adam]", 2, "with from, variables"),
    ("optimizers:\n  - {from: Adam, hyper: {learning_rate: fast}}", 3, "decimal number"),
    ("optimizers:\n  - {form: Adam}", 3, "no key 'form'"),
    ("include: [nothing.yaml]", 2, "doesn't exist"),
    ("include: [../../other.yaml]", 2, "doesn't exist|outside"),
    ("include: [m.yaml]", 2, "a cycle"),
    ("include: [{file: m.yaml, sauce: a/}]", 2, "no key 'sauce'"),
    ("include: [{file: m.yaml, source: 'a{x}/'}]", 2, "plain text"),
    ("title: a\n---\ntitle: b", 3, "second document"),
    ("a: b: c", 2, "is not YAML"),
    ("title: \x07", 2, "is not YAML|control"),
]


@pytest.mark.parametrize(("text", "line", "message"), WRONG, ids=lambda v: str(v)[:40])
def test_complaints(write, text, line, message):
    import re

    found = complaints(write(text))
    assert any(where == str(line) and re.search(message, said) for where, said, _ in found), found


def test_a_template_that_is_a_link_to_itself(write, tmp_path):
    (tmp_path / "t.json").symlink_to("t.json")
    assert [said for _, said, _ in complaints(write("target: {template: t.json}"))] == [
        "the template t.json doesn't exist"
    ]


def test_everything_wrong_is_told_at_once(write):
    found = complaints(write("titel: a\nunmatched: maybe\nrename:\n  a{: b\n  c: d{x}\n"))
    assert sorted(where for where, _, _ in found) == ["2", "3", "5", "6"]


@pytest.mark.parametrize("text", ["rename: {{x}: b}", "rename:\n  a: {x: null}", "rules:\n  - from: {x}/w\n    to: b"])
def test_unquoted_holes_get_a_hint(write, text):
    assert any("quote a pattern with holes" in hint for _, _, hint in complaints(write(text)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ckptmigrate: 2\n", "version 2"),
        (b"title: a\n", "begins with `ckptmigrate: 1`"),
        (b"- a\n", "holds no keys"),
        (b"", "holds no keys"),
        (b"\xff\xfe\x00", "UTF-8|YAML"),
        (b"ckptmigrate: 1\na: " + b"[" * 100 + b"]" * 100, "levels deep"),
        (b"ckptmigrate: 1\na: " + b"[" * 1_000_000, "levels deep"),
        (b"ckptmigrate: 1\na: " + b"{a: " * 10_000, "levels deep"),
        (b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "anchors"),
        (b"ckptmigrate: 1\n#" + b"x" * (5 << 20), "larger than"),
        (b"ckptmigrate: 1\nexamples: {" + b"a: b, " * 3 + b"}", "twice"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_hostile_files(tmp_path, content, message):
    path = tmp_path / "m.yaml"
    path.write_bytes(content)
    with pytest.raises(MappingError, match=message):
        Mapping.load(path)


def test_no_file(tmp_path):
    with pytest.raises(MappingError, match="no mapping file"):
        Mapping.load(tmp_path / "none.yaml")
    with pytest.raises(MappingError) as caught:
        Mapping.load("od/ssd_mobilenet_v3")
    assert "od/ssd_mobilenet_v2" in caught.value.hint


def test_numbers_and_words():
    top = parse_yaml("a: [1, -2, 0.5, 010, 1e3, no, on, null, '7', 0x1f, 1_000, .5, 12:30]", "f")
    texts = top.get("a").items
    assert [t.number for t in texts] == [1, -2, 0.5] + [None] * 10
    assert texts[5].text == "no"
    assert texts[0].line == 1


FULL = """
title: everything
note: >
  free
  text
source: {formats: [tf1], requires: [a/w], vocabulary: [w, b], names: name, slots: {adam_m: m, adam_v: v}}
target: {separator: ".", names: full_name}
averages: use
unmatched: keep
optimizers:
  - {from: Adam, variables: "gen/{x:path}", to: gen_opt, step: global_step, hyper: {learning_rate: 0.0002}}
tables:
  conv: {weights: kernel, biases: bias}
  step: [expand, project]
  stem: {first: 3, names: [c1, c2]}
  part: {shortcut: 0, conv1: 1}
rename:
  a/{conv}: b.{conv}
rules:
  - from: ["q/{step}", "k/{step}"]
    to: qk.{step}
    do: [concat: {axis: -1}]
    rank: 2
    first: true
    optional: true
  - {drop: "aux/{x:path}", why: no use}
  - {fill: "c.{stem}", with: 0.5, like: "z/{stem}"}
  - {fill: d, with: ones, shape: [3, 3]}
examples: {a/weights: b.kernel}
"""


def test_everything_a_file_can_say(write):
    mapping = Mapping.load(write(FULL))
    assert (mapping.title, mapping.note, mapping.averages, mapping.unmatched) == (
        "everything",
        "free text\n",
        "use",
        "keep",
    )
    assert mapping.source.slots == {"adam_m": "m", "adam_v": "v"}
    assert mapping.target.separator == "."
    (block,) = mapping.optimizers
    assert (block.source, block.target, block.step, block.hyper) == (
        "Adam",
        "gen_opt",
        "global_step",
        {"learning_rate": 0.0002},
    )
    assert [t.numbers for t in mapping.tables] == [None, None, (3, 4), (0, 1)]
    rename, group, drop, like, shape = mapping.rules
    assert str(rename) == "a/{conv} -> b.{conv}"
    assert rename.where.endswith("m.yaml:19")
    assert (group.rank, group.first, group.optional, group.operations[0].name) == (2, True, True, "concat")
    assert (drop.kind, drop.why) == ("drop", "no use")
    assert (like.value, like.like.text) == (0.5, "z/{stem}")
    assert (shape.value, shape.shape) == ("ones", (3, 3))
    assert [(e.source, e.targets) for e in mapping.examples] == [("a/weights", ("b.kernel",))]
    assert len(mapping.digest) == 64


def test_includes(write):
    write("tables: {conv: {w: kernel}}\nrename: {'x/{conv}': 'y/{conv}'}\n", "parts/leaf.yaml")
    write("include: [leaf.yaml]\nrename: {'p/{conv}': 'q/{conv}'}\n", "parts/middle.yaml")
    top = write(
        "include:\n"
        "  - {file: parts/middle.yaml, source: s1/, target: t1/}\n"
        "  - {file: parts/middle.yaml, source: s2/, target: t2/}\n"
        "  - parts/leaf.yaml\n"
        "  - parts/leaf.yaml\n"
        "tables: {other: [a]}\n"
        "rename: {'r/{conv}': 'r/{conv}'}\n"
    )  # fmt: skip
    mapping = Mapping.load(top)
    assert [str(rule) for rule in mapping.rules] == [
        "r/{conv} -> r/{conv}",
        "s1/p/{conv} -> t1/q/{conv}",
        "s1/x/{conv} -> t1/y/{conv}",
        "s2/p/{conv} -> t2/q/{conv}",
        "s2/x/{conv} -> t2/y/{conv}",
        "x/{conv} -> y/{conv}",
    ]
    assert mapping.above[2] == {0, 1}
    assert [p.name for p in mapping.files] == ["m.yaml", "middle.yaml", "leaf.yaml"]


def test_own_tables_win_and_two_meanings_are_an_error_if_used(write):
    write("tables: {t: [a], u: [b]}\n", "one.yaml")
    write("tables: {t: [a], u: [c]}\n", "two.yaml")
    assert Mapping.load(write("include: [one.yaml, two.yaml]\nrename: {'x/{t}': 'y/{t}'}\n"))
    assert Mapping.load(write("include: [one.yaml, two.yaml]\ntables: {u: [d]}\nrename: {'x/{u}': 'y/{u}'}\n"))
    (found,) = complaints(write("include: [one.yaml, two.yaml]\nrename: {'x/{u}': 'y/{u}'}\n"))
    assert found[0] == "3"
    assert "means two things" in found[1]


def test_cycles_separators_and_other_folders(write, tmp_path):
    write("include: [b.yaml]\n", "a.yaml")
    (found,) = complaints(write("include: [a.yaml]\n", "b.yaml"))
    assert "a cycle" in found[1]
    write("target: {separator: .}\n", "dot.yaml")
    assert "separated by" in complaints(write("include: [dot.yaml]\n"))[0][1]
    write("tables: {t: [a]}\n", "plain.yaml")
    assert Mapping.load(write("target: {separator: .}\ninclude: [plain.yaml]\n"))
    (tmp_path / "outside.yaml").write_text("ckptmigrate: 1\n")
    for name in ("../outside.yaml", str(tmp_path / "outside.yaml"), "../../../../../../etc/hosts"):
        assert (
            "outside" in complaints(write(f"include: ['{name}']\n"))[0][1]
            or "doesn't exist" in complaints(write(f"include: ['{name}']\n"))[0][1]
        )
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "x.yaml").write_text("ckptmigrate: 1\n")
    assert Mapping.load(write("include: [../beside/x.yaml]\n"))


def test_a_link_out_of_the_folder_tree(write, tmp_path):
    outside = tmp_path / "outside.yaml"
    outside.write_text("ckptmigrate: 1\n")
    path = write("include: [link.yaml]\n")
    (path.parent / "link.yaml").symlink_to(outside)
    assert "outside" in complaints(path)[0][1]


def test_includes_that_double_at_each_level(write):
    for level in range(15):
        write(
            f"include: [{{file: f{level + 1}.yaml, source: a/}}, {{file: f{level + 1}.yaml, source: b/}}]\n",
            f"f{level}.yaml",
        )
    write("", "f15.yaml")
    with pytest.raises(MappingError, match="too many files"):
        Mapping.load(write("include: [f0.yaml]\n"))


def test_library_names_can_be_included(write):
    mapping = Mapping.load(write("include: [slim/variables]\nrename: {'a/{conv}': 'b/{conv}'}\n"))
    assert mapping.rules[0].sources[0].bindings("a/weights")
    assert isinstance(mapping.files[1], Path)
