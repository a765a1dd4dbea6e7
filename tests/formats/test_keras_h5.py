"""Legacy Keras HDF5 files: names, layers, roles, trainability and optimizer state as their configuration says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.formats import identify, open_checkpoint
from ckptmigrate.table import Checkpoint

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "keras-h5"


def opened(name: str) -> Checkpoint:
    return open_checkpoint(next((FIXTURES / name).glob("model.*")))


def paths(checkpoint: Checkpoint) -> list[str]:
    return sorted(path for v in checkpoint.variables.values() for path in v.aliases.get("layer_path", ()))


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a fixture after a change."""

    def make(name: str, change: Callable[[Any], object]) -> Path:
        path = shutil.copy(FIXTURES / name / "model.h5", tmp_path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


# layer -> paths of its variables, whichever Keras wrote the file
SPELLED = {
    "norm": ["mean", "variance", "count"],
    "dw": ["depthwise_kernel", "bias"],
    "td": ["layer/kernel", "layer/bias"],
    "mha": [f"{part}_dense/{leaf}" for part in ("query", "key", "value", "output") for leaf in ("kernel", "bias")],
    "bi": [
        f"{way}_layer/cell/{leaf}" for way in ("forward", "backward") for leaf in ("kernel", "recurrent_kernel", "bias")
    ],
    "gru": ["cell/kernel", "cell/recurrent_kernel", "cell/bias"],
    "stack": [f"cell/cells/{n}/{leaf}" for n in (0, 1) for leaf in ("kernel", "recurrent_kernel", "bias")],
    "bn_frozen": ["beta", "moving_mean", "moving_variance"],
    "sub": [
        *("b/gamma", "b/beta", "c/kernel", "c/bias"),
        *("inner/deep/kernel", "inner/deep/bias", "inner/deep_bn/gamma", "inner/deep_bn/beta"),
        *("a/kernel", "a/bias", "b/moving_mean", "b/moving_variance"),
        *("inner/deep_bn/moving_mean", "inner/deep_bn/moving_variance"),
    ],
}


@pytest.mark.parametrize("name", ["tfk_zoo_model", "k3_zoo_model"])
def test_one_spelling_of_every_kind_of_layer(name):
    checkpoint = opened(name)
    layout = {layer.name: [path for path, _ in layer.attributes] for layer in checkpoint.structure.layout or ()}
    assert {layer: layout[layer] for layer in SPELLED} == SPELLED
    assert layout["join"] == []
    assert len(paths(checkpoint)) == len(checkpoint.variables)


def test_both_keras_spell_alike():
    assert paths(opened("tfk_zoo_model")) == paths(opened("k3_zoo_model"))


def test_names_alone_tell_most():
    """Without a configuration: cells, directions and attention are known by name; wrappers and inner models aren't."""
    known, alone = set(paths(opened("tfk_zoo_model"))), set(paths(opened("tfk_zoo")))
    assert {path.split("/")[0] for path in known ^ alone} == {"td", "stack", "sub"}


def test_names():
    names = list(opened("k3_subclassed").variables)
    assert names == [
        *(f"enc/{inner}/{leaf}" for inner in ("inner1", "inner2") for leaf in ("kernel", "bias")),
        *(f"{row}/{leaf}" for row in ("row0", "row1") for leaf in ("kernel", "bias")),
        "own/scale",
    ]
    first = next(iter(opened("k1_adam").variables.values()))
    assert (first.name, first.key) == (
        "convolution2d_1/convolution2d_1_W",
        "model_weights/convolution2d_1/convolution2d_1_W:0",
    )
    assert first.aliases["h5_path"] == ("convolution2d_1/convolution2d_1_W:0",)


def test_frozen_layers_and_statistics_are_not_trainable():
    variables = opened("tfk_zoo_model").variables
    fixed = {name for name, v in variables.items() if v.trainable is False}
    assert fixed == {
        *("norm/mean", "norm/variance", "norm/count", "bn/moving_mean", "bn/moving_variance"),
        *("bn_frozen/beta", "bn_frozen/moving_mean", "bn_frozen/moving_variance"),
        *("sub/a/kernel", "sub/a/bias", "sub/b/moving_mean", "sub/b/moving_variance"),
        *("sub/deep_bn/moving_mean", "sub/deep_bn/moving_variance"),
    }
    assert variables["bn/moving_variance"].role == "bn_variance"
    assert opened("k1_adam").variables["batchnormalization_1/batchnormalization_1_running_std"].role == "bn_variance"


def test_kernels_that_may_be_turned_have_no_path():
    """Keras 1 doesn't tell its backend: whether a kernel is flipped, only a rule may say."""
    kernels = {n: v.aliases.get("layer_path") for n, v in opened("k1_adam").variables.items() if n.endswith("_W")}
    assert kernels["convolution2d_1/convolution2d_1_W"] is None
    assert kernels["dense_1/dense_1_W"] == ("dense_1/kernel",)


# fixture -> kind, dialect, step, names of scalars, slots of one variable
STATES = {
    "k1_adam": ("adam", "keras1", 2, ["iter"], ["m", "v"]),
    "k1_rmsprop": ("rmsprop", "keras1", None, [], ["rms"]),
    "k22_nadam": ("nadam", "keras1", 2, ["iter"], ["m", "v"]),
    "k23_nadam": ("nadam", "keras1", 2, ["iter", "momentum_cache"], ["m", "v"]),
    "k23_adadelta": ("adadelta", "keras1", 2, ["iter"], ["accum_grad", "accum_var"]),
    "tfk_zoo_model": ("adam", "keras-legacy", 2, ["iter"], ["m", "v"]),
    "tfk_named_keras": ("rmsprop", "keras-legacy", 2, ["iter"], ["rms", "momentum", "mg"]),
    "tfk_legacy_nadam": ("nadam", "keras-legacy", 2, ["iter", "momentum_cache"], ["m", "v"]),
    "tfk_legacy_ftrl": ("ftrl", "keras-legacy", 2, ["iter"], ["accumulator", "linear"]),
    "tfk_legacy_sgd": ("momentum", "keras-legacy", 2, ["iter"], ["momentum"]),
    "tfk_loss_scale": ("adam", "keras-legacy", 2, ["iter"], ["m", "v"]),
    "tfk_adam": ("adam", "keras2", 2, ["iter"], ["m", "v"]),
    "tfk_amsgrad": ("adamw", "keras2", 2, ["iter"], ["m", "v", "vhat"]),
    "tfk_rmsprop": ("rmsprop", "keras2", 2, ["iter"], ["rms", "momentum", "mg"]),
    "k3_zoo_model": ("adam", "keras3", 2, ["iter", "learning_rate"], ["m", "v"]),
    "k3_schedule": ("adam", "keras3", 2, ["iter"], ["m", "v"]),
    "k3_nadam": ("nadam", "keras3", 2, ["iter", "learning_rate", "momentum_cache"], ["m", "v"]),
    "k3_ftrl": ("ftrl", "keras3", 2, ["iter", "learning_rate"], ["accumulator", "linear"]),
}


@pytest.mark.parametrize("name", STATES)
def test_optimizer_lists_get_their_owners(name):
    checkpoint = opened(name)
    (state,) = checkpoint.optimizers
    first = next(iter(state.slots)).variable
    slots = [key.slot for key in state.slots if key.variable == first]
    assert (state.kind, state.dialect, state.step, list(state.scalars), slots) == STATES[name]
    assert state.unbound == ()
    for key, stored in state.slots.items():
        assert stored.tensor.shape == checkpoint.variables[key.variable].tensor.shape
    trained = [v for v in checkpoint.variables.values() if v.trainable is not False]
    assert {key.variable for key in state.slots} == {v.name for v in trained}


def test_named_slots_have_the_owner_that_their_name_tells():
    state = opened("tfk_adam").optimizers[0]
    for key, stored in state.slots.items():
        assert stored.key == f"optimizer_weights/Adam/{key.slot}/{key.variable}:0"


def test_keras1_sorts_its_slots_by_name():
    """BatchNormalization's come before those of the convolution in front of it."""
    state = opened("k1_adam").optimizers[0]
    assert [key.variable.partition("/")[0] for key in state.order][:3] == [
        *["batchnormalization_1"] * 2,
        "convolution2d_1",
    ]


def test_placeholders_are_no_slots():
    state = opened("k23_adam").optimizers[0]
    assert {key.slot for key in state.slots} == {"m", "v"}
    assert sum(name.startswith("placeholder/") for name in state.scalars) == 11


def test_averages_are_a_state_of_their_own():
    state, shadows = opened("tfk_sgd_ema").optimizers
    assert (shadows.kind, shadows.parent, {key.slot for key in shadows.slots}) == ("ema", state.name, {"average"})
    assert {key.slot for key in state.slots} == {"momentum"}


def test_hyperparameters_come_from_the_configuration():
    hyper = opened("tfk_named_keras").optimizers[0].hyper
    assert {name: round(value, 5) for name, value in hyper.items()} == {
        "learning_rate": 0.01,
        "decay": 0.0,
        "rho": 0.9,
        "momentum": 0.9,
    }


def test_facts_and_configuration():
    checkpoint = opened("k3_zoo_model")
    assert checkpoint.metadata["keras_version"].startswith("3.")
    assert checkpoint.metadata["model"] == {"name": "zoo", "class": "Functional", "layers": 24}
    assert checkpoint.metadata["optimizer"]["class"] == "Adam"
    assert json.loads(checkpoint.structure.blobs["model_config"])["config"]["name"] == "zoo"
    assert "training_config" in checkpoint.structure.blobs


def test_attributes_cut_into_pieces():
    checkpoint = opened("tfk_long_names")
    assert len(checkpoint.structure.layout or ()) == 301
    assert list(checkpoint.variables) == ["last/kernel", "last/bias"]


def test_a_lambda_in_the_configuration_is_data(changed):
    def change(file):
        config = json.loads(file.attrs["model_config"])
        layer = {"class_name": "Lambda", "config": {"name": "evil", "function": ["raise SystemExit", None, None]}}
        config["config"]["layers"].append({"module": "os", "class_name": "system", "config": {"name": "rm"}})
        config["config"]["layers"].append(layer)
        file.attrs["model_config"] = json.dumps(config)

    with open_checkpoint(changed("tfk_adam", change)) as checkpoint:
        assert list(checkpoint.variables) == list(opened("tfk_adam").variables)


def nonsense(file):
    file.attrs["model_config"] = "{" * 100_000


def not_a_model(file):
    file.attrs["model_config"] = '{"class_name": 3}'


@pytest.mark.parametrize("change", [nonsense, not_a_model])
def test_a_broken_configuration_is_a_warning(change, changed):
    with open_checkpoint(changed("tfk_adam", change)) as checkpoint:
        assert [issue.severity for issue in checkpoint.issues] == ["warning"]
        assert len(checkpoint.variables) == 7


def names_of(file, names):
    file["model_weights/d1"].attrs["weight_names"] = np.array(names, "S")


def lost_layer(file):
    del file["model_weights/d1"]


def lost_weight(file):
    del file["model_weights/d1/d1/kernel:0"]


def lost_list(file):
    del file["model_weights/d1"].attrs["weight_names"]


def twice(file):
    names_of(file, [b"d1/kernel:0", b"d1/kernel:0"])


def elsewhere(file):
    names_of(file, [b"../bn/bn/gamma:0"])


def lost_slot(file):
    del file["optimizer_weights/Adam/m/d1/kernel:0"]


@pytest.mark.parametrize("change", [lost_layer, lost_weight, lost_list, twice, elsewhere, lost_slot])
def test_what_is_listed_must_be_there(change, changed):
    with pytest.raises(DamagedError, match=r"list of weights|isn't there|twice"):
        open_checkpoint(changed("tfk_adam", change))


def test_what_isnt_listed_is_read_with_a_warning(changed):
    with open_checkpoint(changed("tfk_adam", lambda file: names_of(file, [b"d1/kernel:0"]))) as checkpoint:
        assert "model_weights/d1/d1/bias:0" in checkpoint.variables
        assert "unlisted" in {issue.kind for issue in checkpoint.issues}


def test_plain_hdf5_is_no_keras_file(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["w"] = np.zeros(3)
    for format in ("", "keras-h5"):
        with pytest.raises(SourceError, match="not a Keras file"):
            open_checkpoint(path, format)


def test_the_name_decides_nothing():
    assert identify(FIXTURES / "tfk_named_keras" / "model.keras").format.name == "keras-h5"


def test_names_of_keras_1_that_are_no_utf8(changed):
    """The optimizer's order, which Keras 1 took from the names, is that of their bytes."""

    def rename(file):
        weights = file["model_weights/head"]
        names = [bytes(name).replace(b"head", b"h\xe4d") for name in weights.attrs["weight_names"]]
        for old, new in zip(weights.attrs["weight_names"], names, strict=True):
            weights.move(old, new)
        weights.attrs["weight_names"] = np.array(names)

    checkpoint = open_checkpoint(changed("k12_images_tf", rename))
    assert any("\udce4" in path for path in checkpoint.variables)
    assert len(checkpoint.optimizers) == 1
