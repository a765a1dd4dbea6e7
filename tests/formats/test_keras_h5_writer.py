"""Legacy Keras HDF5 files as we write them: layers in order, names by flavor, and what such a file can't hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.dtypes import BY_NAME, from_numpy
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.formats.keras_h5.writer import WRITER
from ckptmigrate.table import Checkpoint, Layer, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def tensor(values: Any, dtype: str = "float32") -> Tensor:
    known = BY_NAME[dtype]
    return Tensor.of(np.asarray(values).astype(known.numpy), known)


def checkpoint(*names: str, **rest: Any) -> Checkpoint:
    variables = {name: Variable(name, tensor([number, 1]), "") for number, name in enumerate(names)}
    return Checkpoint(Path("plan"), "plan", variables, **rest)


def adam(*slots: tuple[str, str], dialect: str = "keras-legacy", **rest: Any) -> OptimizerState:
    held = {SlotKey(*slot): Stored("", tensor([n, 2])) for n, slot in enumerate(slots)}
    scalars = {"iter": Stored("", tensor(3, "int64"))}
    return OptimizerState("optimizer", "adam", dialect, 3, scalars=scalars, slots=held, **rest)


def written(plan: Checkpoint, folder: Path, **options: Any) -> Path:
    WRITER.write(plan, folder, "x.h5", WriteOptions(**options))
    return folder / "x.h5"


def text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def names_in(path: Path) -> dict[str, list[str]]:
    """Layer -> names of its weights, as Keras reads them."""
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        layers = map(text, group.attrs["layer_names"])
        return {layer: list(map(text, group[layer].attrs["weight_names"])) for layer in layers}


def told(plan: Checkpoint, **options: Any) -> list[tuple[str, str, str]]:
    return [(i.severity, i.kind, i.name) for i in WRITER.check(plan, WriteOptions(**options))]


@pytest.mark.parametrize(("flavor", "ending"), [("", ":0"), ("tf_keras", ":0"), ("keras3", ""), ("paths", ":0")])
def test_flavors_spell_names(flavor, ending, tmp_path):
    layers = (Layer("d", "Dense", (("kernel", "d/kernel"),)),)
    plan = checkpoint("d/kernel", structure=Structure(layout=layers))
    path = written(plan, tmp_path, flavor=flavor)
    assert names_in(path) == {"d": [f"d/kernel{ending}"]}
    with h5py.File(path) as file:
        assert str(file.attrs["keras_version"]).startswith("3" if flavor == "keras3" else "2")


@pytest.mark.parametrize("source", ["tfk_adam", "k3_sgd"])
def test_names_and_versions_stay_the_sources(source, tmp_path):
    original = FIXTURES / "keras-h5" / source / "model.h5"
    target = tmp_path / "x.h5"
    assert convert(original, target, to="keras-h5").verdict == "verified"
    assert names_in(target) == names_in(original)
    with h5py.File(original) as a, h5py.File(target) as b:
        assert dict(a.attrs) == {k: v for k, v in b.attrs.items() if k != "ckptmigrate.provenance"}
        assert dict(a["model_weights"].attrs.items()).keys() == dict(b["model_weights"].attrs.items()).keys()
        listed = [list(map(text, f["optimizer_weights"].attrs["weight_names"])) for f in (a, b)]
    assert listed[0] == listed[1]


def test_a_file_of_keras_1_gets_a_version(tmp_path):
    """Loaders would convert the weights of a file that tells none once more."""
    target = tmp_path / "x.h5"
    convert(FIXTURES / "keras-h5" / "k1_nested" / "model.h5", target, to="keras-h5")
    with h5py.File(target) as file:
        assert set(file.attrs) == {"layer_names", "ckptmigrate.provenance", "keras_version", "backend"}
        assert text(file.attrs["keras_version"]) == "2.2.4"


def test_trained_weights_come_first(tmp_path):
    """In the order of an archive, statistics stand between; a legacy file has them last."""
    held = ("m/bn/gamma", "m/bn/moving_mean", "m/d/kernel")
    layers = (Layer("m", "Functional", tuple((name, name) for name in held)), Layer("drop", "Dropout"))
    plan = checkpoint(*held, structure=Structure(layout=layers))
    frozen = {"m/bn/moving_mean": replace(plan.variables["m/bn/moving_mean"], trainable=False)}
    plan = replace(plan, variables={**plan.variables, **frozen})
    path = written(plan, tmp_path, flavor="keras3")
    assert names_in(path) == {"m": ["m/bn/gamma", "m/d/kernel", "m/bn/moving_mean"], "drop": []}


def test_without_a_layout_names_tell_the_layers(tmp_path):
    plan = checkpoint("model/b/kernel", "model/a/kernel", "model/b/bias")
    assert ("warning", "layout", "") in told(plan)
    assert names_in(written(plan, tmp_path)) == {
        "b": ["model/b/kernel:0", "model/b/bias:0"],
        "a": ["model/a/kernel:0"],
    }


def test_a_variable_of_no_layer_is_the_models_own(tmp_path):
    plan = checkpoint("scale", structure=Structure(layout=()))
    assert ("warning", "layout", "scale") in told(plan)
    with h5py.File(written(plan, tmp_path)) as file:
        assert list(file["top_level_model_weights"].attrs["weight_names"]) == [b"scale:0"]


def test_what_keras_has_no_place_for():
    words = Variable("words", Tensor((1,), BY_NAME["string"]), "", "table")
    step = Variable("step", tensor(1, "int64"), "", "counter")
    state = Variable("seed", tensor([1], "int64"), "", "rng")
    plan = replace(checkpoint("d/kernel"), variables={v.name: v for v in (words, step, state)})
    assert [t for t in told(plan) if t[1] == "unholdable"] == [
        ("loss", "unholdable", "words"),
        ("note", "unholdable", "step"),
        ("note", "unholdable", "seed"),
    ]


def test_a_layer_that_lacks_weights_is_told():
    layers = (Layer("d", "Dense", (("kernel", "d/kernel"), ("bias", ""))),)
    assert ("warning", "incomplete", "d") in told(checkpoint("d/kernel", structure=Structure(layout=layers)))


def test_names_that_hdf5_does_not_take(tmp_path):
    """A dataset where a group is wanted, empty parts, dots, NUL, a surrogate: other names, the same variables."""
    odd = ("a/b", "a/b/c", "d//e", "f/../g", "h/n\0l", "i/\udc80")
    layers = (Layer("layer", "", tuple((name, name) for name in odd)),)
    path = written(checkpoint(*odd, structure=Structure(layout=layers)), tmp_path, flavor="keras3")
    with open_checkpoint(path) as read:
        assert [v.tensor.read().tolist()[0] for v in read.variables.values()] == [0, 1, 2, 3, 4, 5]


def test_types_that_hdf5_lacks(tmp_path):
    values = np.arange(3).astype(ml_dtypes.bfloat16)
    dtype = from_numpy(values.dtype)
    assert dtype is not None
    plan = replace(checkpoint(), variables={"d/k": Variable("d/k", Tensor.of(values, dtype), "")})
    assert ("warning", "unread", "d/k") in told(plan)
    with open_checkpoint(written(plan, tmp_path)) as read:
        (variable,) = read.variables.values()
        assert (variable.tensor.dtype.name, variable.tensor.read().tobytes()) == ("bfloat16", values.tobytes())


DENSE = Structure(layout=(Layer("d", "Dense", (("kernel", "d/kernel"), ("bias", "d/bias"))),))
SLOTS = [(name, slot) for slot in "mv" for name in ("d/bias", "d/kernel")]

LISTED = {
    "keras1": [  # Keras 2.2's, with dummies for the vhat that only AMSGrad has
        "Adam/iterations:0",
        *(f"training/Adam/{slot}_{n}:0" for n, slot in enumerate("mmvv", 1)),
        *(f"training/Adam/Variable_{n}:0" for n in (5, 6)),
    ],
    "keras-legacy": ["Adam/iter:0", *(f"Adam/d/{leaf}/{slot}:0" for slot in "mv" for leaf in ("kernel", "bias"))],
    "keras2": ["iteration:0", *(f"Adam/{slot}/d/{leaf}:0" for leaf in ("kernel", "bias") for slot in "mv")],
    "keras3": [
        "adam/iteration",
        *(f"adam/d_{leaf}_{slot}" for leaf in ("kernel", "bias") for slot in ("momentum", "velocity")),
    ],
}


@pytest.mark.parametrize("dialect", LISTED)
def test_optimizers_are_listed_in_their_dialects_order(dialect, tmp_path):
    plan = checkpoint("d/kernel", "d/bias", optimizers=(adam(*SLOTS, dialect=dialect),), structure=DENSE)
    path = written(plan, tmp_path)
    with h5py.File(path) as file:
        assert [n.decode() for n in file["optimizer_weights"].attrs["weight_names"]] == LISTED[dialect]
    with open_checkpoint(path) as read:
        (state,) = read.optimizers
        assert (state.kind, state.dialect, state.step, state.unbound) == ("adam", dialect, 3, ())
        for key, stored in plan.optimizers[0].slots.items():
            assert state.slots[key].tensor.read().tolist() == stored.tensor.read().tolist()


def test_averages_stand_in_front_of_the_slots(tmp_path):
    averages = OptimizerState(
        "optimizer/average",
        "ema",
        "keras3",
        slots={SlotKey(f"d/{leaf}", "average"): Stored("", tensor([7, 7])) for leaf in ("kernel", "bias")},
    )
    plan = checkpoint("d/kernel", "d/bias", optimizers=(adam(*SLOTS, dialect="keras3"), averages), structure=DENSE)
    with open_checkpoint(written(plan, tmp_path)) as read:
        assert [state.kind for state in read.optimizers] == ["adam", "ema"]


def refused(plan: Checkpoint) -> set[str]:
    return {name for severity, kind, name in told(plan) if (severity, kind) == ("loss", "unholdable")}


def test_slots_that_would_go_to_others_are_refused():
    """A list is read by position: one slot less moves all that follow."""
    partial = adam(("d/kernel", "m"), ("d/bias", "m"), ("d/kernel", "v"))
    plan = checkpoint("d/kernel", "d/bias", optimizers=(partial,), structure=DENSE)
    assert refused(plan) == {"d/kernel:m", "d/bias:m", "d/kernel:v"}


def test_a_second_optimizer_and_lone_averages_are_refused():
    second = replace(adam(("d/kernel", "m"), ("d/kernel", "v")), name="other")
    slots = {SlotKey("d/bias", "average"): Stored("", tensor([1, 1]))}
    averages = OptimizerState("average", "ema", "keras-legacy", slots=slots)
    plan = checkpoint("d/kernel", "d/bias", optimizers=(adam(*SLOTS), second, averages), structure=DENSE)
    assert refused(plan) == {"d/kernel:m", "d/kernel:v", "d/bias:average"}


def test_a_template_gives_layers_names_and_configuration(tmp_path):
    template = FIXTURES / "keras-h5" / "tfk_adam" / "model.h5"
    source, target = FIXTURES / "tf2" / "keras_adam" / "ckpt-1", tmp_path / "x.h5"
    report = convert(source, target, to="keras-h5", template=str(template), optimizer="drop")
    assert report.verdict == "verified", report.issues
    assert names_in(target) == names_in(template)
    with h5py.File(target) as file, h5py.File(template) as other:
        assert file.attrs["model_config"] == other.attrs["model_config"]
        assert "optimizer_weights" not in file


def test_the_way_back_from_a_container(tmp_path):
    """Layers, names and configuration lie in the document."""
    source = FIXTURES / "keras-h5" / "k3_zoo_model" / "model.h5"
    assert convert(source, tmp_path / "x.npz", to="npz").verdict == "verified"
    assert convert(tmp_path / "x.npz", tmp_path / "x.h5", to="keras-h5").verdict == "verified"
    assert names_in(tmp_path / "x.h5") == names_in(source)
