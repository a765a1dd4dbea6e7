"""Name-based files: which keys are slots, whose, and of which optimizer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.optimizers import recognise_names, tf1_keys
from ckptmigrate.optimizers.powers import power_after
from ckptmigrate.table import OptimizerState, SlotKey, Tensor

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / ".." / "shared"
W, B = [3, 4], [4]
P1, P2 = (float(power_after(beta, 3)) for beta in (0.9, 0.999))  # after three steps
POWERS = {"beta1_power": P1, "beta2_power": P2}
EMA = "ExponentialMovingAverage"


def slots(*endings: str, of: str = "a/w", shape: Any = None) -> dict[str, Any]:
    return {f"{of}/{ending}": shape or W for ending in endings}


def told(state: OptimizerState) -> tuple[str, str, dict[str, str]]:
    return state.name, state.kind, {f"{k.variable}:{k.slot}": s.key for k, s in state.slots.items()}


# What stands in the file beside `a/w` -> the optimizers: (name, kind, {variable:slot: key}).
ONE: dict[str, tuple[dict[str, Any], list[tuple[str, str, dict[str, str]]]]] = {
    "momentum": (slots("Momentum"), [("Momentum", "momentum", {"a/w:momentum": "a/w/Momentum"})]),
    "adam": (
        slots("Adam", "Adam_1") | POWERS,
        [("Adam", "adam", {"a/w:m": "a/w/Adam", "a/w:v": "a/w/Adam_1"})],
    ),
    "rmsprop": (
        slots("RMSProp", "RMSProp_1"),
        [("RMSProp", "rmsprop", {"a/w:rms": "a/w/RMSProp", "a/w:momentum": "a/w/RMSProp_1"})],
    ),
    "rmsprop, centered": (
        slots("RMSProp", "RMSProp_1", "RMSProp_2"),
        [
            (
                "RMSProp",
                "rmsprop",
                {"a/w:rms": "a/w/RMSProp", "a/w:mg": "a/w/RMSProp_1", "a/w:momentum": "a/w/RMSProp_2"},
            )
        ],
    ),
    "two plain rmsprops": (
        slots("RMSProp", "RMSProp_1", "RMSProp_2", "RMSProp_3"),
        [
            ("RMSProp", "rmsprop", {"a/w:rms": "a/w/RMSProp", "a/w:momentum": "a/w/RMSProp_1"}),
            ("RMSProp_2", "rmsprop", {"a/w:rms": "a/w/RMSProp_2", "a/w:momentum": "a/w/RMSProp_3"}),
        ],
    ),
    "average": (slots(EMA), [(EMA, "ema", {"a/w:average": f"a/w/{EMA}"})]),
    "two adams": (
        slots("Adam", "Adam_1", "Adam_2", "Adam_3") | POWERS | {"beta1_power_1": 0.9, "beta2_power_1": 0.999},
        [
            ("Adam", "adam", {"a/w:m": "a/w/Adam", "a/w:v": "a/w/Adam_1"}),
            ("Adam_2", "adam", {"a/w:m": "a/w/Adam_2", "a/w:v": "a/w/Adam_3"}),
        ],
    ),
    "scope doubled": (
        {"a/a/w/Momentum": W},
        [("Momentum", "momentum", {"a/w:momentum": "a/a/w/Momentum"})],
    ),
    "scope that the variable hasn't": (
        {"training/a/w/Adam": W, "training/a/w/Adam_1": W, "training/beta1_power": P1, "training/beta2_power": P2},
        [("Adam", "adam", {"a/w:m": "training/a/w/Adam", "a/w:v": "training/a/w/Adam_1"})],
    ),
    "powers in another scope": (
        slots("Adam", "Adam_1") | {"cond_1/beta1_power": P1, "cond_1/beta2_power": P2},
        [("Adam", "adam", {"a/w:m": "a/w/Adam", "a/w:v": "a/w/Adam_1"})],
    ),
    "its own name, one variable": (
        slots("MyOpt", "MyOpt_1") | POWERS,
        [("MyOpt", "adam", {"a/w:m": "a/w/MyOpt", "a/w:v": "a/w/MyOpt_1"})],
    ),
    "its own name, one variable, one power": (
        slots("MyOpt", "MyOpt_1") | {"beta1_power": P1},
        [("MyOpt", "adamax", {"a/w:m": "a/w/MyOpt", "a/w:v": "a/w/MyOpt_1"})],
    ),
    "a canned estimator's network": (
        {"a/w/t_0/Adagrad": W},
        [("Adagrad", "adagrad", {"a/w:accumulator": "a/w/t_0/Adagrad"})],
    ),
    "a canned estimator's linear model": (
        slots("part_0/Ftrl", "part_0/Ftrl_1"),
        [("Ftrl", "ftrl", {"a/w:accumulator": "a/w/part_0/Ftrl", "a/w:linear": "a/w/part_0/Ftrl_1"})],
    ),
    "a canned estimator's Adam": (
        slots("t_0/Adam", "t_0/Adam_1") | {"dnn/head/beta1_power": P1, "dnn/head/beta2_power": P2},
        [("Adam", "adam", {"a/w:m": "a/w/t_0/Adam", "a/w:v": "a/w/t_0/Adam_1"})],
    ),
    "a canned estimator's network in a scope": (
        {"s/a/w/t_0/Adagrad": W},
        [("Adagrad", "adagrad", {"a/w:accumulator": "s/a/w/t_0/Adagrad"})],
    ),
    "several parts, each under a key of its own": (slots("t_0/Adagrad", "t_1/Adagrad"), []),
    "a variable called so": (
        {"a/w/t_0": W, "a/w/t_0/Adagrad": W},
        [("Adagrad", "adagrad", {"a/w/t_0:accumulator": "a/w/t_0/Adagrad"})],
    ),
    "an optimizer without a record here": (
        slots("ProximalAdagrad"),
        [("ProximalAdagrad", "unknown", {"a/w:ProximalAdagrad": "a/w/ProximalAdagrad"})],
    ),
    "adagrad": (slots("Adagrad"), [("Adagrad", "adagrad", {"a/w:accumulator": "a/w/Adagrad"})]),
    "adadelta": (
        slots("Adadelta", "Adadelta_1"),
        [("Adadelta", "adadelta", {"a/w:accum_grad": "a/w/Adadelta", "a/w:accum_var": "a/w/Adadelta_1"})],
    ),
    "ftrl": (
        slots("Ftrl", "Ftrl_1"),
        [("Ftrl", "ftrl", {"a/w:accumulator": "a/w/Ftrl", "a/w:linear": "a/w/Ftrl_1"})],
    ),
    "adamax": (
        slots("AdaMax", "AdaMax_1") | {"beta1_power": P1},
        [("AdaMax", "adamax", {"a/w:m": "a/w/AdaMax", "a/w:v": "a/w/AdaMax_1"})],
    ),
    "two ftrls": (
        slots("Ftrl", "Ftrl_1", "Ftrl_2", "Ftrl_3"),
        [
            ("Ftrl", "ftrl", {"a/w:accumulator": "a/w/Ftrl", "a/w:linear": "a/w/Ftrl_1"}),
            ("Ftrl_2", "ftrl", {"a/w:accumulator": "a/w/Ftrl_2", "a/w:linear": "a/w/Ftrl_3"}),
        ],
    ),
    "adagrad in a scope": (
        {"train/a/w/Adagrad": W},
        [("Adagrad", "adagrad", {"a/w:accumulator": "train/a/w/Adagrad"})],
    ),
    "tf.keras": (
        {
            "training/Adam/a/w/m": W,
            "training/Adam/a/w/v": W,
            "training/Adam/iter": 7,
            "training/Adam/learning_rate": 0.5,
            "training/Adam/decay": 0.0,
            "training/Adam/beta_1": 0.5,
            "training/Adam/beta_2": 0.75,
        },
        [("training/Adam", "adam", {"a/w:m": "training/Adam/a/w/m", "a/w:v": "training/Adam/a/w/v"})],
    ),
    # Weights, not slots
    "no owner": ({"head/Momentum": W}, []),
    "owner of another shape": ({"a/w/Momentum": [7]}, []),
    "one key under a weight": ({"a/w/extra": W}, []),
    "pruning mask": ({"a/w/mask": W, "b": B, "b/mask": B}, []),
    "powers alone": (POWERS, []),
}


@pytest.mark.parametrize("case", ONE)
def test_beside_one_variable(make: Any, case: str) -> None:
    entries, expected = ONE[case]
    tensors = make.table({"a/w": W, **entries, "global_step": 3})
    found = recognise_names(tensors)
    assert [told(state) for state in found.optimizers] == expected
    assert_nothing_lost(tensors, found)
    assert found.counters[-1] == "global_step"


def assert_nothing_lost(tensors: dict[str, Tensor], found: Any) -> None:
    """Every key once: variable, slot or scalar; and variables in the file's order."""
    owned = [s.key for o in found.optimizers for s in (*o.scalars.values(), *o.slots.values())]
    assert sorted([*owned, *found.variables]) == sorted(tensors)
    assert list(found.variables) == [key for key in tensors if key not in set(owned)]


