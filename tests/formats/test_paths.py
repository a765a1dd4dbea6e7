"""What people type finds the checkpoint they mean; what is none is answered with a way on."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.errors import SourceError, UsageError
from ckptmigrate.formats import by_name, identify, open_checkpoint
from ckptmigrate.formats.paths import resolve
from ckptmigrate.wire.bundle_writer import BundleWriter

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / ".." / "shared" / "corpus"


@pytest.fixture
def save(tmp_path):
    """Writes a bundle of one variable; gives its prefix."""

    def run(name, age=0, folder=tmp_path, **options):
        folder.mkdir(parents=True, exist_ok=True)
        writer = BundleWriter(folder, name, **options)
        writer.add_array("w", 1, np.ones(8, np.float32))
        writer.add_array("b", 1, np.ones(8, np.float32))
        writer.finish()
        os.utime(folder / f"{name}.index", (1_000_000 - age, 1_000_000 - age))
        return folder / name

    return run


def state(folder, *paths):
    newest = paths[-1]
    lines = [f'model_checkpoint_path: "{newest}"', *(f'all_model_checkpoint_paths: "{p}"' for p in paths)]
    (folder / "checkpoint").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("given", ["", ".index", ".data-00000-of-00001", ".data-00000-of-00007", ".meta", ".", "*"])
def test_any_file_of_a_bundle_stands_for_its_prefix(given, save, tmp_path):
    prefix = save("model-3")
    (tmp_path / "model-3.meta").write_bytes(b"")
    found = resolve(f"{prefix}{given}")
    assert found.path == prefix
    assert ("model-3" in found.note) == bool(given)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["ckpt-1", "ckpt-2"], "ckpt-2"),
        (["ckpt-2", "ckpt-1"], "ckpt-1"),
        (["/home/of/another/machine/ckpt-1"], "ckpt-1"),
        (["C:\\\\runs\\\\new\\\\ckpt-2"], "ckpt-2"),
        (["out/st/ckpt-1"], "ckpt-1"),
        (["ckpt-1", "ckpt-9"], "ckpt-1"),
        (["ckpt-8", "ckpt-9"], "ckpt-2"),
        ([".."], "ckpt-2"),
    ],
)
def test_state_file_names_the_newest(entries, expected, save, tmp_path):
    save("ckpt-2", age=5)
    save("ckpt-1", age=9)
    state(tmp_path, *entries)
    for given in (tmp_path, tmp_path / "checkpoint"):
        found = resolve(given)
        assert found.path == tmp_path / expected
        assert "state file" in found.note


def test_files_beside_the_state_file_come_before_those_it_names_elsewhere(save, tmp_path):
    elsewhere = save("ckpt-1", folder=tmp_path / "elsewhere")
    train = tmp_path / "train"
    train.mkdir()
    state(train, elsewhere)
    found = resolve(train)
    assert found.path == elsewhere
    assert f"OUTSIDE its folder at {elsewhere}" in found.note
    save("ckpt-1", folder=train)
    assert resolve(train).path == train / "ckpt-1"


def test_state_file_of_nothing_is_an_error_that_lists_what_is_there(tmp_path):
    state(tmp_path, "ckpt-9")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SourceError, match="names ckpt-9, which isn't there") as error:
        resolve(tmp_path)
    assert "notes.txt" in error.value.hint


def test_prefix_called_checkpoint(save, tmp_path):
    prefix = save("checkpoint")
    state(tmp_path, "checkpoint")
    assert resolve(tmp_path).path == resolve(prefix).path == resolve(f"{prefix}.index").path == prefix


def test_slash_asks_for_the_folder(save, tmp_path):
    prefix = save("model")
    inner = save("ckpt-1", folder=tmp_path / "model")
    assert resolve(prefix).path == prefix
    assert "a folder of that name" in resolve(prefix).note
    assert resolve(f"{prefix}/").path == inner


def test_newest_is_the_last_complete_one_written(save, tmp_path):
    save("a-20", age=3)
    save("a-3", age=2)
    save("a-100", age=2)
    assert resolve(tmp_path).path.name == "a-100"
    save("b", age=0)
    (tmp_path / "b.data-00000-of-00001").unlink()
    assert resolve(tmp_path).path.name == "a-100"
    assert "newest of 4" in resolve(tmp_path).note


def test_only_incomplete_one_is_still_found(save, tmp_path):
    prefix = save("b")
    (tmp_path / "b.data-00000-of-00001").unlink()
    assert "not complete" in resolve(tmp_path).note
    with open_checkpoint(prefix) as checkpoint:
        assert [i.severity for i in checkpoint.issues] == ["error"]
        assert checkpoint.issues[0].where.endswith("b.data-00000-of-00001")
        with pytest.raises(SourceError, match="doesn't exist"):
            checkpoint.variables["w"].tensor.read()


@pytest.mark.parametrize(
    ("slug", "given", "expected"),
    [
        ("v2-tf2onnx-regression-winpath", "", "model"),
        ("v1-sugyan-softmax1000", "", "softmax-1000.ckpt"),
        ("v1-serving-bad", "", "export"),
        ("v1-serving-session-bundle", "export", "export"),
        ("v1-serving-session-bundle", "export-?????-of-00001", "export-?????-of-00001"),
        ("v1-sugyan-simple", "", "simple.ckpt"),
        ("obj-tfx-tuner-0768", "", "checkpoint"),
        ("obj-tfx-tuner-0768", "checkpoint", "checkpoint"),
        ("v2-t2t-transformer", "model.ckpt-1.data-00001-of-00002", "model.ckpt-1"),
        ("v2-lfads-65000", "model-65000.meta", "model-65000"),
    ],
)
def test_real_folders(slug, given, expected):
    if not (CORPUS / slug).is_dir():
        pytest.skip("no corpus at ../shared/corpus")
    assert identify(CORPUS / slug / given).path == CORPUS / slug / expected


def test_lone_file_in_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "readme.md").write_bytes(b"")
    assert resolve(tmp_path).path.name == "model.safetensors"
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(SourceError, match="no single checkpoint") as error:
        resolve(tmp_path)
    assert "model.safetensors, other.safetensors" in error.value.hint


def test_near_names_are_offered(save, tmp_path):
    save("model.ckpt-1000")
    with pytest.raises(SourceError, match="no such checkpoint") as error:
        resolve(tmp_path / "model.ckpt")
    assert "model.ckpt-1000" in error.value.hint
    with pytest.raises(SourceError) as error:
        resolve(tmp_path / "runs" / "model.ckpt")
    assert str(tmp_path) in error.value.hint


def test_data_without_index(save, tmp_path):
    prefix = save("m")
    (tmp_path / "m.index").unlink()
    for given in (prefix, f"{prefix}.data-00000-of-00001"):
        with pytest.raises(SourceError, match="without its index") as error:
            resolve(given)
        assert "copy it beside" in error.value.hint


@pytest.mark.parametrize("given", ["a\0b", "x" * 5000])
def test_impossible_names(given):
    with pytest.raises(SourceError):
        resolve(given)


def zipped(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


def holding(content):
    return lambda path: path.write_bytes(content)


def text_saved_model(path):
    path.mkdir()
    (path / "saved_model.pbtxt").write_bytes(b"saved_model_schema_version: 1")


STRANGERS = {
    "lfs": ("model.h5", holding(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "git lfs pull"),
    "pickle": ("model.pt", holding(pickle.dumps({"a": 1})), "safetensors"),
    "torch": ("model.bin", zipped("archive/data.pkl"), "safetensors"),
    "tflite": ("model.tflite", holding(b"\x1c\0\0\0TFL3" + bytes(40)), "converted from"),
    "onnx": ("model.onnx", holding(b"\x08\x07"), "exported from"),
    "meta": ("model.ckpt.meta", holding(b"\n\x05"), "give the checkpoint"),
    "html": ("model.index.html", holding(b"<!DOCTYPE html>"), "download"),
    "gzip": ("model.tar.gz", holding(b"\x1f\x8b\x08"), "unpack"),
    "keras": ("model.keras", zipped("metadata.json"), "Keras"),
    "torn graph": ("frozen.pb", holding(b"\n\x05"), "made from"),
    "text graph": ("graph.pbtxt", holding(b"# a graph\nnode {\n"), "as_text=False"),
    "text saved_model": ("export", text_saved_model, "variables/variables"),
    "proto of a SavedModel": ("graph.pb", holding(b"\x08\x01\x12\x02\x0a\x00"), "saved_model.pb"),
    "meta graph": ("graph.pb", holding(b"\x0a\x02\x2a\x00\x12\x00"), "saved with it"),
    "other": ("notes.txt", holding(b"hello"), "--from"),
    "empty": ("notes", holding(b""), "--from"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_strangers_are_answered_with_what_to_do(kind, tmp_path):
    name, write, hint = STRANGERS[kind]
    write(tmp_path / name)
    with pytest.raises(SourceError) as error:
        open_checkpoint(tmp_path / name)
    assert hint in error.value.hint


def test_pointer_in_place_of_an_index(tmp_path):
    (tmp_path / "m.index").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceError, match="LFS pointer"):
        open_checkpoint(tmp_path / "m")


def test_used_says_what_was_opened(save, tmp_path):
    prefix = save("m-1")
    assert open_checkpoint(prefix).metadata["used"] == str(prefix)
    assert open_checkpoint(tmp_path).metadata["used"] == f"{prefix} (m-1, the only one in the folder)"


def test_unknown_format_lists_those_there_are(save):
    with pytest.raises(UsageError) as error:
        by_name("tf3")
    assert "tf1" in error.value.hint
    assert open_checkpoint(save("m"), "tf1").format == "tf1"
