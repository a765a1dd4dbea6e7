"""What rules call the weights of old Keras' files: told by names, shapes and configurations, made up and real."""

import json
from pathlib import Path

import pytest

import ckptmigrate
from ckptmigrate.formats.keras_config import read_config
from ckptmigrate.formats.keras_h5.old_layers import Weight
from ckptmigrate.formats.keras_h5.old_names import old_names

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "keras-h5"


def named(*weights, version="", backend="", layers=None):
    """The names of weights given as (group, name as stored, shape)."""
    config = {"class_name": "Sequential", "config": layers} if layers is not None else None
    model = read_config(json.dumps(config), "x") if config else None
    return old_names([Weight(*w) for w in weights], model, version, backend)


def conv(shape, out, ending=":0", name="convolution2d_1"):
    return (name, f"{name}_W{ending}", shape), (name, f"{name}_b{ending}", (out,))


def configured(class_name, **settings):
    return [{"class_name": class_name, "config": settings}]


# what -> (weights, configuration, names without the family)
KERNELS = {
    "th by its bias": (conv((5, 4, 3, 2), 5), None, "Convolution2D.th/convolution2d_1/W"),
    "tf by its bias": (conv((3, 2, 4, 5), 5), None, "Convolution2D.tf/convolution2d_1/W"),
    "not told": (conv((5, 2, 4, 5), 5), None, "Convolution2D.unknown/convolution2d_1/W"),
    "told by the configuration": (
        conv((5, 2, 4, 5), 5, name="c"),
        configured("Convolution2D", name="c", nb_filter=5, dim_ordering="th"),
        "Convolution2D.th/c/W",
    ),
    "a configuration of another model": (
        conv((3, 2, 4, 5), 5, name="c"),
        configured("Convolution2D", name="c", nb_filter=5, dim_ordering="th"),
        "Convolution2D.unknown/c/W",
    ),
    "up to 1.0.8": (conv((5, 4, 3, 1), 5, name="convolution1d_2"), None, "Convolution1D.th/convolution1d_2/W"),
    "from 1.1.0": (conv((3, 1, 4, 5), 5, name="convolution1d_2"), None, "Convolution1D.tf/convolution1d_2/W"),
    "one filter, as 1.1.0 has it": (
        conv((3, 1, 3, 1), 1, name="line"),
        configured("Convolution1D", name="line", nb_filter=1, filter_length=3),
        "Convolution1D.tf/line/W",
    ),
    "three filters of one channel, as 1.0.8 has them": (
        conv((3, 1, 3, 1), 3, name="line"),
        configured("Convolution1D", name="line", nb_filter=3, filter_length=3),
        "Convolution1D.th/line/W",
    ),
    "with a counter of TensorFlow's": ((("b1", "b1_W_1:0", (3, 3, 4, 5)),), None, "Convolution2D.unknown/b1/W"),
    "three dimensions": (conv((3, 3, 3, 4, 5), 5, name="v"), None, "Convolution3D.tf/v/W"),
    "separable": (
        (("s", "s_depthwise_kernel:0", (1, 4, 3, 3)), ("s", "s_pointwise_kernel:0", (7, 4, 1, 1))),
        None,
        "SeparableConvolution2D.th/s/depthwise_kernel",
    ),
    "a class of one's own": (
        (("m", "m_W:0", (3, 3, 4, 5)),),
        configured("Mine", name="m"),
        "Mine/m/W",
    ),
    "a matrix of one's own": ((("m", "m_W:0", (4, 5)),), configured("Mine", name="m"), "own/m/W"),
}


@pytest.mark.parametrize("what", KERNELS)
def test_class_and_ordering(what):
    weights, layers, expected = KERNELS[what]
    assert named(*weights, layers=layers).names[0] == f"keras1-tensorflow/{expected}"


def test_the_backend_by_endings():
    theano, tensorflow = conv((5, 4, 3, 2), 5, ""), conv((5, 4, 3, 2), 5)
    assert named(*theano).family == "keras1-theano"
    assert named(*tensorflow).family == "keras1-tensorflow"
    mixed = named(theano[0], tensorflow[1])
    assert mixed.family == "keras1-unknown"
    (issue,) = (issue for issue in mixed.issues if issue.kind == "kernels")
    assert (issue.severity, "keras/keras1_theano" in issue.hint) == ("warning", True)