def test_step_of_adam_is_read_off_the_powers(make: Any) -> None:
    entries = {"w": W, **slots("Adam", "Adam_1", of="w"), **POWERS, "global_step": 100}
    (state,) = recognise_names(make.table(entries)).optimizers
    assert state.step == 3
    assert {name: s.key for name, s in state.scalars.items()} == {n: n for n in POWERS}


def test_tf_keras_state(make: Any) -> None:
    entries, _ = ONE["tf.keras"]
    (state,) = recognise_names(make.table({"a/w": W, **entries})).optimizers
    assert (state.dialect, state.step) == ("keras-legacy", 7)
    assert state.hyper == {"learning_rate": 0.5, "decay": 0.0, "beta_1": 0.5, "beta_2": 0.75}


def test_tf_keras_state_of_an_optimizer_with_a_name_of_its_own(make: Any) -> None:
    entries, _ = ONE["tf.keras"]
    told = recognise_names(make.table({"a/w": W, **entries}))
    assert not told.issues
    found = recognise_names(make.table({"a/w": W, **{k.replace("/Adam/", "/mine/"): v for k, v in entries.items()}}))
    assert [state.kind for state in found.optimizers] == ["adam"]
    assert [(i.kind, i.severity, i.name) for i in found.issues] == [("guess", "note", "training/mine")]


