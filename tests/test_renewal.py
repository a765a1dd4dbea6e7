"""Old Keras' files on their way to a Keras of today: which rules apply when, and what they do to values and slots."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import ckptmigrate
from ckptmigrate import convert, diff, verify

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "keras-h5"


def stored(name):
    """Every weight of a fixture as h5py reads it, by its own name without `:0` and TensorFlow's counters."""
    found = {}
    with h5py.File(FIXTURES / name / "model.h5") as file:
        root = file.get("model_weights", file)
        root.visititems(lambda path, one: found.update({path: one[()]}) if isinstance(one, h5py.Dataset) else None)
    return {path.rpartition("/")[2].removesuffix(":0"): value for path, value in found.items()}


def converted(name, folder, to="keras-h5", file="out.h5", **options):
    report = convert(FIXTURES / name / "model.h5", folder / file, to=to, **options)
    assert report.verdict == "verified", report.issues
    with ckptmigrate.open(folder / file) as checkpoint:
        return report, {v.name: v.tensor.read() for v in checkpoint.variables.values()}


def messages(report, kind):
    return [issue.message for issue in report.issues if issue.kind == kind]


def test_gates_in_their_new_order(tmp_path):
    was = stored("k1_adam")
    report, now = converted("k1_adam", tmp_path)
    for letter, weight in {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}.items():
        gates = [was[f"lstm_1_{letter}_{gate}"] for gate in "ifco"]
        np.testing.assert_array_equal(now[f"lstm_1/cell/{weight}"], np.concatenate(gates, -1))
    np.testing.assert_array_equal(now["batchnormalization_1/moving_variance"], was["batchnormalization_1_running_std"])
    assert any("Keras 1 on TensorFlow to Keras 2" in message for message in messages(report, "mapping"))
    (row,) = (row for row in report.rows if row.name == "lstm_1/cell/kernel" and not row.slot)
    assert row.source == ", ".join(f"lstm_1/lstm_1_W_{gate}" for gate in "ifco")


def test_theanos_kernels_are_turned_around(tmp_path):
    was = stored("k12_theano_images_th")
    _, now = converted("k12_theano_images_th", tmp_path)
    kernel = next(value for name, value in was.items() if name.startswith("stem_W"))
    np.testing.assert_array_equal(now["stem/kernel"], kernel.transpose(2, 3, 1, 0)[::-1, ::-1])


def test_slots_follow(tmp_path):
    converted("k12_theano_images_th", tmp_path)
    both = []
    for path in (FIXTURES / "k12_theano_images_th" / "model.h5", tmp_path / "out.h5"):
        with ckptmigrate.open(path) as checkpoint:
            (state,) = checkpoint.optimizers
            slots = {key.variable: s.tensor.read() for key, s in state.slots.items()}
            both.append(next(value for name, value in slots.items() if name.startswith("stem/") and value.ndim > 1))
            assert len(slots) == sum(v.role == "weight" for v in checkpoint.variables.values())
    np.testing.assert_array_equal(both[1], both[0].transpose(2, 3, 1, 0)[::-1, ::-1])


@pytest.mark.parametrize(("to", "file"), [("npz", "out.npz"), ("safetensors", "out.safetensors"), ("tf1", "out")])
def test_other_formats_keep_what_is_stored(to, file, tmp_path):
    was = stored("k1_weights")
    report, now = converted("k1_weights", tmp_path, to, file)
    assert {name.rpartition("/")[2] for name in now} == was.keys()
    assert any("stay as the old Keras stored them" in message for message in messages(report, "kernels"))
    _, now = converted("k1_weights", tmp_path, to, f"new_{file}", mapping="auto")
    assert "lstm_1/cell/kernel" in now


def test_by_way_of_a_container(tmp_path):
    """What the file told of its layers goes along."""
    converted("k12_theano_images_th", tmp_path, "safetensors", "out.safetensors")
    _, straight = converted("k12_theano_images_th", tmp_path)
    report = convert(tmp_path / "out.safetensors", tmp_path / "back.h5", to="keras-h5")
    assert report.verdict == "verified"
    with ckptmigrate.open(tmp_path / "back.h5") as checkpoint:
        for name, value in straight.items():
            np.testing.assert_array_equal(checkpoint.variables[name].tensor.read(), value)


def mixed(folder):
    """A file of which some names end in `:0` and others don't."""
    path = folder / "mixed.h5"
    shutil.copy(FIXTURES / "k12_images_weights" / "model.h5", path)
    with h5py.File(path, "r+") as file:
        names = [name.decode() for name in file["head"].attrs["weight_names"]]
        for name in names:
            file["head"].move(name, name.removesuffix(":0"))
        file["head"].attrs["weight_names"] = [name.removesuffix(":0").encode() for name in names]
    return path


