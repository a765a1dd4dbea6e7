"""What of a model's configuration is translated, and what is refused before Keras sees it."""

import json
from pathlib import Path

import pytest

from ckptmigrate import convert
from ckptmigrate.errors import TargetError, UsageError
from ckptmigrate.framework import configuration
from ckptmigrate.framework.configuration import translate
from ckptmigrate.framework.configuring import RefusedError, check, compilation, renewed

pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def layer(class_name, config=None, **more):
    return {"class_name": class_name, "config": {"name": "x", **(config or {})}, **more}


# what -> (layer, words of the refusal)
REFUSED = {
    "a Lambda": (layer("Lambda", {"function": ["4wEAAAA=", None, None]}), "Lambda layer or function"),
    "a lambda in a setting": (
        layer("Dense", {"activation": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}),
        "__lambda__ layer or function",
    ),
    "a module of others": (layer("Dense", module="os"), "of os, which isn't imported"),
    "a module below keras": (layer("get_file", module="keras.utils"), "of keras.utils, which isn't imported"),
    "a function of Keras": (layer("deserialize", module="keras.layers"), "deserialize isn't Keras' own"),
    "a registered class": (layer("Dense", registered_name="Mine>Dense"), "Mine>Dense isn't Keras' own"),
    "a class of one's own": (layer("Mine"), "Mine isn't Keras' own"),
    "no name": (layer(["Dense"]), "isn't Keras' own"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_keras_own_is_refused(what):
    told, words = REFUSED[what]
    with pytest.raises(RefusedError, match=words):
        check({"class_name": "Sequential", "config": {"layers": [told]}})


def test_what_is_keras_own_is_not():
    initial = {"class_name": "GlorotUniform", "module": "keras.initializers", "config": {}, "registered_name": None}
    check({"class_name": "Functional", "config": {"layers": [layer("Dense", {"kernel_initializer": initial})]}})


def test_calls_of_inner_models_are_counted_from_nought():
    """tf_keras counts a model's own making as its first call."""
    places = [["start", 0, 0, {}]], [["inner", 1, 0, {}]]
    layers = [
        {**layer("InputLayer"), "name": "start", "inbound_nodes": []},
        {**layer("Dense"), "name": "inner", "inbound_nodes": [places[0]]},
        {**layer("Dense"), "name": "last", "inbound_nodes": [places[1]]},
    ]
    config = {"layers": layers, "input_layers": [["start", 0, 0]], "output_layers": [["last", 0, 0]]}
    found = renewed({"class_name": "Model", "config": config})["config"]
    calls = [node["args"][0]["config"]["keras_history"] for one in found["layers"] for node in one["inbound_nodes"]]
    assert calls == [["start", 0, 0], ["inner", 0, 0]]


def test_optimizers_keep_the_settings_that_they_still_have():
    keras = pytest.importorskip("keras")
    told = {"optimizer_config": {"class_name": "SGD", "config": {"lr": 0.5, "decay": 0.0, "momentum": 0.25}}}
    found = compilation(keras, {**told, "loss": "mse", "metrics": ["accuracy", {"class_name": "Mine"}]})
    assert (float(found["optimizer"].learning_rate), found["optimizer"].momentum) == (0.5, 0.25)
    assert (found["loss"], found["metrics"]) == ("mse", ["accuracy"])


def test_a_child_that_refuses(tmp_path):
    config = json.dumps({"class_name": "Sequential", "config": [layer("Lambda")]})
    with pytest.raises(TargetError, match=r"can't be translated for Keras 3: it holds a Lambda") as caught:
        translate(config, "", "keras3", "model.h5", is_new=False)
    assert "--template" in caught.value.hint


def test_a_keras_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(configuration, "FLAVORS", {"keras3": "no_such_keras"})
    with pytest.raises(UsageError, match="isn't installed") as caught:
        translate("{}", "", "keras3", "model.h5", is_new=False)
    assert "pip install 'ckptmigrate[tensorflow]'" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("to", "name"), [("keras-h5", "m.h5"), ("keras-v3", "m.keras")])
def test_what_keras_3_tells_is_not_for_tf_keras(tmp_path, to, name):
    source, asked = FIXTURES / "keras-v3" / "keras3_adam" / "m.keras", {"to": to, "flavor": "tf_keras"}
    with pytest.raises(TargetError, match="told by Keras 3, and tf_keras can't read that") as refused:
        convert(source, tmp_path / name, **asked)
    assert refused.value.hint == (
        "build the model anew with tf_keras, save it, and add it as --template; "
        "or write weights alone: --to keras-v3, NAME.weights.h5"
    )
    template = {"keras-h5": "keras-h5/tfk_adam/model.h5", "keras-v3": "keras-v3/keras2_adam/m.keras"}[to]
    assert convert(source, tmp_path / name, **asked, template=str(FIXTURES / template)).verdict == "verified"
    asked["to"] = "keras-v3"
    assert convert(source, tmp_path / "m.weights.h5", **asked).verdict == "verified"