def test_frozen_variables_and_averages_of_statistics(make: Any) -> None:
    entries = {
        "bn/moving_mean": B,
        f"bn/moving_mean/{EMA}": B,
        "bn/moving_mean/biased": B,
        "bn/moving_mean/local_step": 1.0,
        "frozen": W,
        "w": W,
        **slots("Momentum", EMA, of="w"),
        "loss": 1.0,
        f"total_loss/{EMA}": 1.0,
        f"total_loss/{EMA}/biased": 1.0,
    }
    tensors = make.table(entries)
    found = recognise_names(tensors)
    owned = {s.kind: {k.variable for k in s.slots} for s in found.optimizers}
    assert owned == {"ema": {"bn/moving_mean", "w"}, "momentum": {"w"}}
    assert_nothing_lost(tensors, found)
    assert [(i.kind, i.severity) for i in found.issues] == [("orphan", "note")]


def test_one_scope_explains_what_longest_names_would_mix_up(make: Any) -> None:
    """minimize in scope `model`, for `w` and `model/w`: `model/w/Momentum` belongs to w."""
    entries = {"w": W, "model/w": W, "model/w/Momentum": W, "model/model/w/Momentum": W}
    (state,) = recognise_names(make.table(entries)).optimizers
    assert told(state)[2] == {"w:momentum": "model/w/Momentum", "model/w:momentum": "model/model/w/Momentum"}


def test_two_readings_are_reported(make: Any) -> None:
    found = recognise_names(make.table({"w": W, "model/w": W, "model/w/Momentum": W}))
    assert told(found.optimizers[0])[2] == {"model/w:momentum": "model/w/Momentum"}
    assert [(i.kind, i.severity) for i in found.issues] == [("ambiguous", "warning")]


def test_no_reading_leaves_variables(make: Any) -> None:
    entries = {"w": W, "x/w/Momentum": W, "y/w/Momentum": W, "x/b": B, "b": B, "x/b/Momentum": B, "b/Momentum": B}
    tensors = make.table(entries)
    found = recognise_names(tensors)
    assert_nothing_lost(tensors, found)


def test_scopes_tell_optimizers_apart(make: Any) -> None:
    entries = {"gen/w": W, "disc/w": W}
    for scope, step in (("gen", 3), ("disc", 8)):
        entries |= slots("Adam", "Adam_1", of=f"{scope}/{scope}/w")
        entries |= {f"{scope}/beta1_power": float(power_after(0.9, step))}
        entries |= {f"{scope}/beta2_power": float(power_after(0.999, step))}
    found = recognise_names(make.table(entries))
    assert {s.name: (s.step, sorted(s.scalars)) for s in found.optimizers} == {
        "gen/Adam": (3, sorted(POWERS)),
        "disc/Adam": (8, sorted(POWERS)),
    }
    assert not found.issues


