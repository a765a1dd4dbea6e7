"""Optimizer nodes of object graphs, by the names of their children and slots."""

from __future__ import annotations

from typing import Any

import pytest

from ckptmigrate.optimizers import object_names, recognise_object
from ckptmigrate.optimizers.powers import power_after
from ckptmigrate.table import SlotKey, Stored

ADAM = {"iter": 7, "learning_rate": 0.5, "decay": 0.0, "beta_1": 0.5, "beta_2": 0.75}
RMSPROP = {"iter": 7, "learning_rate": 0.5, "decay": 0.0, "rho": 0.5, "momentum": 0.0}
SGD = {"iter": 7, "learning_rate": 0.5, "decay": 0.0, "momentum": 0.0}
PLAIN = {"iter": 7, "learning_rate": 0.5, "decay": 0.0}
FTRL = PLAIN | {
    "learning_rate_power": -0.5,
    "beta": 0.0,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
}
POWERS = {"beta1_power": float(power_after(0.9, 7)), "beta2_power": float(power_after(0.999, 7))}

# children, slots -> kind, dialect, step
NODES: dict[str, tuple[dict[str, Any], tuple[str, ...], str, str, int | None]] = {
    "adam": (ADAM, ("m", "v"), "adam", "keras-legacy", 7),
    "amsgrad": (ADAM, ("m", "v", "vhat"), "adam", "keras-legacy", 7),
    "adam under a schedule": (
        {k: v for k, v in ADAM.items() if k != "learning_rate"},
        ("m", "v"),
        "adam",
        "keras-legacy",
        7,
    ),
    "adam, fresh": (ADAM, (), "adam", "keras-legacy", 7),
    "sgd": (SGD, (), "sgd", "keras-legacy", 7),
    "momentum": (SGD | {"momentum": 0.5}, ("momentum",), "momentum", "keras-legacy", 7),
    "momentum, fresh": (SGD | {"momentum": 0.5}, (), "momentum", "keras-legacy", 7),
    "rmsprop": (RMSPROP, ("rms",), "rmsprop", "keras-legacy", 7),
    "rmsprop with momentum": (RMSPROP | {"momentum": 0.5}, ("rms", "momentum"), "rmsprop", "keras-legacy", 7),
    "rmsprop, centered": (RMSPROP, ("rms", "momentum", "mg"), "rmsprop", "keras-legacy", 7),
    "averages": ({}, ("average",), "ema", "tf1", None),
    "loss scale": (ADAM | {"current_loss_scale": 8.0, "good_steps": 3}, ("m", "v"), "adam", "keras-legacy", 7),
    "tf1 adam": (POWERS, ("m", "v"), "adam", "tf1", 7),
    "tf1 momentum": ({}, ("momentum",), "momentum", "tf1", None),
    "tf1 rmsprop": ({}, ("rms", "mg", "momentum"), "rmsprop", "tf1", None),
    "nadam": (ADAM | {"momentum_cache": 0.5}, ("m", "v"), "nadam", "keras-legacy", 7),
    "adagrad": (PLAIN, ("accumulator",), "adagrad", "keras-legacy", 7),
    "adagrad, fresh": (PLAIN, (), "adagrad", "keras-legacy", 7),
    "adadelta": (PLAIN | {"rho": 0.5}, ("accum_grad", "accum_var"), "adadelta", "keras-legacy", 7),
    "ftrl": (FTRL, ("accumulator", "linear"), "ftrl", "keras-legacy", 7),
    "unheard-of": (SGD, ("accumulator",), "unknown", "keras-legacy", 7),
    "tf1 adagrad": ({}, ("accumulator",), "adagrad", "tf1", None),
    "tf1 adadelta": ({}, ("accum", "accum_update"), "adadelta", "tf1", None),
    "tf1 ftrl": ({}, ("accum", "linear"), "ftrl", "tf1", None),
    "only a counter": ({"iter": 7}, (), "unknown", "keras-legacy", 7),
    "nothing": ({}, (), "unknown", "tf1", None),
}


def node(make: Any, children: dict[str, Any], slots: tuple[str, ...], title: str = "") -> Any:
    scalars = {name: Stored(f"optimizer/{name}", tensor) for name, tensor in make.table(children).items()}
    stored = {SlotKey("w", slot): Stored(slot, make.shaped([3])) for slot in slots}
    return recognise_object("optimizer", scalars, stored, title=title)


@pytest.mark.parametrize("case", NODES)
def test_kind_and_dialect(make: Any, case: str) -> None:
    children, slots, *expected = NODES[case]
    state = node(make, children, slots)
    assert [state.kind, state.dialect, state.step] == expected
    assert {s.key for s in state.scalars.values()} == {f"optimizer/{name}" for name in children}
    assert {s.key for s in state.slots.values()} == set(slots)
    names = object_names(state)
    assert [names.slots[key.slot] for key in state.slots] == list(slots)
    spelled = {f"loss_scale/{n}" if n in ("current_loss_scale", "good_steps") else n for n in children}
    assert {names.scalars[name] for name in state.scalars} == spelled


def test_hyperparameters(make: Any) -> None:
    assert node(make, ADAM, ("m", "v")).hyper == {"learning_rate": 0.5, "decay": 0.0, "beta_1": 0.5, "beta_2": 0.75}


def test_a_title_tells_what_children_cannot(make: Any) -> None:
    """Adamax has Adam's children and slots."""
    assert node(make, ADAM, ("m", "v"), title="Adamax").kind == "adamax"
    assert node(make, {"beta1_power": POWERS["beta1_power"]}, ("m", "v"), title="AdaMax").kind == "adamax"
    assert node(make, {}, ("accumulator",), title="ProximalAdagrad").kind == "unknown"
    assert node(make, ADAM, ("m", "v"), title="Adam").kind == "adam"
    assert node(make, ADAM, ("m", "v"), title="MyAdam").kind == "adam"
