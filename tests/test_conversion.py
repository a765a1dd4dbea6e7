"""What a user asks of `convert`, `verify` and `diff`, option by option, on checkpoints that TensorFlow wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import convert, formats
from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.verification import diff, verify
from ckptmigrate.wire.bundle import read_bundle

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAMED = {
    "tf1/adam_scopes": "model.ckpt",
    "tf1/adam_named": "model.ckpt",
    "tf1/keras_adam": "model.ckpt",
    "tf2/ema": "ckpt-1",
    "tf2/keras2_adam": "ckpt-1",
    "tf2/tf1_optimizer": "ckpt-1",
    "tf2/functional": "ckpt-1",
}


def keys(path: Path) -> list[tuple[str, str, str, str]]:
    """Every tensor's place and stored key, in the file's order."""
    with open_checkpoint(path) as checkpoint:
        return [(row.optimizer, row.name, row.slot, row.key) for row in checkpoint.rows()]


@pytest.mark.parametrize("through", ["npz", "safetensors"])
@pytest.mark.parametrize("name", NAMED)
def test_containers_remember_where_their_tensors_are_from(name, through, tmp_path):
    """Keys, dialects and the object graph come back, also by way of two containers."""
    source = FIXTURES / name / NAMED[name]
    first, second = tmp_path / f"a.{through}", tmp_path / "b.npz"
    back = tmp_path / "back"
    assert convert(source, first, to=through).exit_code == 0
    assert convert(first, second, to="npz").exit_code == 0
    assert convert(second, back, to=name[:3]).exit_code == 0
    assert keys(back) == keys(source)
    assert diff(source, back).verdict == "verified"
    with open_checkpoint(source) as a, open_checkpoint(back) as b:
        assert [(o.kind, o.dialect, o.step) for o in a.optimizers] == [
            (o.kind, o.dialect, o.step) for o in b.optimizers
        ]
        assert a.structure.objects == b.structure.objects


ADAM = FIXTURES / "tf1" / "adam" / "model.ckpt-3"


@pytest.mark.parametrize(
    ("name", "to", "options"),
    [
        ("tf1/adam/model.ckpt-3", "tf1", {"dialect": "keras-legacy", "hyper": {"learning_rate": 0.01}}),
        ("tf1/adam/model.ckpt-3", "tf2", {"optimizer": "drop"}),
        ("tf1/adam/model.ckpt-3", "tf2", {"optimizer": "fresh"}),
        ("tf1/adam/model.ckpt-3", "npz", {"dtype": "float16", "drop": ("conv/bias",)}),
        ("tf1/ema/model.ckpt", "tf1", {"averages": "use"}),
        ("tf1/ema/model.ckpt", "npz", {"averages": "drop"}),
        ("tf1/ema/model.ckpt", "tf2", {"averages": "keep", "dialect": "tf1"}),
        ("tf2/functional/ckpt-1", "tf1", {"names": "full_name"}),
        ("tf2/gan/ckpt-1", "tf1", {}),
        ("tf2/keras_amsgrad/ckpt-1", "tf1", {"allow_loss": True}),
        ("tf2/keras2_adam/ckpt-1", "tf1", {"hyper": {"beta_1": 0.9, "beta_2": 0.999}}),
        ("tf2/functional/ckpt-1", "keras-h5", {}),  # layers in layers: names of layers are given anew
        ("tf1/strings/model.ckpt", "keras-h5", {"allow_loss": True}),
    ],
)
def test_verify_knows_how_the_output_was_made(name, to, options, tmp_path):
    """Its provenance tells the flags; what is left out is told again."""
    target = tmp_path / "out.npz"
    made = convert(FIXTURES / name, target, to=to, **options)
    checked = verify(FIXTURES / name, target)
    assert (checked.verdict, checked.exit_code) == ("verified", 0), [r for r in checked.rows if r.outcome != "equal"]
    assert checked.counts == made.counts


def test_diff_says_that_optimizer_state_is_missing(tmp_path):
    bare = tmp_path / "bare"
    convert(ADAM, bare, to="tf1", optimizer="drop")
    report = diff(ADAM, bare)
    assert (report.verdict, report.exit_code, report.counts["missing"]) == ("differs", 1, 8)
    assert {row.detail for row in report.rows if row.outcome == "missing"} == {"only A has it"}


RECORDS = [
    [1],
    "tf1",
    7,
    {"left_out": [1, "conv/bias"]},
    {"flags": [1], "mapping": "x", "origin": 5},
    {"flags": {"drop": 3, "hyper": {"a": []}}},
]


@pytest.mark.parametrize("record", RECORDS)
def test_provenance_may_say_anything(record, tmp_path):
    """Anybody can write it."""
    with open_checkpoint(ADAM) as source:
        formats.by_name("tf1").writer.write(source, tmp_path, "out", WriteOptions(provenance=record))
    assert verify(ADAM, tmp_path / "out").exit_code in (0, 5)  # 5: there is no mapping called x


def test_averages_in_place_of_raw_weights_are_told(tmp_path):
    report = convert(FIXTURES / "tf1/ema/model.ckpt", tmp_path / "out", to="tf1", averages="use")
    assert {r.name: r.source for r in report.rows if ":average" in r.source} == {
        name: f"{name}:average" for name in ("conv/BatchNorm/beta", "conv/bias", "conv/kernel")
    }
    dropped = [row.source for row in report.rows if row.outcome == "dropped"]
    assert sorted(dropped) == ["conv/BatchNorm/beta", "conv/bias", "conv/kernel"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "floating-point"),
        ({"dtype": "floaty"}, "floating-point"),
        ({"dialect": "keras3"}, "tf1 holds"),
    ],
)
def test_options_that_would_spoil_weights_are_refused(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        convert(ADAM, tmp_path / "out", to="tf1", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["tf1", "tf2"])
def test_fresh_state_counts_from_the_first_step(to, tmp_path):
    """Old powers over new moments would make the first updates ten times too small."""
    report = convert(ADAM, tmp_path / "out", to=to, optimizer="fresh")
    assert report.verdict == "verified"
    with open_checkpoint(tmp_path / "out") as written:
        (state,) = written.optimizers
        assert state.step == 0
        assert not any(stored.tensor.read().any() for stored in state.slots.values())
        assert written.variables["global_step"].tensor.read() == 3
    dropped = {row.source for row in report.rows if row.outcome == "dropped"}
    assert {"beta1_power", "beta2_power", "conv/kernel/Adam"} <= dropped
    assert verify(ADAM, tmp_path / "out").verdict == "verified"


def test_fresh_velocities_need_no_learning_rate(tmp_path):
    report = convert(FIXTURES / "tf1/momentum/model.ckpt", tmp_path / "out", to="tf2", optimizer="fresh")
    assert (report.verdict, report.counts["filled"]) == ("verified", 3)


def test_fresh_state_stays_under_its_keys(tmp_path):
    """A program that has the optimizer in a scope finds it there."""
    source = FIXTURES / "tf1/adam_scopes/model.ckpt"
    convert(source, tmp_path / "out", to="tf1", optimizer="fresh")
    assert keys(tmp_path / "out") == keys(source)


@pytest.mark.parametrize("level", ["bits", "none"])
def test_what_a_narrower_type_cannot_hold_is_a_loss(tmp_path, level):
    values = np.array([[1e6, 0.1], [np.inf, np.nan]], np.float32)
    np.savez(tmp_path / "in.npz", w=values, ok=np.ones(2, np.float32))
    asked = {"to": "tf1", "dtype": "float16", "verify": level}
    report = convert(tmp_path / "in.npz", tmp_path / "out", **asked)
    assert (report.exit_code, report.verdict, report.target["files"]) == (6, "refused", [])
    assert [(i.name, i.message, i.hint) for i in report.issues if i.severity == "loss"] == [
        ("w", "cast to float16: 1 value becomes infinite, the largest is 1e+06", "--dtype bfloat16 holds it")
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz"]
    report = convert(tmp_path / "in.npz", tmp_path / "out", **asked, allow_loss=True)
    assert (report.exit_code, report.verdict) == (0, "verified" if level == "bits" else "written")
    assert sum(i.severity == "loss" for i in report.issues) == 1
    checked = {row.name: row.detail for row in verify(tmp_path / "in.npz", tmp_path / "out").rows}
    assert checked["w"] == "largest rounding 2.44e-05; 1 value becomes infinite, the largest is 1e+06"
    with open_checkpoint(tmp_path / "out") as written:
        np.testing.assert_array_equal(
            written.variables["w"].tensor.read(), np.array([[np.inf, 0.1], [np.inf, np.nan]], np.float16)
        )


@pytest.mark.parametrize(
    ("values", "dtype", "told", "hint"),
    [
        ([1e39, -1e40], "float32", "2 values become infinite, the largest is 1e+40", "--dtype float64 holds them"),
        ([1e39], "bfloat16", "1 value becomes infinite, the largest is 1e+39", "--dtype float64 holds it"),
        ([3.4e38], "bfloat16", "1 value becomes infinite, the largest is 3.4e+38", "--dtype float32 holds it"),
    ],
)
def test_the_hint_names_a_type_that_holds_the_values(tmp_path, values, dtype, told, hint):
    np.savez(tmp_path / "in.npz", w=np.array(values))
    report = convert(tmp_path / "in.npz", tmp_path / "out", to="tf1", dtype=dtype)
    (loss,) = (i for i in report.issues if i.severity == "loss")
    assert (loss.message, loss.hint) == (f"cast to {dtype}: {told}", hint)


def test_the_largest_rounding_of_a_cast_is_told(tmp_path):
    np.savez(tmp_path / "in.npz", w=np.array([0.1, np.inf, np.nan], np.float32))
    report = convert(tmp_path / "in.npz", tmp_path / "out", to="tf1", dtype="float16")
    assert (report.verdict, report.rows[0].detail) == ("verified", "largest rounding 2.44e-05")


def test_a_sharded_output_is_found_by_the_name_it_was_given(tmp_path):
    source, target = FIXTURES / "tf1/slim/model.ckpt", tmp_path / "out.safetensors"
    assert len(convert(source, target, to="safetensors", max_shard_bytes=1000).target["files"]) > 2
    assert verify(source, target).verdict == "verified"
    assert len(convert(target, tmp_path / "back", to="tf1", max_shard_bytes=300).target["files"]) > 2
    assert keys(tmp_path / "back") == keys(source)


def test_slots_that_cannot_follow_say_so(tmp_path):
    """One of two joined tensors has moments, the other has none."""
    mapping = tmp_path / "join.yaml"
    mapping.write_text(
        "ckptmigrate: 1\nunmatched: keep\nrules:\n"
        "  - {from: [conv/bias, conv/BatchNorm/moving_mean], to: c/b, do: [concat: {axis: 0}]}\n"
    )
    refused = convert(ADAM, tmp_path / "out", to="tf2", mapping=str(mapping))
    assert (refused.verdict, refused.exit_code) == ("refused", 6)
    report = convert(ADAM, tmp_path / "out", to="tf2", mapping=str(mapping), allow_loss=True)
    told = {row.source: row.detail for row in report.rows if row.outcome == "dropped" and row.slot}
    assert told == {f"conv/bias/Adam{n}": "can't follow its variable" for n in ("", "_1")}


def test_verify_asks_for_the_mapping_that_only_the_maker_had(tmp_path):
    mapping = tmp_path / "mine.yaml"
    mapping.write_text("ckptmigrate: 1\nunmatched: keep\nrename: {conv/bias: c/b}\n")
    convert(ADAM, tmp_path / "out", to="tf2", mapping=str(mapping))
    with pytest.raises(MappingError, match=r"made with the mapping mine\.yaml") as raised:
        verify(ADAM, tmp_path / "out")
    assert raised.value.hint == "say where it is: --mapping FILE"
    assert verify(ADAM, tmp_path / "out", mapping=str(mapping)).issues[-1].kind != "mapping"
    mapping.write_text("ckptmigrate: 1\nunmatched: keep\nrename: {conv/bias: c/b}  # changed\n")
    report = verify(ADAM, tmp_path / "out", mapping=str(mapping))
    assert report.verdict == "verified"
    assert any(issue.kind == "mapping" and issue.severity == "warning" for issue in report.issues)


def test_what_a_mapping_could_not_put_in_stays_left_out(tmp_path):
    """The target itself tells nothing of it, so that its name is kept beside the flags."""
    source, mapping, out = FIXTURES / "tf1/strings/model.ckpt", tmp_path / "mine.yaml", tmp_path / "out.h5"
    mapping.write_text("ckptmigrate: 1\nunmatched: keep\nrename: {matrix: m, scalar: s}\n")
    made = convert(source, out, to="keras-h5", mapping=str(mapping), allow_loss=True)
    checked = verify(source, out, mapping=str(mapping))
    assert (checked.verdict, checked.counts) == ("verified", made.counts)
    assert {row.source for row in checked.rows if row.outcome == "dropped"} == {
        "matrix",
        "none",
        "scalar",
        "vocabulary",
    }
    with open_checkpoint(out) as written:
        assert written.metadata["provenance"]["left_out"] == ["matrix", "none", "scalar", "vocabulary"]


@pytest.mark.parametrize("optimizer", ["keep", "fresh"])
@pytest.mark.parametrize("name", ["estimator_dnn_parts", "estimator_linear_parts", "adam_scopes"])
def test_a_template_of_tf1_tells_the_keys_of_slots(name, optimizer, tmp_path):
    """What stands in scopes, and under a key for each part of a variable, is what a graph of TF1 looks for."""
    source = next((FIXTURES / "tf1" / name).glob("*.index")).with_suffix("")
    assert convert(source, tmp_path / "tf2", to="tf2").exit_code == 0
    report = convert(tmp_path / "tf2", tmp_path / "back", to="tf1", template=source, optimizer=optimizer)
    assert report.exit_code == 0, report.issues
    assert read_bundle(tmp_path / "back").entries.keys() == read_bundle(source).entries.keys()


def test_arrays_that_tf1_reads_as_slots_are_the_same(tmp_path):
    """An archive from anywhere tells no slots; the keys of a name-based file do."""
    w = np.ones((2, 2), np.float32)
    arrays = {"w": w, "w/Adam": 2 * w, "w/Adam_1": 3 * w, "beta1_power": np.float32(0.9), "beta2_power": np.float32(1)}
    np.savez(tmp_path / "plain.npz", **arrays)
    assert convert(tmp_path / "plain.npz", tmp_path / "out", to="tf1").verdict == "verified"
    checked = verify(tmp_path / "plain.npz", tmp_path / "out")
    assert (checked.verdict, checked.counts["equal"]) == ("verified", 5)
    with open_checkpoint(tmp_path / "out") as written:
        assert [(state.kind, len(state.slots)) for state in written.optimizers] == [("adam", 2)]


@pytest.mark.parametrize(("path", "code"), [("optimizer/bias", 5), ("optimizer/block/bias", 5), ("optimizers/bias", 0)])
def test_a_variable_among_an_optimizers_own_values_is_refused(path, code, tmp_path):
    """It would be read as one of these."""
    mapping = tmp_path / "mine.yaml"
    mapping.write_text(f"ckptmigrate: 1\nunmatched: keep\nrename: {{conv/bias: {path}}}\n")
    report = convert(ADAM, tmp_path / "out", to="tf2", mapping=str(mapping))
    assert report.exit_code == code
    assert [i.name for i in report.issues if i.severity == "error"] == [path] * (code != 0)


def test_a_dry_run_reads_nothing_but_scalars(tmp_path):
    """Tensors are gone from the data file; it plans all the same."""
    source = tmp_path / "source"
    shutil.copytree(ADAM.parent, source)
    with open_checkpoint(ADAM) as checkpoint:
        large = [e for row in checkpoint.rows() for e in row.tensor.extents if e.nbytes > 64]
    for extent in large:
        with (source / extent.file.name).open("r+b") as file:
            file.seek(extent.offset)
            file.write(bytes(extent.nbytes))
    for to in ("tf1", "tf2", "npz", "safetensors"):
        report = convert(source / ADAM.name, tmp_path / "out", to=to, dry_run=True)
        assert (report.verdict, report.exit_code) == ("planned", 0)
        assert convert(ADAM, tmp_path / "real", to=to, force=True).rows[0].name == report.rows[0].name
    assert not (tmp_path / "out").exists()


def test_averages_stay_with_the_wrapper_that_made_them(tmp_path):
    """MovingAverage(SGD): slots of the wrapper, not of the optimizer inside it."""
    source = FIXTURES / "tf2/ema/ckpt-1"
    averages = [row for row in keys(source) if row[2] == "average"]
    mapping = tmp_path / "new.yaml"
    mapping.write_text("ckptmigrate: 1\nunmatched: keep\nrename: {step: steps}\n")
    convert(source, tmp_path / "renamed", to="tf2", mapping=str(mapping))
    convert(source, tmp_path / "named", to="tf1")
    rate = {"learning_rate": 0.01}
    convert(tmp_path / "named", tmp_path / "templated", to="tf2", template=str(source), hyper=rate)
    for output in ("renamed", "templated"):
        assert sorted(row for row in keys(tmp_path / output) if row[2] == "average") == sorted(averages)


def test_rounding_of_large_tensors_is_measured_in_pieces(tmp_path):
    values = np.linspace(0, 1, 1_000_003, dtype=np.float32).reshape(-1, 1)
    np.savez(tmp_path / "in.npz", w=values)
    report = convert(tmp_path / "in.npz", tmp_path / "out", to="tf1", dtype="bfloat16")
    assert report.rows[0].detail == "largest rounding 0.00195"


def test_two_adams_part_again_by_what_a_mapping_says(tmp_path):
    """A name-based file doesn't tell whose the beta powers are; the hint's line of YAML does."""
    source, mapping = FIXTURES / "tf2/gan/ckpt-1", tmp_path / "gan.yaml"
    convert(source, tmp_path / "named", to="tf1")
    refused = convert(tmp_path / "named", tmp_path / "back", to="tf2")
    assert refused.exit_code == 6
    assert any("optimizers: [{from: Adam, variables: " in issue.hint for issue in refused.issues)
    blocks = "".join(
        f'  - {{from: Adam, variables: "{model}/{{x:path}}", to: {model}_optimizer, hyper: {hyper}}}\n'
        for model, hyper in (
            ("generator", "{iter: 3, beta_1: 0.5, beta_2: 0.999, decay: 0, learning_rate: 0.01}"),
            ("discriminator", "{iter: 5, beta_1: 0.9, beta_2: 0.999, decay: 0, learning_rate: 0.02}"),
        )
    )
    mapping.write_text(f"ckptmigrate: 1\nunmatched: keep\noptimizers:\n{blocks}")
    assert convert(tmp_path / "named", tmp_path / "back", to="tf2", mapping=str(mapping)).verdict == "verified"
    assert diff(source, tmp_path / "back").verdict == "verified"


def test_a_value_that_was_started_anew_is_not_compared_with_itself(tmp_path):
    convert(ADAM, tmp_path / "x", to="tf2", reinit=("conv/kernel",))
    filled = [row for row in verify(ADAM, tmp_path / "x").rows if (row.name, row.outcome) == ("conv/kernel", "filled")]
    assert {row.detail for row in filled} == {"with glorot_uniform, seed 0", "initial value 0"}


def test_models_with_other_heads_differ(tmp_path):
    body = {"body/w": np.ones((3, 4), "f4")}
    np.savez(tmp_path / "a.npz", **body, **{"head/w": np.ones((4, 5), "f4"), "old/w": np.ones(2)})
    np.savez(tmp_path / "b.npz", **body, **{"head/w": np.ones((4, 7), "f4"), "new/w": np.ones(2)})
    report = diff(tmp_path / "a.npz", tmp_path / "b.npz")
    assert report.exit_code == 1
    assert {row.name: (row.outcome, row.detail) for row in report.rows} == {
        "body/w": ("equal", ""),
        "head/w": ("differs", "has shape [4, 5] (from head/w), B's has [4, 7]"),
        "old/w": ("missing", "only A has it"),
        "new/w": ("extra", "only B has it"),
    }