def test_kernels_go_by_their_neighbours_with_a_warning():
    found = named(*conv((5, 2, 4, 5), 5), *conv((7, 5, 3, 3), 7, name="convolution2d_2"))
    assert found.names[0].split("/")[1] == "Convolution2D.th"
    assert [issue.severity for issue in found.issues if issue.kind == "guess"] == ["warning"]


def test_orderings_that_disagree_tell_nothing_of_a_third():
    others = (*conv((7, 5, 3, 3), 7, name="c_1"), *conv((3, 3, 5, 7), 7, name="c_2"))
    found = named(*conv((5, 2, 4, 5), 5), *others)
    assert [name.split("/")[1] for name in found.names[::2]] == [f"Convolution2D.{o}" for o in ("unknown", "th", "tf")]


def test_wrappers_and_models_by_the_configuration():
    inner = {"class_name": "LSTM", "config": {"name": "lstm_1"}}
    layers = configured("Bidirectional", name="both", layer=inner)
    found = named(("both", "backward_lstm_1_U_o", (3, 3)), layers=layers)
    assert found.names == ["keras1-theano/LSTM/both/backward_layer/U_o"]


@pytest.mark.parametrize("version", ["2.2.4", "2.15.0", "3.0.0"])
def test_later_files_are_not_old(version):
    assert named(*conv((3, 3, 4, 5), 5), version=version, backend="tensorflow").names == []
    assert named(("d", "d/kernel:0", (4, 5))).names == []


def test_keras_2_on_theano():
    weights = [("conv2d_1", "conv2d_1/kernel", (3, 3, 4, 5)), ("d", "d/kernel", (4, 5)), ("c", "c/kernel", (3, 4, 5))]
    found = named(*weights, version="2.1.0", backend="theano")
    kinds = [name.split("/")[1] for name in found.names]
    assert (found.family, kinds) == ("keras2-theano", ["Conv2D", "other", "Conv1D"])
    assert [issue.kind for issue in found.issues] == ["guess", "kernels"]


@pytest.mark.parametrize(("version", "severity"), [("1.0.5", "warning"), ("", "note"), ("1.0.6", None)])
def test_standard_deviations(version, severity):
    found = named(("bn", "bn_running_std:0", (3,)), version=version)
    assert [issue.severity for issue in found.issues if issue.kind == "statistics"] == [severity] * (
        severity is not None
    )


def test_even_kernels_that_theano_shifts():
    settings = {"name": "c", "nb_filter": 5, "dim_ordering": "th", "border_mode": "same", "nb_row": 2, "nb_col": 3}
    shifted = named(*conv((5, 4, 2, 3), 5, "", "c"), layers=configured("Convolution2D", **settings))
    assert [issue.kind for issue in shifted.issues] == ["kernels", "padding"]


# fixture -> family, and the orderings of its kernels
REAL = {
    "k10_theano_sequence": ("keras1-theano", {"th"}),
    "k12_sequence": ("keras1-tensorflow", {"tf"}),
    "k12_images_th": ("keras1-tensorflow", {"th"}),
    "k12_theano_images_tf": ("keras1-theano", {"tf"}),
    "k12_theano_images_weights": ("keras1-theano", {"th"}),
    "k12_volumes_th": ("keras1-tensorflow", {"th"}),
    "k2_theano_weights": ("keras2-theano", set()),
    "k22_weights": ("", set()),
    "tfk_zoo": ("", set()),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(name):
    with ckptmigrate.open(FIXTURES / name / "model.h5") as checkpoint:
        names = [v.aliases["old_keras"][0] for v in checkpoint.variables.values() if "old_keras" in v.aliases]
    families = {name.partition("/")[0] for name in names} or {""}
    orders = {name.split("/")[1].partition(".")[2] for name in names} - {""}
    assert (families, orders) == ({REAL[name][0]}, REAL[name][1])
    assert len(names) in (0, len(checkpoint.variables))


def test_counters_of_tensorflow_hide_no_statistics():
    """`bn_running_mean_1:0`: the second model of a process."""
    with ckptmigrate.open(FIXTURES / "k12_images_tf" / "model.h5") as checkpoint:
        roles = {name: v.role for name, v in checkpoint.variables.items() if "running" in name}
        (state,) = checkpoint.optimizers
    assert roles == {"bn/bn_running_mean_1": "bn_mean", "bn/bn_running_std_1": "bn_variance"}
    assert (state.unbound, len(state.slots)) == ((), 17)
