"""Writing SavedModels: variables alone, and new values under a template's graph. The oracle tests load them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.errors import OutputError, SourceError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.formats.savedmodel.bare import pruned
from ckptmigrate.objects import Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.verification import verify
from ckptmigrate.wire.saved_model import read_saved_model
from ckptmigrate.wire.saved_objects import NewVariable, encode_saved_model

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODELS = FIXTURES / "savedmodel"
NAMES = sorted(p.name for p in MODELS.iterdir())
BESIDE = ("saved_model.pb", "keras_metadata.pb", "assets/vocabulary.txt")


def parts(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def values(path):
    with open_checkpoint(path) as checkpoint:
        return {row.label: row.tensor.read().tobytes() for row in checkpoint.rows()}


@pytest.fixture
def other(tmp_path):
    """Other values for all weights of a fixture, as an npz."""

    def make(name, change=lambda key, array: array + 1):
        with open_checkpoint(MODELS / name / "model") as checkpoint:
            weights = {v.name: v.tensor.read() for v in checkpoint.variables.values() if v.tensor.dtype is FLOAT32}
        path = tmp_path / f"{name}.npz"
        np.savez(path, **{key: change(key, array) for key, array in weights.items()})
        return path

    return make


def test_the_least_that_loads_byte_by_byte():
    """As TensorFlow's own message of the same content: schema 1; tag serve; a root with a list of one variable."""
    nodes = (Node((Edge("w", 1),)), Node((Edge("0", 2),)), Node(attributes=(Attribute("VARIABLE_VALUE", "v", "k"),)))
    proto = encode_saved_model(ObjectGraph(nodes), {2: NewVariable("v", 1, (3,), True)})
    objects = (
        "0a25 0a05 0801 1201 77 221c 0a14", b"_generic_user_object".hex(), "1204 0801 1001",
        "0a27 0a05 0802 1201 30 221e 0a16", b"trackable_list_wrapper".hex(), "1204 0801 1001",
        "0a0f 3a0d 0801 1204 1202 0803 1801 3201 76",
    )  # fmt: skip
    expected = "0801 126e 0a07 2205", b"serve".hex(), "1200 3a61", *objects
    assert proto == bytes.fromhex("".join(expected))


def test_objects_that_hold_nothing_go():
    held = (Attribute("VARIABLE_VALUE", "", "k/.ATTRIBUTES/VARIABLE_VALUE"),)
    graph = ObjectGraph(
        (
            Node((Edge("empty", 1), Edge("a", 3), Edge("optimizer", 5))),
            Node((Edge("deeper", 2),)),
            Node(),
            Node((Edge("w", 4), Edge("f", 2))),
            Node(attributes=held),
            Node(slots=(SlotReference(4, "m", 6), SlotReference(4, "lost", 2))),
            Node(attributes=held),
        )
    )
    assert pruned(graph).nodes == (
        Node((Edge("a", 1), Edge("optimizer", 3))),
        Node((Edge("w", 2),)),
        Node(attributes=held),
        Node(slots=(SlotReference(2, "m", 4),)),
        Node(attributes=held),
    )
    assert pruned(ObjectGraph((Node(),))).nodes == (Node(),)


@pytest.mark.parametrize("source", ["tf1/adam/model.ckpt-3", "tf2/keras_adam/ckpt-1", "savedmodel/tf_keras_adam/model"])
def test_variables_alone(source, tmp_path):
    report = convert(FIXTURES / source, tmp_path / "out", to="savedmodel")
    assert (report.verdict, report.exit_code) == ("verified", 0)
    assert parts(tmp_path) == [
        "out/saved_model.pb",
        "out/variables/variables.data-00000-of-00001",
        "out/variables/variables.index",
    ]
    assert (
        values(tmp_path / "out").keys()
        >= values(FIXTURES / source).keys() - {"Adam.beta1_power"} - {"Adam.beta2_power"}
        or "tf1" in source
    )
    (graph,) = read_saved_model(tmp_path / "out" / "saved_model.pb").meta_graphs
    with open_checkpoint(tmp_path / "out") as checkpoint, open_checkpoint(FIXTURES / source) as origin:
        assert len(graph.objects) == len(checkpoint.structure.objects.nodes)
        assert "save_counter" not in checkpoint.variables.keys() - origin.variables.keys()
        trained = {v.name: v.trainable for v in checkpoint.variables.values()}
        assert trained == {
            n: v.trainable if v.trainable is not None else trained[n] for n, v in origin.variables.items()
        }
        assert not any(trained[v.name] for v in checkpoint.variables.values() if v.role.startswith("bn_"))
        assert checkpoint.metadata["provenance"]["tool"].startswith("ckptmigrate")


