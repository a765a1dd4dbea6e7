"""What variables are called in targets without a template."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptmigrate import convert
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.formats.keras_objects import flat_model, object_paths
from ckptmigrate.table import Layer

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def layer(name, kind, *paths):
    return Layer(name, kind, tuple((path, f"{name}/{path}") for path in paths))


INNER = Configured("sub", "Functional", layers=(Configured("i", "InputLayer"), Configured("a", "Dense")))
WRAPPED = Configured("td", "TimeDistributed", inner={"layer": Configured("x", "Conv2D")})
LAYERS = (
    *(Configured("i", "InputLayer"), Configured("dw", "DepthwiseConv2D"), Configured("f", "Flatten"), INNER, WRAPPED),
    *(Configured("l", "LSTM"), Configured("mha", "MultiHeadAttention")),
)
LAYOUT = (
    layer("i", "InputLayer"),
    layer("dw", "DepthwiseConv2D", "depthwise_kernel"),
    layer("f", "Flatten"),
    layer("sub", "Functional", "a/kernel"),
    layer("td", "TimeDistributed", "layer/kernel"),
    layer("l", "LSTM", "cell/kernel"),
    layer("mha", "MultiHeadAttention", "query_dense/kernel"),
)
# As tf_keras 2.21 and Keras 3.15 saved such a model through tf.train.Checkpoint
PATHS = {
    "tf_keras": [
        "layer_with_weights-0/depthwise_kernel",
        "layer_with_weights-1/layer_with_weights-0/kernel",
        "layer_with_weights-2/layer/kernel",
        "layer_with_weights-3/cell/kernel",
        "layer_with_weights-4/_query_dense/kernel",
    ],
    "keras3": [
        "_operations/1/kernel",
        "_operations/3/_operations/1/_kernel",
        "_operations/4/layer/_kernel",
        "_operations/5/cell/kernel",
        "_operations/6/_query_dense/_kernel",
    ],
}


@pytest.mark.parametrize("flavor", PATHS)
def test_objects_of_a_functional_model(flavor):
    assert list(object_paths(Configured("m", "Functional", layers=LAYERS), LAYOUT, flavor).values()) == PATHS[flavor]


def test_a_sequential_counts_its_input():
    model = Configured("m", "Sequential", layers=LAYERS[:2])
    assert object_paths(model, LAYOUT[:2], "keras3") == {"dw/depthwise_kernel": "_functional/_operations/1/kernel"}


def test_models_in_models_need_a_configuration():
    assert flat_model(LAYOUT) is None
    flat = flat_model([one for one in LAYOUT if one.name != "sub"])
    assert flat is not None
    assert [one.name for one in flat.layers] == ["i", "dw", "f", "td", "l", "mha"]


def whole_h5():
    folders = sorted(p for p in (FIXTURES / "keras-h5").iterdir() if p.name.startswith("tfk_"))
    files = [file for folder in folders for file in folder.glob("*.h5")]
    return [file for file in files if "model_config" in open_checkpoint(file).structure.blobs]


@pytest.mark.parametrize("source", whole_h5()[:3], ids=lambda path: path.parent.name)
def test_a_model_becomes_objects_and_comes_back(source, tmp_path):
    report = convert(source, tmp_path / "out", to="tf2", flavor="tf_keras", optimizer="drop")
    assert report.verdict == "verified"
    with open_checkpoint(tmp_path / "out") as written, open_checkpoint(source) as checkpoint:
        weights = [v for v in written.variables.values() if v.role != "counter"]
        assert all(v.name.startswith("layer_with_weights-") for v in weights)
        told = {next(iter(v.aliases.get("layer_path", ("",)))) for v in checkpoint.variables.values()}
        assert {next(iter(v.aliases["full_name"])) for v in weights} == told


def test_the_default_is_the_sources(tmp_path):
    assert convert(whole_h5()[0], tmp_path / "out", to="tf2", optimizer="drop").verdict == "verified"
    with open_checkpoint(tmp_path / "out") as written:
        assert any(name.startswith("layer_with_weights-0/") for name in written.variables)


def test_classes_that_nothing_tells_are_a_warning(tmp_path):
    """A weights-only file names what a TimeDistributed wraps as if it were the wrapper's own."""
    report = convert(FIXTURES / "keras-h5" / "k23_weights" / "model.h5", tmp_path / "out", to="tf2", flavor="tf_keras")
    assert "TimeDistributed" in next(i.message for i in report.issues if i.severity == "warning")


def test_what_nothing_tells_is_an_error(tmp_path):
    source = FIXTURES / "tf2" / "weights_only" / "weights"
    report = convert(source, tmp_path / "out", to="tf2", flavor="keras3")
    assert report.verdict == "refused"
    (issue,) = [issue for issue in report.issues if issue.severity == "error"]
    assert "nothing tells the order of the model's layers" in issue.message
    assert "--template" in issue.hint


TEMPLATED = {
    "keras2_weights/m.weights.h5": ("keras2_adam/m.keras", "layer_with_weights-1/moving_mean", "bn/moving_mean"),
    "keras3_weights/m.weights.h5": ("keras3_adam/m.keras", "_functional/_operations/2/moving_mean", "bn/moving_mean"),
    "keras3_layers_weights/m.weights.h5": ("keras3_layers/m.keras", "_operations/7/kernel", "transposed/kernel"),
}


@pytest.mark.parametrize("source", TEMPLATED)
def test_a_keras_file_as_template_tells_the_objects(source, tmp_path):
    """Its configuration, that is: weights alone number classes, or name layers, and don't tell their order."""
    template, path, name = TEMPLATED[source]
    given, options = FIXTURES / "keras-v3" / template, {"to": "tf2", "optimizer": "drop"}
    report = convert(FIXTURES / "keras-v3" / source, tmp_path / "out", template=str(given), **options)
    assert report.verdict == "verified", report.issues
    with open_checkpoint(tmp_path / "out") as written, open_checkpoint(given) as wanted:
        assert written.variables[path].tensor.shape == wanted.variables[name].tensor.shape
        assert written.variables[path].aliases["layer_path"] == (name,)
        assert not any(variable.startswith("layers/") for variable in written.variables)


def test_a_template_without_a_configuration_tells_no_objects(tmp_path):
    weights = FIXTURES / "keras-v3" / "keras3_weights" / "m.weights.h5"
    report = convert(weights, tmp_path / "out", to="tf2", template=str(weights), optimizer="drop")
    (issue,) = [issue for issue in report.issues if issue.severity == "error"]
    assert "doesn't tell the model's objects" in issue.message
    assert "tf.train.Checkpoint" in issue.hint


def test_weights_alone_among_objects_are_a_warning(tmp_path):
    report = convert(FIXTURES / "keras-v3/keras3_weights/m.weights.h5", tmp_path / "out", to="tf2", optimizer="drop")
    (issue,) = [issue for issue in report.issues if issue.kind == "flavor"]
    assert (issue.severity, "--template" in issue.hint) == ("warning", True)


def test_layers_of_ones_own_need_a_checkpoint():
    """What such a layer calls its parts, no configuration tells."""
    model = Configured("m", "Functional", layers=(Configured("enc", "", called="Block"),))
    layout = [layer("enc", "Block", "first/vars/0")]
    with pytest.raises(LookupError, match="enc, whose class Block"):
        object_paths(model, layout, "keras3")
    assert list(object_paths(model, layout, "keras3", guesses=True).values()) == ["_operations/0/first/vars/0"]
