"""Reading SavedModels: names, layers, copies, what is trainable; folders that lack parts, protobufs that lie."""

import json
import shutil
from pathlib import Path

import pytest

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats import by_name, identify, open_checkpoint
from ckptmigrate.wire.protobuf import delimited, integer, string

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "savedmodel"


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a fixture's SavedModel."""
    return lambda name: Path(shutil.copytree(FIXTURES / name / "model", tmp_path / name))


def told(name, *attributes):
    variables = open_checkpoint(FIXTURES / name / "model").variables.values()
    return {v.name: tuple(v.aliases.get(a, getattr(v, a, None)) for a in attributes) for v in variables}


def test_tf1_names_are_keys_and_the_graph_tells_what_is_trainable():
    checkpoint = open_checkpoint(FIXTURES / "tf1_adam" / "model")
    assert {v.name: (v.key, v.role, v.trainable) for v in checkpoint.variables.values()} == {
        "global_step": ("global_step", "counter", False),
        "scope/bias": ("scope/bias", "weight", True),
        "scope/kernel": ("scope/kernel", "weight", True),
        "scope/parts": ("scope/parts", "weight", True),
        "scope/scale": ("scope/scale", "weight", False),
    }
    (state,) = checkpoint.optimizers
    assert (state.kind, state.dialect, state.step, len(state.slots)) == ("adam", "tf1", 3, 6)
    first, second = checkpoint.metadata["meta_graphs"]
    assert (first["tags"], second["tags"]) == (["serve"], ["serve", "gpu"])
    assert (first["tensorflow"], first["assets"]) == ("1.15.5", ["vocabulary.txt"])
    assert first["signatures"]["serving_default"] == {
        "inputs": {"x": {"dtype": "float32", "shape": [-1, 3]}},
        "outputs": {"y": {"dtype": "float32", "shape": [-1, 2]}},
        "method": "tensorflow/serving/predict",
    }
    assert {f.name for f in checkpoint.files} >= {"saved_model.pb", "vocabulary.txt", "variables.index"}


def test_tf2_names_are_object_paths():
    assert told("tf2_module", "full_name", "trainable") == {
        "w": (("w",), True),
        "blocks/0": (("b0",), True),
        "blocks/1": (("b1",), True),
        "table/a.Sb": (("ab",), True),
        "table/plain": (("plain",), False),
    }


def test_layers_go_by_their_own_names():
    assert told("tf_keras_adam", "layer_path", "role") == {
        "layer_with_weights-0/kernel": (("d1/kernel",), "weight"),
        "layer_with_weights-0/bias": (("d1/bias",), "weight"),
        "layer_with_weights-1/gamma": (("bn/gamma",), "weight"),
        "layer_with_weights-1/beta": (("bn/beta",), "weight"),
        "layer_with_weights-1/moving_mean": (("bn/moving_mean",), "bn_mean"),
        "layer_with_weights-1/moving_variance": (("bn/moving_variance",), "bn_variance"),
        "layer_with_weights-2/kernel": (("d2/kernel",), "weight"),
        "keras_api/metrics/0/total": (None, "metric"),
        "keras_api/metrics/0/count": (None, "metric"),
    }


def test_layers_of_lists_and_nested_models():
    paths = {name: path[0][0] for name, path in told("tf_keras_layers", "layer_path").items()}
    some = {
        "enc/kernel": "encoder/kernel",
        "blocks/0/bias": "first/bias",
        "blocks/1/_query_dense/kernel": "attention/query_dense/kernel",
        "both/forward_layer/cell/recurrent_kernel": "both/forward_layer/cell/recurrent_kernel",
        "head/layer_with_weights-0/kernel": "head/logits/kernel",
    }
    assert some.items() <= paths.items()
    assert len(paths) == 20


def test_layout_lists_layers_and_their_weights_in_order():
    with open_checkpoint(FIXTURES / "tf_keras_adam" / "model") as checkpoint:
        structure = checkpoint.structure
    assert [(layer.name, layer.class_name, [path for path, _ in layer.attributes]) for layer in structure.layout] == [
        ("d1", "Dense", ["kernel", "bias"]),
        ("bn", "BatchNormalization", ["gamma", "beta", "moving_mean", "moving_variance"]),
        ("d2", "Dense", ["kernel"]),
    ]
    assert dict(structure.layout[0].attributes)["kernel"] == "layer_with_weights-0/kernel"
    assert json.loads(structure.blobs["model_config"])["class_name"] == "Sequential"
    assert json.loads(structure.blobs["training_config"])["loss"] == "mse"


def test_layout_without_lists():
    """Saved without traces, a subclassed model has its layers as attributes only; its configuration says nothing."""
    with open_checkpoint(FIXTURES / "tf_keras_layers" / "model") as checkpoint:
        structure = checkpoint.structure
    assert [(layer.name, layer.class_name, len(layer.attributes)) for layer in structure.layout] == [
        ("encoder", "Dense", 2),
        ("first", "Dense", 2),
        ("attention", "MultiHeadAttention", 8),
        ("both", "Bidirectional", 6),
        ("head", "Sequential", 2),
    ]
    assert "model_config" not in structure.blobs


def test_other_models_have_no_layout():
    for name in ("tf1_adam", "tf2_module", "keras3_export", "keras3_saved"):
        with open_checkpoint(FIXTURES / name / "model") as checkpoint:
            assert (checkpoint.structure.layout, dict(checkpoint.structure.blobs)) == (None, {})