def test_two_pairs_of_powers_for_one_set_of_slots(make: Any) -> None:
    """A GAN with two Adams over different variables: their slots have the same endings."""
    entries: dict[str, Any] = {"gen/w": W, "disc/w": W, **POWERS, "beta1_power_1": 0.9, "beta2_power_1": 0.999}
    entries |= slots("Adam", "Adam_1", of="gen/w") | slots("Adam", "Adam_1", of="disc/w")
    tensors = make.table(entries)
    found = recognise_names(tensors)
    assert found.optimizers[0].step is None
    assert [(i.kind, i.severity) for i in found.issues] == [("guess", "warning")]
    assert_nothing_lost(tensors, found)
    same = recognise_names(make.table(entries | {"beta1_power_1": P1, "beta2_power_1": P2}))
    assert same.optimizers[0].step == 3
    assert not same.issues


def test_own_names_need_every_variable_to_agree(make: Any) -> None:
    entries = {"a": W, "b": B, **slots("MyOpt", of="a"), **slots("MyOpt", of="b", shape=B)}
    found = recognise_names(make.table(entries))
    assert told(found.optimizers[0]) == ("MyOpt", "unknown", {"a:MyOpt": "a/MyOpt", "b:MyOpt": "b/MyOpt"})
    assert [(i.kind, i.severity) for i in found.issues] == [("guess", "warning")]
    assert not recognise_names(make.table(entries | {"c/MyOpt": B})).optimizers
    assert not recognise_names(make.table(entries | {"a/MyOpt_1": W})).optimizers


def test_home_made_endings(make: Any) -> None:
    entries = {"w": W, **slots("adam_m", "adam_v", of="w")}
    found = recognise_names(make.table(entries), slots={"adam_m": "m", "adam_v": "v"})
    assert told(found.optimizers[0]) == ("adam", "adam", {"w:m": "w/adam_m", "w:v": "w/adam_v"})
    assert found.optimizers[0].dialect == "tf1"


def test_numbers_that_fit_two_optimizers(make: Any) -> None:
    names = [f"RMSProp_{n}" if n else "RMSProp" for n in range(5)]
    found = recognise_names(make.table({"w": W, **slots(*names, of="w")}))
    assert told(found.optimizers[0])[:2] == ("RMSProp", "unknown")
    assert [(i.kind, i.severity) for i in found.issues] == [("guess", "warning")]


def test_loss_scale_goes_to_the_optimizer(make: Any) -> None:
    entries = {"w": W, **slots("Adam", "Adam_1", of="w"), **POWERS, "current_loss_scale": 8.0, "good_steps": 5}
    (state,) = recognise_names(make.table(entries)).optimizers
    assert set(state.scalars) == {*POWERS, "current_loss_scale", "good_steps"}
    alone = recognise_names(make.table({"w": W, "current_loss_scale": 8.0, "good_steps": 5}))
    assert alone.counters == ("current_loss_scale", "good_steps")


# Real files


def from_json(entries: dict[str, Any]) -> dict[str, Tensor]:
    return {key: Tensor(tuple(e["shape"]), BY_NAME[e["dtype"]]) for key, e in entries.items()}


def listings() -> list[str]:
    return sorted(str(p.parent.relative_to(ROOT)) for p in (ROOT / "fixtures" / "tf1").glob("*/listing.json"))


REAL = {
    "adam": {("Adam", "adam", 6)},
    "adam_named": {("MyOpt", "adam", 2)},
    "adam_scopes": {("Adam", "adam", 2), ("gen/Adam", "adam", 2)},
    "adam_twice": {("Adam", "adam", 2), ("Adam_2", "adam", 2)},
    "ema": {(EMA, "ema", 3), ("Momentum", "momentum", 3)},
    "keras_adam": {("training/Adam", "adam", 12)},
    "keras_rmsprop": {("training/RMSprop", "rmsprop", 12)},
    "partitioned": {("Adam", "adam", 6)},
    "rmsprop": {("RMSProp", "rmsprop", 6)},
    "rmsprop_centered": {("RMSProp", "rmsprop", 9)},
    "slim": {("RMSProp", "rmsprop", 10)},
    "tf14_adam": {("Adam", "adam", 4)},
}


