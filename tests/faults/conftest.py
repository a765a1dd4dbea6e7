"""Running the real command line, and running it with a fault at every call."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTY = Path(__file__).with_name("faulty.py")


@dataclass(frozen=True)
class Run:
    """One run: its exit code (negative for the signal that ended it), whether the fault was met, what it said, what
    stands in its folder, and the run that came after."""

    code: int
    reached: bool
    said: str
    files: dict[str, str]
    then: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def at_every_call(tmp_path: Path) -> Callable[..., list[Run]]:
    """Runs a command with a fault at its first writing call, at its second, ...; the last run met none."""

    def run(
        words: Sequence[str], fault: str, *, after: bool = False, old: Path | None = None, then: Sequence[str] = ()
    ) -> list[Run]:
        folder = tempfile.mkdtemp(dir=tmp_path)
        spec = {"words": list(words), "folder": folder, "fault": fault, "after": after}
        spec |= {"old": str(old) if old else None, "then": list(then) or None}
        done = subprocess.run(
            [sys.executable, str(FAULTY)], input=json.dumps(spec), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = [Run(**json.loads(line)) for line in done.stdout.splitlines()]
        assert found
        return found

    return run


@pytest.fixture
def fixtures() -> Path:
    """The repository's checkpoints."""
    return ROOT / "fixtures"


@pytest.fixture
def listing() -> Callable[[Path], dict[str, str]]:
    """Every file under a folder with its digest, as in `Run.files`."""
    return _faulty().listing


def _faulty() -> Any:
    spec = importlib.util.spec_from_file_location("faulty", FAULTY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
