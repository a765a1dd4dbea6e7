"""Keras v3 files: names and owners as Keras means them, and no archive or index gets past the guards."""

from __future__ import annotations

import json
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptmigrate import convert
from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError, TargetError, UsageError
from ckptmigrate.formats.keras_v3 import FORMAT
from ckptmigrate.formats.keras_v3.naming import counted, next_name, of_class, snake_case
from ckptmigrate.table import Checkpoint, SlotKey

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "keras-v3"


def fixture(name: str) -> Path:
    return next(
        p
        for p in FIXTURES.joinpath(name).iterdir()
        if p.name.endswith((".keras", ".json", ".h5")) and p.name != "listing.json"
    )


def opened(path: Path) -> Checkpoint:
    assert FORMAT.identify(path)
    return FORMAT.read(path)


def names(path: Path) -> dict[str, str]:
    with opened(path) as checkpoint:
        return {v.key: v.name for v in checkpoint.variables.values() if v.role != "metric"}


def test_counters_and_classes() -> None:
    assert [snake_case(c) for c in ("BatchNormalization", "Conv2D", "PReLU", "MyRNN2Cell")] == [
        "batch_normalization", "conv2d", "p_re_lu", "my_rnn2_cell",
    ]  # fmt: skip
    used: dict[str, int] = {}
    assert [next_name("Dense", used) for _ in range(3)] == ["dense", "dense_1", "dense_2"]
    assert of_class(["dense_10", "dense_2", "dense", "dense_final"], "Dense") == ["dense", "dense_2", "dense_10"]
    assert counted("dense_01") == ("dense_01", 0)


@pytest.mark.parametrize("generation", ["keras2", "keras3"])
def test_every_kind_of_layer_is_named(generation: str) -> None:
    """Both Keras call the same variable the same, whatever group it stands in."""
    with opened(fixture(f"{generation}_layers")) as checkpoint:
        found = {name: v.tensor.shape for name, v in checkpoint.variables.items()}
        layers = [layer.name for layer in checkpoint.structure.layout or ()]
    assert not [name for name in found if "vars/" in name]
    assert found["depthwise/depthwise_kernel"] == (3, 3, 4, 1)
    assert found["mha/output_dense/kernel"] == (2, 3, 4)
    assert found["bi/backward_layer/cell/recurrent_kernel"] == (2, 8)
    assert found["stacked/cell/cells/1/bias"] == (2, 9)
    assert found["td/layer/kernel"] == (5, 4)
    assert found["sub/b/moving_mean"] == (3,)
    assert found["norm/count"] == ()
    assert found["bn_noscale/beta"] == found["bn_nocenter/gamma"] == (4,)
    assert layers[:4] == ["image", "conv", "bn", "bn_noscale"]
    assert [layers.index(n) for n in ("frozen", "to_shared", "shared", "sub", "logits")] == sorted(
        layers.index(n) for n in ("frozen", "to_shared", "shared", "sub", "logits")
    )


def test_frozen_layers_and_roles() -> None:
    with opened(fixture("keras3_layers")) as checkpoint:
        assert checkpoint.variables["frozen/kernel"].trainable is False
        assert checkpoint.variables["shared/kernel"].trainable is True
        assert checkpoint.variables["bn/moving_variance"].role == "bn_variance"
        assert checkpoint.variables["norm/count"].role == "counter"


def test_weights_alone_are_named_by_their_attributes() -> None:
    """What only a configuration tells stays a number: which of gamma and beta there is, a class behind an attribute."""
    told, alone = names(fixture("keras3_layers")), names(fixture("keras3_layers_weights"))
    different = {told[key] for key in told if told[key] != alone[key]}
    assert {n for n in different if not n.startswith(("td/", "stacked/"))} == {"bn_noscale/beta", "bn_nocenter/gamma"}


def test_subclassed_model() -> None:
    found = names(fixture("keras3_subclassed"))
    assert found["enc/vars/0"] == "enc/vars/0"
    assert found["enc/first/vars/0"] == "enc/first/kernel"
    assert found["enc/ways/dense_1/vars/0"] == "enc/ways/dense_1/kernel"
    assert found["enc/nested/container_1/dense/vars/1"] == "enc/nested/container_1/dense/bias"
    assert found["head/vars/0"] == "head/vars/0"  # named by its user, and no group tells its class