@pytest.mark.parametrize("folder", listings())
def test_fixtures(folder: str) -> None:
    listing = json.loads((ROOT / folder / "listing.json").read_text(encoding="utf-8"))
    tensors = from_json(listing["tensors"])
    found = recognise_names(tensors)
    assert_nothing_lost(tensors, found)
    name = Path(folder).name
    if name in REAL:
        assert {(s.name, s.kind, len(s.slots)) for s in found.optimizers} == REAL[name]
    for state in found.optimizers:
        keys = tf1_keys(state)
        assert keys.slots == {key: stored.key for key, stored in state.slots.items()}
        assert keys.scalars == {name: stored.key for name, stored in state.scalars.items()}


def manifests() -> list[Path]:
    return sorted((SHARED / "od_manifests").glob("*.tf1.json"))


@pytest.mark.parametrize("path", manifests() or [None], ids=lambda p: p.name if p else "absent")
def test_detection_models(path: Path | None) -> None:
    if path is None:
        pytest.skip("the detection manifests aren't beside this checkout")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    tensors = from_json({v["name"]: v for v in manifest["variables"]})
    found = recognise_names(tensors)
    per_variable = {"rmsprop": ["RMSProp", "RMSProp_1"], "momentum": ["Momentum"]}[manifest["optimizer"]]
    ends = [key.rpartition("/")[2] for key in tensors]
    counts = {s.kind: len(s.slots) for s in found.optimizers}
    assert counts == {manifest["optimizer"]: sum(e in per_variable for e in ends), "ema": ends.count(EMA)}
    assert not [key for key in found.variables if key.rpartition("/")[2] in (*per_variable, EMA)]
    assert found.counters == ("global_step",)
    assert not found.issues


@pytest.mark.parametrize(
    ("name", "expected", "variables"),
    [
        ("v2-t2t-transformer", {("Adam", "adam", 162)}, 86),
        ("v2-dotnet-cifar", {("Adam", "adam", 8)}, 4),
        ("v2-lfads-65000", set(), 6),
    ],
)
def test_checkpoints_of_others(name: str, expected: Any, variables: int) -> None:
    path = SHARED / "corpus" / "truth" / f"{name}.json"
    if not path.exists():
        pytest.skip("the corpus isn't beside this checkout")
    found = recognise_names(from_json(json.loads(path.read_text(encoding="utf-8"))["truth"]["variables"]))
    assert {(s.name, s.kind, len(s.slots)) for s in found.optimizers} == expected
    assert len(found.variables) == variables


# Laws

PARTS = st.sampled_from(
    ["a", "w", "Adam", "Adam_1", "Adam_2", "RMSProp_4", "Momentum", EMA, "iter", "m", "beta1_power", "X", "X_1", ""]
)
KEYS = st.lists(PARTS, min_size=1, max_size=5).map("/".join).filter(bool)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, st.sampled_from([(3,), (), (2, 2)]), max_size=25))
def test_no_key_is_lost_whatever_the_names(shapes: dict[str, tuple[int, ...]]) -> None:
    tensors = {key: Tensor(shape, BY_NAME["float32"]) for key, shape in shapes.items()}
    found = recognise_names(tensors)
    assert_nothing_lost(tensors, found)
    names = [s.name for s in found.optimizers]
    assert len(names) == len(set(names))
    for state in found.optimizers:
        for key, stored in state.slots.items():
            assert isinstance(key, SlotKey)
            assert tensors[key.variable].shape == tensors[stored.key].shape


@pytest.mark.parametrize("scope", ["", "training/"])
def test_forty_thousand_names_are_quick(make: Any, scope: str) -> None:
    """A fifth of a second for 10,000 variables with three slots each; three times that here, for busy machines."""
    shape = make.shaped([3, 3])
    names = [f"model/block_{i // 100}/layer_{i % 100}/conv/kernel" for i in range(10_000)]
    tensors = dict.fromkeys(names, shape)
    tensors |= {f"{scope}{name}/{e}": shape for name in names for e in ("RMSProp", "RMSProp_1", EMA)}
    start = time.process_time()
    found = recognise_names(tensors)
    assert time.process_time() - start < 0.6
    assert sum(len(s.slots) for s in found.optimizers) == 30_000


@pytest.mark.parametrize("entry", ["{}/beta1_power {}/beta2_power", "{}/iter", "x/{}/Adam x/{}", "a{}/a/a/a/a/Adam"])
def test_hostile_names_stay_linear(make: Any, entry: str) -> None:
    keys = [part for i in range(10_000) for part in entry.replace("{}", f"s{i}").split()]
    tensors = dict.fromkeys(["w", "/".join("a" * 200_000) + "/Adam", *keys], make.value(0.5))
    start = time.process_time()
    recognise_names(tensors)
    assert time.process_time() - start < 2