def test_a_backend_that_nothing_tells_stops_the_run(tmp_path):
    path = mixed(tmp_path)
    report = convert(path, tmp_path / "out.h5", to="keras-h5")
    (error,) = (issue for issue in report.issues if issue.severity == "error")
    assert (report.verdict, report.exit_code) == ("refused", 6)
    assert all(f"--mapping keras/{name}" in error.hint for name in ("keras1", "keras1_theano"))
    told = {}
    for mapping in ("keras/keras1", "keras/keras1_theano"):
        assert convert(path, tmp_path / "out.h5", to="keras-h5", mapping=mapping, force=True).verdict == "verified"
        assert verify(path, tmp_path / "out.h5").verdict == "verified"
        with ckptmigrate.open(tmp_path / "out.h5") as checkpoint:
            told[mapping] = checkpoint.variables["stem/kernel"].tensor.read()
    np.testing.assert_array_equal(told["keras/keras1"], told["keras/keras1_theano"][::-1, ::-1])


def test_a_mapping_of_ones_own_that_includes_the_rules(tmp_path):
    """For what the file doesn't tell: here, that one kernel stands in another order than the rest."""
    rules = tmp_path / "mine.yaml"
    rules.write_text(
        "ckptmigrate: 1\ntitle: Mine\nsource: {names: old_keras}\ninclude: [keras/keras1]\n"
        'rules:\n  - {from: "{on}/Convolution2D.tf/{layer:path}/W", to: "{layer}/kernel", do: [flip: 0]}\n'
    )
    _, now = converted("k1_weights", tmp_path, mapping=str(rules))
    np.testing.assert_array_equal(now["convolution2d_1/kernel"], stored("k1_weights")["convolution2d_1_W"][::-1])


def test_another_mapping_sees_what_is_stored(tmp_path):
    rules = tmp_path / "mine.yaml"
    rules.write_text(
        "ckptmigrate: 1\ntitle: Mine\nsource: {names: full_name}\nunmatched: drop\nrename:\n  lstm_1_W_i: net/gate\n"
    )
    report, now = converted("k1_weights", tmp_path, "tf2", "out", mapping=str(rules))
    np.testing.assert_array_equal(now["net/gate"], stored("k1_weights")["lstm_1_W_i"])
    assert any("as the old Keras stored them" in message for message in messages(report, "kernels"))


def test_old_and_old_are_compared_as_stored():
    path = FIXTURES / "k1_adam" / "model.h5"
    report = diff(path, path)
    assert (report.exit_code, len(report.rows)) == (0, 63)
    assert not any(row.steps for row in report.rows)


def test_old_and_new_are_compared_as_converted(tmp_path):
    converted("k1_adam", tmp_path, optimizer="drop")
    report = diff(
        FIXTURES / "k1_adam" / "model.h5",
        tmp_path / "out.h5",
    )
    assert {row.outcome for row in report.rows if not row.slot and "optimizer" not in row.name} == {"equal"}


def test_a_kernel_that_nothing_tells_of(tmp_path):
    """As long as wide as deep, and alone: its ordering is left to the user."""
    path = tmp_path / "square.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"c"]
        group = file.create_group("c")
        group.attrs["weight_names"] = [b"c_W_1:0", b"c_b_1:0"]
        group["c_W_1:0"] = np.arange(81, dtype=np.float32).reshape(3, 3, 3, 3)
        group["c_b_1:0"] = np.zeros(3, np.float32)
    report = convert(path, tmp_path / "out.h5", to="keras-h5")
    (error,) = (issue for issue in report.issues if issue.severity == "error")
    called = "keras1-tensorflow/Convolution2D.unknown/c/W"
    assert (report.verdict, report.exit_code, f"--drop '{called}'" in error.hint) == ("refused", 5, True)
    report = convert(path, tmp_path / "out.h5", to="keras-h5", drop=(called,))
    assert report.verdict == "verified"
    assert [row.source for row in report.rows if row.outcome == "dropped"] == ["c/c_W_1"]
    rules = tmp_path / "mine.yaml"
    rules.write_text(
        "ckptmigrate: 1\ntitle: Mine\nsource: {names: old_keras}\ninclude: [keras/keras1]\n"
        'rules:\n  - {from: "{on}/Convolution2D.unknown/{layer:path}/W", to: "{layer}/kernel",'
        " do: [transpose: [2, 3, 1, 0]]}\n"
    )
    report = convert(path, tmp_path / "out.h5", to="keras-h5", mapping=str(rules), force=True)
    assert report.verdict == "verified"
