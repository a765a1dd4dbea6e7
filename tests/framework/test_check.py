"""What becomes of a check whose child fails: an issue or a usage error, never an exception of somebody else's."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.dtypes import from_numpy
from ckptmigrate.errors import UsageError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.framework import check
from ckptmigrate.framework.compare import first_difference
from ckptmigrate.table import Checkpoint

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.mark.parametrize("name", ["safetensors/plain/model.safetensors", "safetensors/dtypes/model.safetensors",
                                  "safetensors/sharded/model.safetensors.index.json", "npz/plain/model.npz",
                                  "npz/compressed/model.npz"])  # fmt: skip
def test_files_without_tensorflow(name):
    with open_checkpoint(FIXTURES / name) as checkpoint:
        issues, details = check(checkpoint)
        tensors = len(list(checkpoint.rows()))
    assert not [issue for issue in issues if issue.severity == "error"]
    assert details["restored"] >= tensors - 2, details  # float8 is only noted


def test_a_file_that_is_gone_is_an_issue():
    nothing = Checkpoint(Path("nowhere.npz"), "npz", {})
    (issue,), details = check(nothing)
    assert issue.severity == "error"
    assert "exit code 1" in issue.message
    assert details == {"checked_by": "nothing"}


def test_a_child_that_hangs_is_an_issue():
    with open_checkpoint(FIXTURES / "npz/plain/model.npz") as checkpoint:
        (issue,), _ = check(checkpoint, timeout=0.001)
    assert "no answer within" in issue.message


def test_a_child_that_crashes_is_an_issue(tmp_path, monkeypatch):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    (issue,), _ = check(Checkpoint(Path("any"), "npz", {}))
    assert "crashed with SIGSEGV" in issue.message


def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    """A folder full of somebody's checkpoint may hold somebody's numpy.py too."""
    for module in ("numpy", "json", "ckptmigrate", "tensorflow"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    with open_checkpoint(FIXTURES / "npz/plain/model.npz") as checkpoint:
        issues, _ = check(checkpoint)
    assert issues == ()
    assert not (tmp_path / "ran").exists()


def test_a_missing_extra_is_a_usage_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        check(Checkpoint(Path("any"), "tf2", {}))
    assert error.value.hint == "pip install 'ckptmigrate[tensorflow]'"


def test_a_format_nobody_else_reads_is_said():
    (issue,), _ = check(Checkpoint(Path("any"), "unheard-of", {}))
    assert issue.severity == "warning"


NAN = np.array([0x7FC00001, 0x7FC00001], np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (NAN, NAN.copy(), ""),
        (NAN, np.array([np.nan, np.nan], np.float32), "2 of 2 elements differ"),
        (np.float32([0.0]), np.float32([-0.0]), "1 of 1"),
        (np.zeros((2, 0)), np.zeros((2, 0)), ""),
        (np.zeros(2), np.zeros((2, 1)), "shape [2, 1]"),
        (np.float32(1.5), np.array(1.5, ">f4"), ""),
        (np.array([b"a\x00", b""], object), np.array([b"a", b""], object), "1 of 2"),
    ],
)
def test_first_difference(ours, theirs, says):
    ours = np.asarray(ours)
    assert from_numpy(ours.dtype) is not None
    found = first_difference(ours, theirs, ours.dtype == object)
    assert found.startswith(says) if says else found == ""
