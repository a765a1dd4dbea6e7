"""What is wrong with the files around a checkpoint: each made as training programs leave it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptmigrate.doctor import Diagnosis, diagnose
from ckptmigrate.errors import SourceError

from .conftest import Arrays, save

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
HEX = "0123456789abcdef" * 2


@pytest.fixture
def train(tmp_path: Path, healthy: Arrays) -> Callable[..., Path]:
    """A folder with checkpoints, and a state file that says what it is told."""

    def made(*names: str, state: str = "", others: tuple[str, ...] = ()) -> Path:
        folder = tmp_path / "train"
        for name in names:
            save(folder / name, healthy)
        if state:
            lines = [f'model_checkpoint_path: "{state}"', *(f'all_model_checkpoint_paths: "{o}"' for o in others)]
            (folder / "checkpoint").write_text("".join(f"{line}\n" for line in lines))
        return folder

    return made


def told(diagnosis: Diagnosis, *kinds: str) -> list[tuple[str, str, str]]:
    return [(i.severity, i.name, i.message) for i in diagnosis.findings if i.kind in kinds]


def test_a_folder_in_order(train: Callable[..., Path]) -> None:
    folder = train("m-1", "m-2", state="m-2", others=("m-1", "m-2"))
    assert [i.kind for i in diagnose(folder).findings] == ["path"]


@pytest.mark.parametrize(
    ("state", "severity", "message", "mended"),
    [
        ("/old/place/m-2", "error", "the state file names /old/place/m-2, where nothing is, though m-2 stands", "m-2"),
        ("runs/7/m-2", "error", "the state file names runs/7/m-2, where nothing is, though m-2 stands", "m-2"),
        ("C:\\\\runs\\\\m-2", "error", "the state file names C:\\runs\\m-2, where nothing is, though m-2", "m-2"),
        ("m-9", "error", "the state file is newer than the files: it names m-9, which isn't here", "m-2"),
        ("other", "error", "the state file names other, which isn't here", "m-2"),
        ("m-1", "warning", "m-2 is newer than m-1, which the state file names", "m-2"),
    ],
)
def test_state_files(state: str, severity: str, message: str, mended: str, train: Callable[..., Path]) -> None:
    folder = train("m-1", "m-2", state=state)
    diagnosis = diagnose(folder)
    (found,) = told(diagnosis, "state")
    assert found[:2] == (severity, "checkpoint")
    assert found[2].startswith(message)
    assert diagnosis.exit_code == (severity == "error")
    (hint,) = [i.hint for i in diagnosis.findings if i.kind == "state"]
    subprocess.run(["sh", "-c", hint], check=True)  # the command mends it
    assert told(diagnose(folder), "state") == []
    assert (folder / "checkpoint").read_text() == (
        f'model_checkpoint_path: "{mended}"\nall_model_checkpoint_paths: "{mended}"\n'
    )


def test_older_checkpoints_that_are_gone(train: Callable[..., Path]) -> None:
    folder = train("m-3", state="m-3", others=("m-1", "m-2", "m-3"))
    assert told(diagnose(folder), "state") == [
        ("note", "checkpoint", "of the 3 checkpoints that the state file lists, 2 are gone")
    ]


def test_a_state_file_that_is_none(train: Callable[..., Path]) -> None:
    folder = train("m-1")
    (folder / "checkpoint").write_text("model_checkpoint_path m-1")
    ((severity, _, message),) = told(diagnose(folder / "m-1"), "state")
    assert severity == "warning"
    assert "tf.train.latest_checkpoint finds nothing here" in message


def test_a_state_file_and_nothing_else(train: Callable[..., Path]) -> None:
    folder = train("m-1", state="m-1")
    for file in folder.glob("m-1.*"):
        file.unlink()
    diagnosis = diagnose(folder)
    assert [(i.kind, i.severity) for i in diagnosis.findings] == [("source", "error"), ("state", "error")]
    assert diagnosis.exit_code == 1


@pytest.mark.parametrize(
    "name",
    [f"m-2_temp_{HEX}", "m-2_temp", "m-2.index.tempstate1234567", f"checkpoint.tmp{HEX}", ".out.ckptmigrate-x1y2z3"],
)
def test_remains_of_killed_saves(name: str, train: Callable[..., Path]) -> None:
    folder = train("m-1")
    (folder / name).mkdir()
    diagnosis = diagnose(folder / "m-1")
    ((severity, found, _),) = told(diagnosis, "leftover")
    assert (severity, found) == ("warning", name)
    command = next(i.hint for i in diagnosis.findings if i.kind == "leftover").partition(": ")[2]
    assert shlex.split(command) == ["rm", "-r", str(folder / name)]


def test_parts_of_others_that_are_missing(train: Callable[..., Path]) -> None:
    folder = train("m-1", "m-2", "m-3")
    (folder / "m-2.data-00000-of-00001").unlink()
    (folder / "m-3.index").unlink()
    assert told(diagnose(folder / "m-1"), "missing") == [
        ("warning", "m-3", "can't be restored: its index is missing, which has the names and shapes"),
        ("warning", "m-2", "can't be restored: there is no data file"),
    ]


def test_a_data_file_that_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    shutil.copytree(FIXTURES / "tf1" / "sharded", folder)
    next(folder.glob("*.data-00001-of-*")).unlink()
    diagnosis = diagnose(folder)
    ((severity, _, message),) = told(diagnosis, "missing")
    assert severity == "error"
    assert message.startswith("data file model.ckpt.data-00001-of-")
    assert diagnosis.exit_code == 1


@pytest.mark.parametrize(
    ("fixture", "part", "message"),
    [
        ("tf1-v1/sharded", "*-00001-of-*", "shard model.ckpt-00001-of-00003 doesn't exist"),
        ("safetensors/sharded", "*-00002-of-*", "a shard with 2 tensors doesn't exist"),
        (
            "savedmodel/tf_keras_adam/model",
            "variables/*.data-*",
            "data file variables.data-00000-of-00001 doesn't exist",
        ),
    ],
)
def test_parts_of_other_formats(fixture: str, part: str, message: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / fixture, tmp_path / "own")
    next((tmp_path / "own").glob(part)).unlink()
    diagnosis = diagnose(tmp_path / "own")
    ((severity, _, text),) = told(diagnosis, "missing")
    assert (severity, text[: len(message)]) == ("error", message)
    assert told(diagnosis, "optimizer") == []


def test_remains_in_a_saved_model(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "savedmodel" / "tf_keras_adam" / "model", tmp_path / "own")
    (tmp_path / "own" / "variables" / "variables_temp").mkdir()
    assert [name for _, name, _ in told(diagnose(tmp_path / "own"), "leftover")] == ["variables_temp"]


def test_a_data_file_without_its_index(train: Callable[..., Path]) -> None:
    folder = train("m-1")
    (folder / "m-1.index").unlink()
    diagnosis = diagnose(folder / "m-1")
    assert [(i.kind, i.severity) for i in diagnosis.findings] == [("source", "error"), ("missing", "warning")]


def test_data_files_of_two_saves(train: Callable[..., Path]) -> None:
    folder = train("m-1")
    shutil.copy(folder / "m-1.data-00000-of-00001", folder / "m-1.data-00001-of-00002")
    assert told(diagnose(folder / "m-1"), "mixed") == [
        ("warning", "m-1", "data files of 1 and of 2: they are of different saves; the index goes with one of them")
    ]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such checkpoint"):
        diagnose(tmp_path / "m-1")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tf1/adam/model.ckpt-3.index", "tf.train.Checkpoint.restore takes it for an empty checkpoint"),
        ("tf1/adam/model.ckpt-3.data-00000-of-00001", "TensorFlow says 'not an sstable (bad magic number)' to a data"),
        ("tf1/adam", "Saver.restore and Checkpoint.restore say 'Is a directory'"),
        ("savedmodel/tf_keras_adam/model", "Saver.restore says 'Is a directory' to a SavedModel, Keras 3's"),
        ("tf1/adam/model.ckpt-3", ""),
        ("keras-v3/keras3_adam/m.keras", ""),
    ],
)
def test_what_is_said_to_a_path(path: str, message: str) -> None:
    found = told(diagnose(FIXTURES / path), "path")
    assert [(severity, text[: len(message)]) for severity, _, text in found] == [("note", message)] * bool(message)
