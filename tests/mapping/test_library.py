"""The library: every mapping loads, checks and proves its examples; detection models map pair by pair."""

import json
import re

import pytest

from ckptmigrate.document import load_template
from ckptmigrate.errors import MappingError
from ckptmigrate.mapping import library
from ckptmigrate.mapping.check import check, static_matcher
from ckptmigrate.mapping.rules import Mapping

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# What doesn't lead back by names alone: two rules write one target, or biases that slim doesn't have.
WARNED = {"keras/resnet_v1", *(f"keras/resnet_v1_{depth}" for depth in (50, 101, 152))}

MODELS = {
    "ssd_mobilenet_v2": "od/ssd_mobilenet_v2",
    "ssd_mobilenet_v2_025_min8": "od/ssd_mobilenet_v2",
    "ssdlite_mobilenet_v2": "od/ssdlite_mobilenet_v2",
    "ssd_mobilenet_v1": "od/ssd_mobilenet_v1",
    "ssd_mobilenet_v1_fpn": "od/ssd_mobilenet_v1_fpn",
    "ssd_mobilenet_v2_fpn": "od/ssd_mobilenet_v2_fpn",
    "ssd_mobilenet_v2_fpnlite": "od/ssd_mobilenet_v2_fpnlite",
    "ssd_resnet50_v1_fpn": "od/ssd_resnet_v1_fpn",
    "faster_rcnn_resnet50": "od/rcnn_resnet50",
    "mask_rcnn_resnet50": "od/rcnn_resnet50",
    "faster_rcnn_inception_resnet_v2": "od/rcnn_inception_resnet_v2",
    "mask_rcnn_inception_resnet_v2": "od/rcnn_inception_resnet_v2",
}
NEEDS_TEMPLATE_BACK = {"ssd_mobilenet_v2_fpnlite"}  # it pads, and only a template knows to what


def uncovered(mapping):
    """A mapping's own rules, and its own table entries whose sides differ, that no example shows."""
    matcher = static_matcher(mapping)
    rules = [rule for rule in mapping.rules if rule.file == 0 and rule.kind == "move"]
    used = {hole.table for rule in rules for hole in rule.sources[0].holes.values()}
    entries = {
        (t, i)
        for t in used.intersection(mapping.tables)
        for i, (a, b) in enumerate(zip(*t.columns, strict=True))
        if a != b
    }
    for example in mapping.examples:
        winner = matcher.take([example.source]).winner
        if winner:
            rules = [rule for rule in rules if rule is not winner.rule]
            holes = winner.rule.sources[winner.member].holes
            entries -= {(holes[name].table, value) for name, value in winner.binding.items()}
    return rules, sorted((table.name, table.columns[0][entry]) for table, entry in entries)


@pytest.mark.parametrize("name", library.names())
def test_every_mapping_loads_checks_and_proves_its_examples(name):
    mapping = Mapping.load(name)
    assert mapping.title
    checked = check(mapping)
    severities = {issue.severity for issue in checked.findings}
    assert severities <= ({"warning"} if name in WARNED else set())
    rules, entries = uncovered(mapping)
    assert ([str(rule) for rule in rules], entries) == ([], [])


@pytest.mark.parametrize("model", MODELS)
def test_every_pair_and_nothing_else(manifests, manifest, model):
    pairs = json.loads((manifests / "pairs" / f"{model}.json").read_text())
    expected = {name: pair["tf2"].removesuffix(SUFFIX) for name, pair in pairs.items() if pair["tf2"]}
    source, target = manifest(model, "tf1"), manifest(model, "tf2")
    assert library.auto(source) == MODELS[model]
    mapping = Mapping.load(MODELS[model])
    expected |= {"global_step": "step"} if "global_step" in {r.sources[0].text for r in mapping.rules} else {}

    def moved(assignment, reverse=False):
        assert [i for i in assignment.findings if i.severity == "error"] == []
        ends = [(move.sources[0], move.targets[0]) for move in assignment.moves]
        return {b: a for a, b in ends} if reverse else dict(ends)

    assert moved(mapping.assign(source, target)) == expected
    assert moved(mapping.assign(target, source, reverse=True), True) == expected
    if model not in NEEDS_TEMPLATE_BACK:
        assert moved(mapping.assign(target, None, reverse=True), True) == expected


@pytest.mark.parametrize("model", ["ssd_mobilenet_v2", "ssd_mobilenet_v2_small", "ssdlite_mobilenet_v2"])
def test_shipped_templates_serve_other_widths(manifests, manifest, model):
    source, target = manifest(model, "tf1"), manifest(model, "tf2")
    mapping = Mapping.load(library.auto(source))
    template = load_template(mapping.target.template)
    assignment = mapping.assign(source, template)
    assert [i for i in assignment.findings if i.severity != "note"] == []
    for move in assignment.moves:
        (name,) = move.targets
        (opened,) = template.variables[name].aliases["full_name"]
        full_name = move.renamed.get(name, {}).get("full_name", opened)
        assert (full_name,) == target.variables[name].aliases["full_name"]


def test_numbers_of_the_process_do_not_matter(manifests, manifest, checkpoint):
    """Keras numbers layers from wherever the process was, and lists grow: other numbers, the same pairs."""
    source, target = (manifest("faster_rcnn_inception_resnet_v2", side) for side in ("tf1", "tf2"))
    mapping = Mapping.load("od/rcnn_inception_resnet_v2")
    usual = {m.sources: target.variables[m.targets[0]].key for m in mapping.assign(source, target).moves}

    def later(name):
        return re.sub(
            r"\b(conv2d|freezable_batch_norm)(?:_(\d+))?(?=/)", lambda m: f"{m[1]}_{int(m[2] or 0) + 7}", name
        )

    from dataclasses import replace

    moved = [
        replace(v, aliases={s: tuple(later(n) for n in names) for s, names in v.aliases.items()})
        for v in target.variables.values()
    ]
    again = mapping.assign(source, checkpoint(moved))
    assert {m.sources: target.variables[m.targets[0]].key for m in again.moves} == usual


def test_auto(checkpoint):
    bert = checkpoint(["bert/embeddings/word_embeddings", "bert/encoder/layer_0/output/dense/kernel"])
    assert library.auto(bert) == "text/bert"
    with pytest.raises(MappingError, match="no mapping of the library"):
        library.auto(checkpoint(["w"]))
    both = [*bert.variables.values(), *checkpoint(["model/wte", "model/h0/attn/c_attn/w"]).variables.values()]
    with pytest.raises(MappingError, match=r"text/bert, text/gpt2"):
        library.auto(checkpoint(both))
    with pytest.raises(MappingError, match="no mapping of the library"):
        library.auto(checkpoint(list(bert.variables), "npz"))


def test_show_and_find():
    assert library.show("slim/variables").startswith("ckptmigrate: 1")
    assert library.find("../pyproject") is None
    with pytest.raises(MappingError) as caught:
        library.show("slim/variable")
    assert "slim/variables" in caught.value.hint