def test_quantised_and_small_floats() -> None:
    with opened(fixture("keras3_int8")) as checkpoint:
        assert checkpoint.variables["d2/kernel"].tensor.dtype.name == "int8"
        assert checkpoint.variables["d2/kernel_scale"].tensor.shape == (1,)
        assert checkpoint.variables["d1/bias"].tensor.shape == (4,)
    with opened(fixture("keras3_bfloat16")) as checkpoint:
        kernel = checkpoint.variables["d1/kernel"].tensor
        assert (kernel.dtype.name, kernel.read().dtype.name) == ("bfloat16", "bfloat16")


@pytest.mark.parametrize(
    ("name", "kind", "dialect", "slots", "scalars"),
    [
        ("keras3_adam", "adam", "keras3", ["m", "v"], ["iter", "learning_rate"]),
        ("keras3_weights", "adam", "keras3", ["m", "v"], ["iter", "learning_rate"]),
        ("keras3_sharded", "adam", "keras3", ["m", "v"], ["iter", "learning_rate"]),
        ("keras3_schedule", "momentum", "keras3", ["momentum"], ["iter"]),
        ("keras3_nadam", "nadam", "keras3", ["m", "v"], ["iter", "learning_rate", "momentum_cache"]),
        ("keras3_rmsprop", "rmsprop", "keras3", ["rms", "momentum", "mg"], ["iter", "learning_rate"]),
        ("keras2_adam", "adam", "keras2", ["m", "v", "vhat"], ["iter"]),
    ],
)
def test_optimizers(name: str, kind: str, dialect: str, slots: list[str], scalars: list[str]) -> None:
    with opened(fixture(name)) as checkpoint:
        (state,) = checkpoint.optimizers
    assert (state.kind, state.dialect, state.step) == (kind, dialect, 2)
    owners = ["d1/kernel", "d1/bias", "bn/gamma", "bn/beta", "d2/kernel"]
    assert set(state.slots) == {SlotKey(owner, slot) for owner in owners for slot in slots}
    assert list(state.scalars) == scalars
    assert not state.unbound
    if "learning_rate" in scalars:
        assert state.hyper["learning_rate"] == pytest.approx(0.01)


def test_slots_whose_owner_nothing_tells_stay_together() -> None:
    with opened(fixture("keras2_weights")) as checkpoint:
        (state,) = checkpoint.optimizers
    assert (state.dialect, state.slots, len(state.unbound)) == ("keras2", {}, 10)


