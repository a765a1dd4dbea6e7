"""Configurations of Keras 1 in the words of Keras 2."""

import json

import pytest

from ckptmigrate.keras1_config import translated


def layer(class_name, **settings):
    return {"class_name": class_name, "config": {"name": "x", **settings}}


def told(*layers):
    blobs, issues = translated(json.dumps({"class_name": "Sequential", "config": list(layers)}).encode())
    if not blobs:
        return issues[0].message
    return json.loads(blobs["model_config"])["config"]["layers"]


TH, TF = {"dim_ordering": "th"}, {"dim_ordering": "tf"}
DENSE = layer("Dense", output_dim=3, batch_input_shape=[None, 4], input_dtype="float32")

# Keras 1's layer -> what its class and settings become, beside the name
LAYERS = {
    "Dense": (
        layer("Dense", output_dim=3, init="uniform", bias=False, W_regularizer=None, activation="relu", input_dim=4),
        ("Dense", {"units": 3, "kernel_initializer": "random_uniform", "use_bias": False, "kernel_regularizer": None}),
    ),
    "penalties": (
        layer("Dense", output_dim=3, W_regularizer={"name": "WeightRegularizer", "l1": 0.0, "l2": 0.5}),
        ("Dense", {"kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}}),
    ),
    "constraints": (
        layer("Dense", output_dim=3, W_constraint={"name": "MaxNorm", "m": 2, "axis": 0}),
        ("Dense", {"kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}}),
    ),
    "convolution": (
        layer("Convolution2D", nb_filter=5, nb_row=3, nb_col=2, subsample=[1, 1], border_mode="same", **TH),
        ("Conv2D", {"filters": 5, "kernel_size": [3, 2], "strides": [1, 1], "data_format": "channels_first"}),
    ),
    "holes": (
        layer("AtrousConvolution2D", nb_filter=5, nb_row=3, nb_col=2, atrous_rate=[2, 2], **TF),
        ("Conv2D", {"dilation_rate": [2, 2], "data_format": "channels_last"}),
    ),
    "the way back": (
        layer("Deconvolution2D", nb_filter=5, nb_row=3, nb_col=2, output_shape=[None, 4, 4, 5], **TF),
        ("Conv2DTranspose", {"filters": 5}),
    ),
    "recurrent": (
        layer("LSTM", output_dim=3, forget_bias_init="one", consume_less="gpu", dropout_U=0.5, inner_activation="tanh"),
        (
            "LSTM",
            {"units": 3, "unit_forget_bias": True, "implementation": 2, "recurrent_dropout": 0.5}
            | {"recurrent_activation": "tanh"},
        ),
    ),
    "GRU": (layer("GRU", output_dim=3), ("GRU", {"reset_after": False})),
    "sides": (layer("ZeroPadding2D", padding=[1, 2, 3, 4], **TF), ("ZeroPadding2D", {"padding": [[1, 2], [3, 4]]})),
    "rows": (layer("Flatten"), ("Flatten", {"data_format": "channels_last"})),
    "rates": (layer("Dropout", p=0.25), ("Dropout", {"rate": 0.25})),
    "statistics": (layer("BatchNormalization", mode=0, axis=1), ("BatchNormalization", {"axis": 1})),
}


@pytest.mark.parametrize("what", LAYERS)
def test_a_layer(what):
    given, (name, settings) = LAYERS[what]
    found = told(given)[0]
    assert (found["class_name"], found["config"]["name"]) == (name, "x")
    assert settings.items() <= found["config"].items()
    assert not {"mode", "output_shape", "dim_ordering"} & found["config"].keys()


# what Keras 2 has no like of -> words of the message
STRANGE = {
    "Lambda": (layer("Lambda", function="lambda x: x"), "of class Lambda"),
    "Highway": (layer("Highway"), "of class Highway"),
    "a class of one's own": (layer("Mine"), "of class Mine"),
    "an unknown setting": (layer("Dense", output_dim=3, secret=1), "setting secret"),
    "an unknown activation": (layer("Dense", output_dim=3, activation="mine"), "activation mine"),
    "full borders": (layer("Convolution2D", nb_filter=1, nb_row=1, nb_col=1, border_mode="full", **TF), "padding full"),
    "samples by themselves": (layer("BatchNormalization", mode=1), "mode 1"),
    "padding by names": (layer("ZeroPadding2D", padding={"top_pad": 1}, **TF), "padding by names"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_keras_2_lacks_stays_behind(what):
    given, words = STRANGE[what]
    assert words in told(DENSE, given)


def test_a_first_layer_gets_an_input_in_front():
    first, second = told(DENSE)
    assert first["class_name"] == "InputLayer"
    assert first["config"] == {"name": "x_input", "batch_input_shape": [None, 4], "dtype": "float32"}
    assert "batch_input_shape" not in second["config"]


def test_a_model_in_a_sequential_stands_in_the_file_as_its_layers():
    inner = {"class_name": "Sequential", "config": [DENSE, layer("Dropout", p=0.5)]}
    assert [one["class_name"] for one in told(inner, layer("Flatten"))] == ["InputLayer", "Dense", "Dropout", "Flatten"]


def test_an_ordering_that_keras_1_forgot_is_the_others():
    padded = [layer("ZeroPadding2D", padding=[1, 1]), layer("UpSampling2D", size=[2, 2])]
    pools = [layer("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], border_mode="valid", **one) for one in (TH, TF)]
    found = told(*padded, pools[0])
    assert {one["config"]["data_format"] for one in found} == {"channels_first"}
    assert "ordering of layer 'x' isn't told" in told(*padded, *pools)


@pytest.mark.parametrize("config", [b"{", b"[]", b"null", b'{"class_name": "Model", "config": {}}', b"[" * 100_000])
def test_what_is_no_configuration_is_a_warning(config):
    blobs, issues = translated(config)
    assert blobs == {}
    assert [issue.severity for issue in issues] == ["warning"]
