"""Name-based bundles: read with their optimizers, written without moving what can stay where it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME, FLOAT32, VARIANT
from ckptmigrate.errors import DamagedError, OutputError, SourceError
from ckptmigrate.formats import by_name, open_checkpoint
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Tensor, Variable
from ckptmigrate.wire.bundle import read_bundle
from ckptmigrate.wire.bundle_writer import BundleWriter
from ckptmigrate.wire.names import index_file
from ckptmigrate.wire.sstable import read_table, write_table

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "tf1"
SAMPLE = FIXTURES / ".." / ".." / ".." / "shared" / "od_samples" / "ssd_mobilenet_v2_small" / "tf1"
TF1 = by_name("tf1")
MEGABYTE = 1 << 18  # float32


def tensor(*shape, start=0.0):
    return Tensor.of(np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape), FLOAT32)


def holding(*variables, **rest):
    return Checkpoint(Path("origin"), "plan", {v.name: v for v in variables}, **rest)


def variable(name, values=None):
    return Variable(name, values or tensor(2), name)


@pytest.fixture
def write(tmp_path):
    def run(checkpoint, name="out", **options):
        folder = tmp_path / name
        folder.mkdir()
        assert not TF1.writer.check(checkpoint, WriteOptions(**options))
        written = TF1.writer.write(checkpoint, folder, name, WriteOptions(**options))
        assert {p.name for p in folder.iterdir()} == set(written.files)
        assert written.files[-1] == written.commit == f"{name}.index"
        return folder / name, written

    return run


@pytest.fixture
def large(tmp_path):
    """A bundle whose data file is worth cloning."""
    writer = BundleWriter(tmp_path, "large")
    for n in range(4):
        writer.add_array(f"w{n}", 1, np.full(MEGABYTE, n, np.float32))
    writer.add_array("small", 1, np.ones(100, np.float32))
    writer.finish()
    return tmp_path / "large"


def values(path):
    return {row.key: row.tensor.read().tobytes() for row in open_checkpoint(path).rows()}


def test_reads_slots_counters_and_statistics():
    with open_checkpoint(FIXTURES / "adam" / "model.ckpt-3") as checkpoint:
        assert {v.role for v in checkpoint.variables.values()} == {"weight", "bn_mean", "bn_variance", "counter"}
        (adam,) = checkpoint.optimizers
        assert (adam.kind, adam.dialect, adam.step) == ("adam", "tf1", 3)
        assert checkpoint.metadata["endianness"] == "little"
        assert all(len(row.tensor.extents) == 1 for row in checkpoint.rows())


def test_partitioned_variables_have_an_extent_per_part():
    with open_checkpoint(FIXTURES / "partitioned") as checkpoint:
        parts = [row.tensor for row in checkpoint.rows() if len(row.tensor.extents) > 1]
    assert parts
    assert all(extent.region is not None for t in parts for extent in t.extents)
    assert all(sum(e.nbytes for e in t.extents) == t.nbytes for t in parts)


def test_renaming_clones_the_data_file(large, write):
    with open_checkpoint(large) as source:
        renamed = [replace(v, name=f"net/{name}") for name, v in source.variables.items()]
        path, written = write(holding(*renamed))
    assert (written.bytes_moved, written.bytes_cloned) == (0, 4 * 4 * MEGABYTE + 400)
    assert values(path) == {f"net/{key}": data for key, data in values(large).items()}
    assert (path.parent / "out.data-00000-of-00001").read_bytes() == large.with_name(
        "large.data-00000-of-00001"
    ).read_bytes()


def test_new_tensors_get_a_data_file_of_their_own(large, write):
    with open_checkpoint(large) as source:
        path, written = write(holding(*source.variables.values(), variable("new")))
    assert written.files == ("out.data-00000-of-00002", "out.data-00001-of-00002", "out.index")
    assert written.bytes_moved == 8
    assert read_bundle(path).entries["new"].shard == 1


@pytest.mark.parametrize("options", [{}, {"max_shard_bytes": 5 << 20}])
def test_what_is_dropped_is_not_written(large, write, options):
    with open_checkpoint(large) as source:
        path, written = write(holding(*[v for name, v in source.variables.items() if name != "w2"]), **options)
    assert written.bytes_cloned + written.bytes_moved == 3 * 4 * MEGABYTE + 400
    assert values(path) == {key: data for key, data in values(large).items() if key != "w2"}


def test_large_data_files_are_not_cloned_past_the_limit(large, write):
    with open_checkpoint(large) as source:
        path, written = write(source, max_shard_bytes=2 * 4 * MEGABYTE)
    assert len(written.files) > 2
    assert all(f.stat().st_size <= 2 * 4 * MEGABYTE for f in path.parent.glob("*.data-*"))
    assert values(path) == values(large)


def test_truncated_data_file_is_damaged(large, write):
    shard = large.with_name("large.data-00000-of-00001")
    with open_checkpoint(large) as source:
        shard.write_bytes(shard.read_bytes()[:-200])
        with pytest.raises(DamagedError):
            write(source)


@pytest.mark.parametrize("name", ["big_endian", "partitioned", "sharded_partitions", "strings", "snappy"])
def test_other_layouts_come_out_plain(name, write):
    with open_checkpoint(FIXTURES / name) as source:
        path, _ = write(source)
        held = {row.key: row.tensor.read().tolist() for row in source.rows()}
    with open_checkpoint(path) as written:
        assert {row.key: row.tensor.read().tolist() for row in written.rows()} == held
        assert written.metadata["endianness"] == "little"
        assert all(len(row.tensor.extents) == 1 for row in written.rows())


def test_state_file_and_provenance(write):
    path, written = write(holding(variable("w")), state_file=True, provenance={"tool": "x"})
    assert written.files[1:] == ("checkpoint", "out.index")
    with open_checkpoint(path.parent) as checkpoint:
        assert "by the state file" in checkpoint.metadata["used"]
        assert checkpoint.metadata["provenance"] == {"tool": "x"}


def test_state_file_that_cannot_be_written(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(OutputError, match="can't be written"):
        TF1.writer.write(holding(variable("w")), tmp_path, "x", WriteOptions(state_file=True))


def test_the_same_input_gives_the_same_bytes(write):
    with open_checkpoint(FIXTURES / "adam") as source:
        paths = [write(source, name)[0] for name in ("one", "two")]
    one, two = ([f.read_bytes() for f in sorted(p.parent.iterdir())] for p in paths)
    assert one == two


def test_slots_are_spelled_as_tf1_does(write):
    slots = {SlotKey("net/w", slot): Stored("", tensor(2)) for slot in ("m", "v")}
    powers = {name: Stored("", tensor()) for name in ("beta1_power", "beta2_power")}
    adam = OptimizerState("optimizer", "adam", "tf1", scalars=powers, slots=slots)
    averages = OptimizerState("ema", "ema", "tf1", slots={SlotKey("net/w", "average"): Stored("", tensor(2))})
    path, _ = write(holding(variable("net/w"), optimizers=(adam, averages)))
    assert list(read_bundle(path).entries) == [
        "beta1_power",
        "beta2_power",
        "net/w",
        "net/w/Adam",
        "net/w/Adam_1",
        "net/w/ExponentialMovingAverage",
    ]


@pytest.mark.parametrize(
    ("checkpoint", "kind", "severity"),
    [
        (holding(variable("")), "unholdable", "error"),
        (holding(variable("\0w")), "unholdable", "error"),
        (holding(variable("it", Tensor((2,), VARIANT))), "unholdable", "note"),
        (holding(variable("it", Tensor((), BY_NAME["resource"]))), "unholdable", "note"),
        (
            holding(
                variable("w"),
                variable("w/Momentum"),
                optimizers=(
                    OptimizerState(
                        "Momentum",
                        "momentum",
                        "keras1",
                        slots={SlotKey("w", "momentum"): Stored("w/Momentum", tensor(2))},
                    ),
                ),
            ),
            "",
            "",
        ),
        (
            holding(optimizers=(OptimizerState("o", "unknown", "keras2", unbound=(Stored("x", tensor(2)),)),)),
            "slot",
            "loss",
        ),
    ],
)
def test_check_names_what_cannot_be_held(checkpoint, kind, severity):
    issues = TF1.writer.check(checkpoint, WriteOptions())
    assert [(i.kind, i.severity) for i in issues] == ([(kind, severity)] if kind else [])


def test_missing_data_file_leaves_the_rest_readable(tmp_path):
    writer = BundleWriter(tmp_path, "m", max_shard_bytes=8)
    writer.add_array("w", 1, np.ones(2, np.float32))
    writer.add_array("w/Adam", 1, np.ones(2, np.float32))
    writer.add_array("w/Adam_1", 1, np.ones(2, np.float32))
    writer.add_array("beta1_power", 1, np.array(0.9, np.float32))
    writer.add_array("beta2_power", 1, np.array(0.99, np.float32))
    writer.finish()
    (tmp_path / "m.data-00003-of-00004").unlink()
    with open_checkpoint(tmp_path / "m") as checkpoint:
        assert [(i.kind, i.severity) for i in checkpoint.issues if i.severity == "error"] == [("missing", "error")]
        assert len(checkpoint.files) == 4
        assert checkpoint.variables["w"].tensor.read().tolist() == [1, 1]
        (adam,) = checkpoint.optimizers
        with pytest.raises(SourceError, match="doesn't exist"):
            adam.scalars["beta1_power"].tensor.read()


def test_detection_sample():
    if not SAMPLE.is_dir():
        pytest.skip("no sample at ../shared/od_samples")
    with open_checkpoint(SAMPLE) as checkpoint:
        kinds = {(state.kind, len(state.slots)) for state in checkpoint.optimizers}
        assert {kind for kind, _ in kinds} == {"rmsprop", "ema"}
        assert checkpoint.variables["global_step"].role == "counter"


PARTS = FIXTURES / "estimator_linear_parts" / "model.ckpt-3"
PARTED = "linear/linear_model/c/weights"


def test_slots_under_a_key_for_each_part_are_one(write):
    with open_checkpoint(PARTS) as source:
        (state,) = source.optimizers
        stored = state.slots[SlotKey(PARTED, "accumulator")]
        assert (stored.key, stored.copies) == (f"{PARTED}/part_0/Ftrl", (f"{PARTED}/part_1/Ftrl",))
        assert [e.region for e in stored.tensor.extents] == [((0, 2), (0, 1)), ((2, 1), (0, 1))]
        path, _ = write(source)
        accumulator = stored.tensor.read()
    entries = read_bundle(path).entries
    assert entries[f"{PARTED}/part_0/Ftrl"] == entries[f"{PARTED}/part_1/Ftrl"], "TensorFlow reads its slice of either"
    with open_checkpoint(path) as written:
        again = written.optimizers[0].slots[SlotKey(PARTED, "accumulator")]
        assert again.copies == stored.copies
        np.testing.assert_array_equal(again.tensor.read(), accumulator)


def test_a_part_that_is_missing_is_damage(tmp_path):
    table = read_table(index_file(PARTS))
    kept = [(key, bytes(value)) for key, value in table.items() if b"part_1/Ftrl" not in key]
    with (tmp_path / "model.ckpt-3.index").open("xb") as file:
        write_table(file, kept)
    with pytest.raises(DamagedError, match=r"part_0/Ftrl'.* the 1 parts leave a gap"):
        open_checkpoint(tmp_path / "model.ckpt-3")