@pytest.mark.parametrize("name", NAMES)
def test_new_values_under_the_templates_graph(name, other, tmp_path):
    template, source = MODELS / name / "model", other(name)
    report = convert(source, tmp_path / "out", to="savedmodel", template=template)
    assert (report.verdict, report.exit_code) == ("verified", 0), report.issues
    copied = [part for part in parts(template) if part in BESIDE]
    for part in copied:
        assert (tmp_path / "out" / part).read_bytes() == (template / part).read_bytes()
    assert parts(tmp_path / "out") == sorted([*copied, *(p for p in parts(template) if p.startswith("variables/"))])
    before, after, new = values(template), values(tmp_path / "out"), values(source)
    assert after == before | new
    assert all(before[key] != after[key] for key in new)


def test_every_copy_of_a_weight_is_new(other, tmp_path):
    convert(other("keras3_export"), tmp_path / "out", to="savedmodel", template=MODELS / "keras3_export" / "model")
    read = values(tmp_path / "out" / "variables" / "variables")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        pairs = [
            (v.name, c.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"))
            for v in checkpoint.variables.values()
            for c in v.copies
        ]
    assert len(pairs) == 7
    assert all(read[first] == read[second] for first, second in pairs)


def test_the_object_graph_stays_byte_for_byte(other, tmp_path):
    from ckptmigrate.wire.bundle import read_bundle, read_tensor

    convert(other("tf_keras_adam"), tmp_path / "out", to="savedmodel", template=MODELS / "tf_keras_adam" / "model")
    bundles = [
        read_bundle(p / "variables" / "variables") for p in (MODELS / "tf_keras_adam" / "model", tmp_path / "out")
    ]
    graphs = [read_tensor(bundle, "_CHECKPOINTABLE_OBJECT_GRAPH")[()] for bundle in bundles]
    assert graphs[0] == graphs[1]
    assert bundles[0].entries.keys() == bundles[1].entries.keys()


def test_state_that_stays_the_templates_is_told(other, tmp_path):
    report = convert(
        other("tf_keras_adam"), tmp_path / "out", to="savedmodel", template=MODELS / "tf_keras_adam" / "model"
    )
    (issue,) = [i for i in report.issues if i.kind == "kept"]
    assert issue.severity == "warning"
    assert "15 values stay the template's" in issue.message
    assert {r.detail for r in report.rows if r.outcome == "filled"} == {"stays the template's"}
    source = tmp_path / "tf_keras_adam.npz"
    assert verify(source, tmp_path / "out", template=MODELS / "tf_keras_adam" / "model").verdict == "verified"
    alone = verify(source, tmp_path / "out")
    assert (alone.verdict, alone.issues[-1].hint) == ("differs", "--template CKPT, the one that it was made with")
    wrong = verify(source, tmp_path / "out", template=MODELS / "keras3_saved" / "model")
    assert (wrong.verdict, wrong.issues[-1].message[:20]) == ("differs", "the template isn't, ")


CHANGES = {
    "shape": (lambda key, a: a[:1] if key == "scope/kernel" else a, 5, "shape"),
    "dtype": (lambda key, a: a.astype(np.float64) if key == "scope/kernel" else a, 5, "the template's is float32"),
}


@pytest.mark.parametrize(("change", "code", "said"), CHANGES.values(), ids=list(CHANGES))
def test_the_graph_is_built_for_shapes_and_types(change, code, said, other, tmp_path):
    source = other("tf1_adam", change)
    report = convert(source, tmp_path / "out", to="savedmodel", template=MODELS / "tf1_adam" / "model")
    assert (report.verdict, report.exit_code) == ("refused", code)
    assert any(said in issue.message for issue in report.issues)
    assert not (tmp_path / "out").exists()


def test_state_without_a_place_is_a_loss(tmp_path):
    template = MODELS / "keras3_saved" / "model"
    source = tmp_path / "source.npz"
    convert(MODELS / "tf_keras_adam" / "model", source, to="npz", drop=["keras_api/{x:path}"])
    mapping = tmp_path / "m.yaml"
    rename = {f"layer_with_weights-{n}/{{x}}": f"_layers/{n + 1}/{{x}}" for n in (1,)}
    rename |= {"layer_with_weights-0/kernel": "_layers/1/_kernel", "layer_with_weights-0/bias": "_layers/1/bias"}
    rename |= {"layer_with_weights-2/kernel": "_layers/3/_kernel"}
    mapping.write_text(json.dumps({"ckptmigrate": 1, "rename": rename}))
    asked = {"to": "savedmodel", "template": template, "mapping": mapping}
    report = convert(source, tmp_path / "out", **asked)
    assert (report.verdict, report.exit_code) == ("refused", 6)
    report = convert(source, tmp_path / "out", **asked, optimizer="drop")
    assert (report.verdict, report.exit_code) == ("verified", 0), report.issues


def test_a_name_that_leads_through_a_variable(tmp_path):
    np.savez(tmp_path / "a.npz", **{"a": np.ones(2, np.float32), "a/b": np.ones(3, np.float32)})
    report = convert(tmp_path / "a.npz", tmp_path / "out", to="savedmodel")
    (issue,) = [i for i in report.issues if i.severity == "error"]
    assert (report.exit_code, issue.name) == (6, "a/b")


# The folder as an output


@pytest.fixture
def source():
    return FIXTURES / "tf1" / "adam" / "model.ckpt-3"


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_destination_is_the_folder(ending, source, tmp_path):
    report = convert(source, f"{tmp_path}/deep/out{ending}", to="savedmodel")
    assert report.target["path"] == str(tmp_path / "deep" / "out")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_existing_folder_is_replaced_only_by_force(source, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(MODELS / "tf_keras_adam" / "model", out)
    assert convert(source, out, to="savedmodel").exit_code == 7
    assert (out / "keras_metadata.pb").exists()
    assert convert(source, out, to="savedmodel", force=True).verdict == "verified"
    assert len(parts(out)) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_things_is_never_replaced(source, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(MODELS / "tf_keras_adam" / "model", out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        convert(source, out, to="savedmodel", force=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "keras_metadata.pb").exists()


@pytest.mark.parametrize("below", ["", "variables/variables"])
def test_never_over_the_source(below, tmp_path):
    out = Path(shutil.copytree(MODELS / "tf2_module" / "model", tmp_path / "out"))
    before = values(out)
    with pytest.raises(OutputError, match="never written to"):
        convert(out / below, out, to="savedmodel", force=True)
    assert values(out) == before


def test_the_template_may_be_replaced(other, tmp_path):
    out = Path(shutil.copytree(MODELS / "tf2_module" / "model", tmp_path / "out"))
    report = convert(other("tf2_module"), out, to="savedmodel", template=out, force=True)
    assert report.verdict == "verified"
    assert (out / "assets" / "vocabulary.txt").is_file()


def test_what_is_private_stays_private(tmp_path):
    private = Path(shutil.copytree(MODELS / "tf2_module" / "model", tmp_path / "private"))
    for file in private.rglob("*"):
        file.chmod(0o700 if file.is_dir() else 0o600)
    convert(private, tmp_path / "out", to="savedmodel", template=private)
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "out").rglob("*") if p.is_file()} == {0o600}


def test_links_out_of_a_template_are_not_followed(other, tmp_path):
    template = Path(shutil.copytree(MODELS / "tf2_module" / "model", tmp_path / "template"))
    (template / "assets" / "key").symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="leads out"):
        convert(other("tf2_module"), tmp_path / "out", to="savedmodel", template=template)
    assert not (tmp_path / "out").exists()
    (template / "assets" / "key").unlink()
    (template / "assets" / "twin.txt").symlink_to("vocabulary.txt")
    convert(other("tf2_module"), tmp_path / "out", to="savedmodel", template=template)
    assert not (tmp_path / "out" / "assets" / "twin.txt").is_symlink()


def test_shards(tmp_path):
    convert(MODELS / "tf_keras_adam" / "model", tmp_path / "out", to="savedmodel", max_shard_bytes=2000)
    assert len([p for p in parts(tmp_path / "out") if ".data-" in p]) == 2