def test_older_files_keep_the_names_in_the_graph(copy_of):
    """Before keras_metadata.pb the same JSON stood in each object; without either, the variable's own name tells."""
    folder = copy_of("tf_keras_adam")
    (folder / "keras_metadata.pb").unlink()
    variable = open_checkpoint(folder).variables["layer_with_weights-1/gamma"]
    assert variable.aliases["layer_path"] == ("bn/gamma",)


def test_doubled_weights_are_copies():
    found = told("keras3_export", "copies", "full_name", "layer_path", "role", "trainable")
    assert len(found) == 7
    copies, *rest = found["variables/4"]
    assert rest == [("model/bn/moving_mean",), ("bn/moving_mean",), "bn_mean", False]
    assert [c.startswith("_all_variables/") for c in copies] == [True]
    with open_checkpoint(FIXTURES / "keras3_export" / "model") as checkpoint:
        keys = {v.key for v in checkpoint.variables.values()}
        assert all(key.startswith("variables/") for key in keys)


def test_keras3_layers():
    paths = {path[0][0] for path in told("keras3_saved", "layer_path").values()}
    assert {"d1/kernel", "bn/gamma", "d2/kernel"} < paths


def test_what_is_said_is_json():
    for folder in FIXTURES.iterdir():
        with open_checkpoint(folder / "model") as checkpoint:
            json.dumps(checkpoint.metadata)


@pytest.mark.parametrize("below", ["", "saved_model.pb"])
def test_ways_to_name_it(below):
    found = identify(FIXTURES / "tf2_module" / "model" / below)
    assert (found.format.name, found.path) == ("savedmodel", FIXTURES / "tf2_module" / "model")


def test_hub_module(copy_of):
    folder = copy_of("tf1_adam")
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.metadata["tfhub_module"] is True
    assert folder / "tfhub_module.pb" in checkpoint.files


def test_variables_that_are_missing(copy_of):
    for name, count in (("tf1_adam", 13), ("tf2_module", 5)):
        folder = copy_of(name)
        shutil.rmtree(folder / "variables")
        (issue,) = open_checkpoint(folder).issues
        assert (issue.kind, issue.severity) == ("missing", "error")
        assert f"{count} variables" in issue.message


def test_a_model_without_variables(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(integer(1, 1) + delimited(2, b""))
    checkpoint = open_checkpoint(tmp_path)
    assert (dict(checkpoint.variables), [i.severity for i in checkpoint.issues]) == ({}, ["note"])


def test_not_a_folder_of_one(tmp_path):
    with pytest.raises(SourceError, match=r"expected saved_model\.pb, found no such file"):
        by_name("savedmodel").read(tmp_path)


def graph(nodes):
    """A SavedModel of one meta graph with these objects."""
    return integer(1, 1) + delimited(2, delimited(7, b"".join(delimited(1, node) for node in nodes)))


HOSTILE = {
    "empty": b"",
    "no meta graph": integer(1, 1),
    "a length past the end": integer(1, 1) + b"\x12\xff\xff\xff\x7f",
    "a group": integer(1, 1) + delimited(2, b"\x0b"),
    "torn collection": integer(1, 1) + delimited(2, delimited(4, string(1, "variables") + delimited(2, b"\x12\x09a"))),
    "torn signature": integer(1, 1) + delimited(2, delimited(5, string(1, "s") + delimited(2, b"\x0a\x7f"))),
    "torn object": graph([b"\x22\x7f"]),
    "torn variable": graph([delimited(7, b"\x32\x7f")]),
    "random": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_protobuf_is_refused(content, copy_of):
    folder = copy_of("tf2_module")
    (folder / "saved_model.pb").write_bytes(content)
    with pytest.raises(DamagedError, match="at byte") as caught:
        open_checkpoint(folder)
    assert caught.value.where == str(folder / "saved_model.pb")


def test_a_number_among_variables_is_none(copy_of):
    folder = copy_of("tf2_module")
    listed = string(1, "variables") + delimited(2, delimited(2, integer(1, 7)))
    (folder / "saved_model.pb").write_bytes(integer(1, 1) + delimited(2, delimited(4, listed)))
    assert open_checkpoint(folder).variables


@pytest.mark.parametrize("json_text", ["", "[" * 100_000, '{"name": 7}', "null", "\udcff", '{"name": "a/../b.c"}'])
def test_metadata_is_only_looked_at_for_a_name(json_text, copy_of):
    folder = copy_of("tf_keras_adam")
    nodes = [(0, "_tf_keras_sequential", '{"name": "model"}'), (1, "_tf_keras_layer", json_text)]
    (folder / "keras_metadata.pb").write_bytes(
        b"".join(delimited(1, integer(2, n) + string(4, kind) + string(5, text)) for n, kind, text in nodes)
    )
    variables = open_checkpoint(folder).variables
    expected = "a/../b.c/kernel" if "a/" in json_text else "layer_with_weights-0/kernel"
    assert variables["layer_with_weights-0/kernel"].aliases["layer_path"] == (expected,)


def test_assets_are_names_not_paths(tmp_path):
    asset = string(2, "../../../etc/passwd")
    (tmp_path / "saved_model.pb").write_bytes(integer(1, 1) + delimited(2, delimited(6, asset)))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.metadata["meta_graphs"][0]["assets"] == ["../../../etc/passwd"]
    assert checkpoint.files == (tmp_path / "saved_model.pb",)


def test_objects_are_bounded(copy_of, monkeypatch):
    monkeypatch.setattr("ckptmigrate.wire.saved_model.MAX_OBJECTS", 10)
    with pytest.raises(DamagedError, match="more than 10 objects"):
        open_checkpoint(copy_of("tf2_module"))
