"""Text format is parsed as protobuf parses it, and an edit touches nothing but what it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.detection.prototext import Document, parse
from ckptmigrate.detection.textformat import plain, quoted
from ckptmigrate.errors import SourceError

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "shared" / "od_samples" / "configs").glob("*/*.config"))

TEXT = """\
# a model
model {
  ssd {
    num_classes: 90  # COCO
    feature_extractor { type: 'ssd_mobilenet_v2' depth_multiplier: 1.0 }
    anchor < ratios: [1.0, 2.0,
                      0.5] >
  }
}
train_config: {
  fine_tune_checkpoint: "a" 'b\\x41\\101'  # two literals
  flag: true;
}
"""


def test_values_at_paths() -> None:
    document = parse(TEXT)
    assert document.text_of("model", "ssd", "num_classes") == "90"
    assert document.text_of("model", "ssd", "feature_extractor", "type") == "ssd_mobilenet_v2"
    assert document.text_of("train_config", "fine_tune_checkpoint") == "abAA"
    assert document.all("model", "ssd", "anchor", "ratios")[0].values == ("1.0", "2.0", "0.5")
    assert document.text_of("model", "faster_rcnn", "num_classes") is None
    field = document.find("train_config", "flag")
    assert field is not None
    assert document.position(field) == "12:3"


@pytest.mark.parametrize(
    ("path", "after"),
    [
        (("model", "ssd", "num_classes"), "    num_classes: 3  # COCO\n"),
        (("model", "ssd", "feature_extractor", "min_depth"), "depth_multiplier: 1.0 min_depth: 3 }\n"),
        (("train_config", "steps"), "  flag: true;\n  steps: 3\n}\n"),
        (("eval_config", "metrics", "set"), "}\neval_config {\n  metrics {\n    set: 3\n  }\n}\n"),
        (("model", "ssd", "anchor", "k"), "0.5]\n    k: 3\n >\n"),
    ],
)
def test_replacing_and_adding(path: tuple[str, ...], after: str) -> None:
    changed = parse(TEXT).replaced(path, "3")
    assert after in changed.text
    assert changed.text_of(*path) == "3"
    lines = [line for line in TEXT.splitlines() if "num_classes" not in line and "feature_ext" not in line]
    assert [line for line in lines if line.removesuffix(" >") not in changed.text] == []


def test_removing_takes_the_line_and_leaves_comments() -> None:
    document = parse(TEXT).without(("train_config", "flag")).without(("model", "ssd", "num_classes"))
    assert "flag" not in document.text
    assert "\n\n" not in document.text
    assert "# COCO" in document.text
    whole = parse(TEXT).without(("model", "ssd", "feature_extractor"))
    assert whole.text == TEXT.replace("    feature_extractor { type: 'ssd_mobilenet_v2' depth_multiplier: 1.0 }\n", "")


def test_renaming() -> None:
    assert parse(TEXT).renamed(("model", "ssd"), "center_net").text == TEXT.replace("  ssd {", "  center_net {")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: ", "f:1:4"),
        ("a {\n  b: 1\n", "f:3:1"),
        ("a }", "f:1:3"),
        ("a: 'x\n'", "f:1:4"),
        ("a 1", "f:1:3"),
        ("a: [1 2]", "f:1:7"),
        ("a: 1\n$", "f:2:1"),
        ("1: 2", "f:1:1"),
        ("a: { b: 1 >", "f:1:11"),
        ("a " + "{a " * 70, "f:1:"),
    ],
)
def test_syntax_errors_tell_line_and_column(text: str, where: str) -> None:
    with pytest.raises(SourceError, match=re.escape(where)):
        parse(text, "f")


@given(st.text())
def test_any_text_as_a_literal(text: str) -> None:
    assert plain(quoted(text)) == text.encode("utf-8", "replace").decode()


names = st.sampled_from(["a", "b", "c"])
scalars = st.sampled_from(["1", "-2.5e3", '"x # y"', "'}'", "TRUE", "[1, 2]"]).map(lambda v: f": {v}")
fields = st.recursive(
    st.tuples(names, scalars).map("".join),
    lambda inner: st.tuples(
        names, st.sampled_from([" {%s}", ": {\n%s\n}", " <%s # c\n>"]), st.lists(inner, max_size=3)
    ).map(lambda t: t[0] + t[1] % " ".join(t[2])),
    max_leaves=8,
)


@given(st.lists(fields, max_size=4).map("\n".join), st.lists(names, min_size=1, max_size=3).map(tuple))
def test_an_edit_changes_one_value(text: str, path: tuple[str, ...]) -> None:
    document = parse(text)
    found = document.find(*path)
    if found is not None and found.messages:
        return
    changed = document.replaced(path, "7")
    assert changed.text_of(*path) == "7"
    assert [v for p, v in leaves(changed) if v != "7"] == [
        v for p, v in leaves(document) if found is None or p != found.start
    ]
    assert not changed.without(path).has(*path)


def leaves(document: Document) -> list[tuple[int, str]]:
    pending, found = [document.root], []
    while pending:
        message = pending.pop()
        for field in message.fields:
            pending += field.messages
            found += [(field.start, value) for value in field.values]
    return sorted(found)


@pytest.mark.skipif(not CONFIGS, reason="the samples of the Object Detection API are not beside the project")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_real_configurations(path: Path) -> None:
    text = path.read_text("utf-8")
    document = parse(text, str(path))
    model = next(f for f in document.root.fields if f.name == "model").message
    assert model is not None
    kind = model.fields[0].name
    assert document.text_of("model", kind, "num_classes") == "90"
    changed = document.replaced(("model", kind, "num_classes"), "3").replaced(("model", kind, "num_classes"), "90")
    assert changed.text == text