def test_loss_scaling_and_the_optimizer_in_it() -> None:
    with opened(fixture("keras3_loss_scale")) as checkpoint:
        around, inner = checkpoint.optimizers
    assert list(around.scalars) == ["iter", "learning_rate", "step_counter", "dynamic_scale"]
    assert (around.kind, inner.name, inner.kind) == ("loss_scale", "optimizer/inner_optimizer", "adam")
    assert (len(around.unbound), len(inner.slots), len(inner.unbound)) == (0, 10, 0)
    twins = [key for held in (*inner.scalars.values(), *inner.slots.values()) for key in held.copies]
    assert twins == [f"optimizer/vars/{number}" for number in range(4, 16)]


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a fixture's weights, changed by a function of the open HDF5 file."""

    def make(name: str, change: Callable[[Any], None]) -> Path:
        path = tmp_path / "edited.weights.h5"
        shutil.copy(fixture(name), path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def test_counters_in_steps_of_two(edited: Callable[..., Path]) -> None:
    """As TF 2.12 and 2.13 wrote them, under another root: measured `dense, dense_2, dense_4`."""

    def change(file: Any) -> None:
        file.move("layers", "_layer_checkpoint_dependencies")
        for old, new in (("dense_1", "dense_2"),):
            file.move(f"_layer_checkpoint_dependencies/{old}", f"_layer_checkpoint_dependencies/{new}")

    path = edited("keras35_weights", change)
    with opened(path) as checkpoint:
        assert checkpoint.variables["dense_2/kernel"].tensor.shape == (4, 1)
    told = json.loads(zipfile.ZipFile(fixture("keras35")).read("config.json"))
    archive = path.with_name("m.keras")
    write_zip(archive, {"config.json": json.dumps(told), "metadata.json": "{}", "model.weights.h5": path.read_bytes()})
    with opened(archive) as checkpoint:
        assert list(checkpoint.variables) == list(names(fixture("keras35")).values())


def test_two_orders_leave_slots_without_owner(edited: Callable[..., Path]) -> None:
    """A Dense and an Einsum layer of the same shapes: either could have come first."""

    def change(file: Any) -> None:
        for group, label in (("dense", "a"), ("einsum_dense", "b")):
            held = file.create_group(f"layers/{group}/vars")
            held.attrs["name"] = label
            held["0"], held["1"] = np.zeros((2, 2), "f4"), np.zeros(2, "f4")
        state = file.create_group("optimizer/vars")
        state.attrs["name"] = "lion"
        state["0"], state["1"] = np.int64(1), np.float32(0.1)
        for number, shape in enumerate([(2, 2), (2,), (2, 2), (2,)], 2):
            state[str(number)] = np.zeros(shape, "f4")

    def empty_first(file: Any) -> None:
        for name in list(file):
            del file[name]
        change(file)

    with opened(edited("keras3_weights", empty_first)) as checkpoint:
        (state,) = checkpoint.optimizers
        assert (len(state.slots), len(state.unbound)) == (0, 4)
        assert any(issue.kind == "guess" for issue in checkpoint.issues)


def test_legacy_file_of_that_name_is_not_ours(tmp_path: Path) -> None:
    """TF 2.4 wrote the legacy layout whatever the name."""
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
    assert not FORMAT.identify(path)


def test_datasets_outside_vars_are_listed(edited: Callable[..., Path]) -> None:
    path = edited("keras35_weights", lambda file: file.create_dataset("extra/thing", data=np.ones(3)))
    with opened(path) as checkpoint:
        assert checkpoint.variables["extra/thing"].role == "other"


WHOLE = "keras3_adam"


def write_zip(path: Path, members: dict[str, Any], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def parts() -> dict[str, bytes]:
    with zipfile.ZipFile(fixture(WHOLE)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_all(path: Path) -> dict[str, bytes]:
    with FORMAT.read(path) as checkpoint:
        return {row.key: row.tensor.read().tobytes() for row in checkpoint.rows()}


@pytest.mark.parametrize("name", ["assets/../../x", "/etc/x", "assets\\..\\x", "C:x", "../x"])
def test_members_that_lead_elsewhere(name: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="lead out"):
        FORMAT.read(write_zip(tmp_path / "m.keras", {**parts, name: b"x"}))


def test_symbolic_links(parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", parts)
    link = zipfile.ZipInfo("assets/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DamagedError, match="symbolic link"):
        FORMAT.read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", parts)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(DamagedError, match="stands twice"):
        FORMAT.read(path)


def test_a_bomb(parts: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        with archive.open("assets/bomb", "w") as member:
            for _ in range(270):
                member.write(bytes(1 << 20))
    with pytest.raises(DamagedError, match="a bomb"):
        FORMAT.read(path)


def flags(data: bytes, offset: int, value: bytes) -> bytes:
    """Sets a field of every entry in the archive's directory."""
    out = bytearray(data)
    at = data.index(b"PK\x01\x02")
    while at >= 0:
        out[at + offset : at + offset + len(value)] = value
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(out)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (8, b"\x01\x00", "encrypted"),
        (10, b"\x63\x00", "packed by method 99"),
        (20, struct.pack("<I", 0xFFFFFFFF), "expected|zip"),
        (24, struct.pack("<I", 1 << 30), "expected"),
        (42, struct.pack("<I", 7), "no such member"),
    ],
    ids=["encrypted", "method", "zip64 without its fields", "size", "offset"],
)
def test_a_directory_that_lies(offset: int, value: bytes, reason: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", parts)
    path.write_bytes(flags(path.read_bytes(), offset, value))
    with pytest.raises((DamagedError, SourceError), match=reason):
        read_all(path)


def test_a_changed_byte_is_found_when_values_are_read(parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", parts)
    with opened(path) as checkpoint:
        kernel = checkpoint.variables["d1/kernel"].tensor.read().tobytes()
    data = path.read_bytes()
    at = data.index(kernel)
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    with opened(path) as checkpoint, pytest.raises(DamagedError, match="CRC-32"):
        checkpoint.variables["d1/kernel"].tensor.read()


def test_an_archive_that_was_packed_again(parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", parts, zipfile.ZIP_DEFLATED)
    assert read_all(path) == read_all(fixture(WHOLE))


@pytest.mark.parametrize("missing", ["model.weights.h5", "config.json"])
def test_a_member_that_is_missing(missing: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", {k: v for k, v in parts.items() if k != missing})
    with pytest.raises(SourceError, match=missing):
        FORMAT.read(path)


@pytest.mark.parametrize(
    "config",
    [b"", b"[]", b"{}", b'{"class_name": 3}', b"[" * 100_000, b"\xff\xfe", b'{"class_name": "X", "config": ' * 200],
)
def test_configurations_that_are_none(config: bytes, parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", {**parts, "config.json": config})
    with pytest.raises(DamagedError, match="configuration"):
        FORMAT.read(path)


def test_nothing_in_a_configuration_is_run(parts: dict[str, bytes], tmp_path: Path) -> None:
    """CVE-2025-1550: a module and a function of the file's own choice."""
    target = tmp_path / "ran"
    config = {
        "module": "os",
        "class_name": "system",
        "config": {"command": f"touch {target}", "layers": [{"module": "os", "class_name": "system", "config": {}}]},
    }
    path = write_zip(tmp_path / "m.keras", {**parts, "config.json": json.dumps(config)})
    assert read_all(path) == read_all(fixture(WHOLE))
    assert not target.exists()


@pytest.mark.parametrize("metadata", [b"", b"[]", b"3", b"[" * 100_000])
def test_metadata_that_is_none(metadata: bytes, parts: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras", {**parts, "metadata.json": metadata})
    with pytest.raises(DamagedError, match="metadata"):
        FORMAT.read(path)


def test_hdf5_inside_is_guarded(parts: dict[str, bytes], tmp_path: Path) -> None:
    inner = tmp_path / "inner.h5"
    with h5py.File(inner, "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "x")
    path = write_zip(tmp_path / "m.keras", {**parts, "model.weights.h5": inner.read_bytes()})
    with pytest.raises(DamagedError, match="link"):
        FORMAT.read(path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURES / "keras3_sharded", tmp_path / "sharded") / "m.weights.json"


def rewritten(index: Path, weight_map: Any) -> Path:
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def test_a_missing_shard_is_an_issue(sharded: Path) -> None:
    sharded.with_name("m_00002.weights.h5").unlink()
    with opened(sharded) as checkpoint:
        (issue,) = [i for i in checkpoint.issues if i.severity == "error"]
    assert (issue.kind, Path(issue.where).name) == ("missing", "m_00002.weights.h5")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", "", 3, None, "a\0b"])
def test_shards_elsewhere(name: Any, sharded: Path) -> None:
    with pytest.raises(DamagedError, match="beside the index"):
        FORMAT.read(rewritten(sharded, {"/vars": name}))


def test_a_dataset_in_two_shards(sharded: Path) -> None:
    shutil.copy(sharded.with_name("m_00000.weights.h5"), sharded.with_name("m_00001.weights.h5"))
    with pytest.raises(DamagedError, match="is in m_00000"):
        FORMAT.read(sharded)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": 3}', "[" * 100_000, '{"weight_map": {"a": "x", "a": "y"}}']
)
def test_indexes_that_are_none(text: str, sharded: Path) -> None:
    sharded.write_text(text)
    with pytest.raises(DamagedError):
        FORMAT.read(sharded)


def hostile_hdf5() -> Iterator[tuple[str, Callable[[Any], None]]]:
    def circle(file: Any) -> None:
        file["layers/dense/again"] = file["layers"]

    def external(file: Any) -> None:
        file.create_dataset("layers/x/vars/0", (4,), "f4", external=[("/etc/passwd", 0, 16)])

    def shape_bomb(file: Any) -> None:
        file.create_dataset("layers/x/vars/0", (1 << 34,), "f4", chunks=(1 << 10,))

    yield "soft link", lambda file: file.__setitem__("layers/x", h5py.SoftLink("/layers"))
    yield "circle", circle
    yield "external storage", external
    yield "shape bomb", shape_bomb


@pytest.mark.parametrize("change", [c for _, c in hostile_hdf5()], ids=[n for n, _ in hostile_hdf5()])
def test_hostile_hdf5(change: Callable[[Any], None], edited: Callable[..., Path]) -> None:
    path = edited("keras35_weights", change)
    assert FORMAT.identify(path)
    with pytest.raises(CkptMigrateError) as error:
        FORMAT.read(path)
    assert str(path) in error.value.where


def converted(source: Path, target: Path, **options: Any) -> Path:
    report = convert(source, target, to="keras-v3", **options)
    assert (report.exit_code, report.verdict) == (0, "verified"), report.issues
    return target


def attributes(path: Path) -> dict[str, dict[str, Any]]:
    """Group -> its attributes, as h5py reads them; those that only we write left out."""
    found: dict[str, dict[str, Any]] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, thing: found.update({name: dict(thing.attrs)}))
    return {g: {k: v for k, v in a.items() if not k.startswith("ckptmigrate.")} for g, a in found.items()}


def test_weights_are_written_as_keras_writes_them(tmp_path: Path) -> None:
    """The same groups, numbers and names as in Keras 3.15's own file."""
    ours, theirs = (
        attributes(converted(fixture(WHOLE), tmp_path / "m.weights.h5")),
        attributes(fixture("keras3_weights")),
    )
    assert ours == theirs


def test_shards_are_written_as_keras_writes_them(tmp_path: Path) -> None:
    target = converted(fixture(WHOLE), tmp_path / "m.weights.json", max_shard_bytes=150)
    ours, theirs = (json.loads(p.read_text()) for p in (target, fixture("keras3_sharded")))
    assert ours["metadata"] == theirs["metadata"]
    as_lists = {k: [v] if isinstance(v, str) else v for k, v in theirs["weight_map"].items()}
    assert {k: v for k, v in ours["weight_map"].items() if not k.startswith("/optimizer")} == {
        k: v for k, v in as_lists.items() if not k.startswith("/optimizer")
    }
    assert {p.name for p in tmp_path.iterdir()} == {target.name, *(f for v in ours["weight_map"].values() for f in v)}


@pytest.mark.parametrize("name", ["m.weights.h5", "m.keras", "m.weights.json"])
def test_same_input_same_bytes(name: str, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        converted(fixture(WHOLE), folder / name)
    outputs = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    assert outputs[0] == outputs[1]
    assert not any(str(tmp_path).encode() in data for data in outputs[0].values())


def test_an_archive_carries_configuration_and_assets(parts: dict[str, bytes], tmp_path: Path) -> None:
    source = write_zip(tmp_path / "source.keras", {**parts, "assets/layers/words/vocabulary.txt": b"a\nb"})
    with zipfile.ZipFile(converted(source, tmp_path / "m.keras")) as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held.pop("model.weights.h5") != parts["model.weights.h5"]
    assert held == {k: v for k, v in parts.items() if k != "model.weights.h5"} | {
        "assets/layers/words/vocabulary.txt": b"a\nb"
    }


def test_names_stay_without_a_configuration(tmp_path: Path) -> None:
    """What only the configuration told is left in attributes that Keras passes over."""
    target = converted(fixture("keras2_layers"), tmp_path / "m.weights.h5")
    assert set(names(target).values()) == set(names(fixture("keras2_layers")).values())
    with opened(converted(fixture("keras2_adam"), tmp_path / "a.weights.h5")) as checkpoint:
        (state,) = checkpoint.optimizers
        assert (state.kind, state.dialect, len(state.slots)) == ("adam", "keras2", 15)


@pytest.mark.parametrize("name", ["model", "model.h5", "model.hdf5", "model.keras.zip"])
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is called") as error:
        convert(fixture(WHOLE), tmp_path / name, to="keras-v3")
    assert ".weights.h5" in error.value.hint


def test_an_archive_needs_a_configuration(tmp_path: Path) -> None:
    report = convert(fixture("keras3_weights"), tmp_path / "m.keras", to="keras-v3")
    assert report.exit_code == 6
    assert ["--template" in i.hint for i in report.issues if i.severity == "error"] == [True]
    converted(fixture("keras3_weights"), tmp_path / "m.keras", template=fixture(WHOLE))


def test_one_file_has_no_shards(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="can't be split") as error:
        convert(fixture(WHOLE), tmp_path / "m.keras", to="keras-v3", max_shard_bytes=10)
    assert ".weights.json" in error.value.hint
    assert list(tmp_path.iterdir()) == []
