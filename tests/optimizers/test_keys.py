"""Keys of name-based files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptmigrate.optimizers import tf1_keys
from ckptmigrate.table import OptimizerState, SlotKey, Stored


def state(
    make: Any, kind: str, dialect: str, slots: Mapping[str, str], *, name: str = "optimizer", scalars: Any = ()
) -> Any:
    """Slots as {variable:slot -> stored key}."""
    keys = {SlotKey(*k.split(":")): Stored(key, make.shaped([3])) for k, key in slots.items()}
    held = {n: Stored("", make.value(0.5)) for n in scalars}
    return OptimizerState(name, kind, dialect, slots=keys, scalars=held)


def spelled(keys: Any) -> dict[str, str]:
    return {f"{k.variable}:{k.slot}": key for k, key in keys.slots.items()}


def test_tf1_spelling(make: Any) -> None:
    for kind, expected in {
        "momentum": {"w:momentum": "w/Momentum"},
        "adam": {"w:m": "w/Adam", "w:v": "w/Adam_1"},
        "rmsprop": {"w:rms": "w/RMSProp", "w:momentum": "w/RMSProp_1"},
        "ema": {"w:average": "w/ExponentialMovingAverage"},
        "unknown": {"w:Adagrad": "w/Adagrad"},
    }.items():
        assert spelled(tf1_keys(state(make, kind, "tf1", dict.fromkeys(expected, "")))) == expected
    centered = {"w:rms": "w/RMSProp", "w:mg": "w/RMSProp_1", "w:momentum": "w/RMSProp_2"}
    assert spelled(tf1_keys(state(make, "rmsprop", "tf1", dict.fromkeys(reversed(centered), "")))) == centered


def test_stored_keys_are_kept_while_they_fit(make: Any) -> None:
    stored = {"a/w:momentum": "a/a/w/MyOpt"}
    assert spelled(tf1_keys(state(make, "momentum", "tf1", stored))) == stored
    renamed = {"b/w:momentum": "a/a/w/MyOpt"}
    assert spelled(tf1_keys(state(make, "momentum", "tf1", renamed, name="MyOpt"))) == {"b/w:momentum": "b/w/MyOpt"}
    of_an_object = {"w:momentum": "w/.OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/VARIABLE_VALUE"}
    assert spelled(tf1_keys(state(make, "momentum", "tf1", of_an_object))) == {"w:momentum": "w/Momentum"}


def test_own_names_and_numbers_go_on(make: Any) -> None:
    fresh = {"w:m": "", "w:v": ""}
    for name, keys in {
        "MyOpt": ("w/MyOpt", "w/MyOpt_1"),
        "Adam_2": ("w/Adam_2", "w/Adam_3"),
        "gen/Adam": ("w/Adam", "w/Adam_1"),
        "training/Adam": ("w/Adam", "w/Adam_1"),
        "model/optimizer": ("w/Adam", "w/Adam_1"),
        "generator_optimizer": ("w/Adam", "w/Adam_1"),
    }.items():
        assert tuple(spelled(tf1_keys(state(make, "adam", "tf1", fresh, name=name))).values()) == keys
    assert spelled(tf1_keys(state(make, "momentum", "tf1", {"w:momentum": ""}, name="training/SGD"))) == {
        "w:momentum": "w/Momentum"
    }


def test_taken_keys_are_counted_past(make: Any) -> None:
    adam = state(make, "adam", "tf1", {"w:m": "", "w:v": ""}, scalars=("beta1_power", "beta2_power"))
    first = tf1_keys(adam)
    assert dict(first.scalars) == {"beta1_power": "beta1_power", "beta2_power": "beta2_power"}
    second = tf1_keys(adam, {*first.slots.values(), "beta2_power"})
    assert spelled(second) == {"w:m": "w/Adam_2", "w:v": "w/Adam_3"}
    assert dict(second.scalars) == {"beta1_power": "beta1_power_1", "beta2_power": "beta2_power_1"}


def test_keras_spelling(make: Any) -> None:
    adam = state(make, "adam", "keras-legacy", {"d/w:m": "", "d/w:v": ""}, scalars=("iter", "beta_1"))
    keys = tf1_keys(adam)
    assert spelled(keys) == {"d/w:m": "training/Adam/d/w/m", "d/w:v": "training/Adam/d/w/v"}
    assert dict(keys.scalars) == {"iter": "training/Adam/iter", "beta_1": "training/Adam/beta_1"}
    assert dict(tf1_keys(adam, {*keys.scalars.values()}).scalars)["iter"] == "training/Adam_1/iter"


def test_loss_scale_stands_alone(make: Any) -> None:
    adam = state(make, "adam", "tf1", {"w:m": ""}, scalars=("beta1_power", "current_loss_scale", "good_steps"))
    assert dict(tf1_keys(adam, {"beta1_power"}).scalars) == {
        "beta1_power": "beta1_power_1",
        "current_loss_scale": "current_loss_scale",
        "good_steps": "good_steps",
    }
