"""The real TensorFlow, imported once, without log lines; its own warnings are not ours to fix."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ckptmigrate.formats import by_name
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.table import Checkpoint

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}

ROOT = Path(__file__).resolve().parents[2] / "fixtures"
collect_ignore = ["resuming"]  # shared by tests, with the frameworks imported at the top
GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def make() -> Callable[[str], ModuleType]:
    """A module of fixtures/make, by name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"fixtures_make_{name}", ROOT / "make" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def tensors_of(make: Callable[[str], ModuleType]) -> Callable[[Path], dict[str, dict[str, Any]]]:
    """What TensorFlow reads from a prefix: key -> {dtype, shape, sha256}, the object graph left out."""

    def read(prefix: Path) -> dict[str, dict[str, Any]]:
        tensors: dict[str, dict[str, Any]] = make("golden").tensorflow_tensors(str(prefix))
        tensors.pop(GRAPH_KEY, None)
        return tensors

    return read


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint in a format; gives the path of what was written."""

    def run(checkpoint: Checkpoint, to: str, name: str = "out", **options: Any) -> Path:
        writer = by_name(to).writer
        assert writer is not None
        options = {"provenance": {"tool": "ckptmigrate", "source": "a fixture"}} | options
        written = writer.write(checkpoint, tmp_path, name, WriteOptions(**options))
        assert set(written.files) == {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
        return tmp_path / name

    return run


def golden(folder: Path) -> dict[str, dict[str, Any]]:
    tensors: dict[str, dict[str, Any]] = json.loads((folder / "listing.json").read_text())["tensors"]
    tensors.pop(GRAPH_KEY, None)
    return tensors


def entry(folder: Path) -> Path:
    return folder / str(json.loads((folder / "listing.json").read_text())["entry"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`tf1_fixture`, `tf2_fixture`: (path to open, what the framework read from it) of each fixture."""
    for argument, groups in (("tf1_fixture", ("tf1", "tf1-v1")), ("tf2_fixture", ("tf2",))):
        if argument in metafunc.fixturenames:
            folders = [p for group in groups for p in sorted((ROOT / group).iterdir())]
            found = [(entry(folder), golden(folder)) for folder in folders]
            metafunc.parametrize(argument, found, ids=[f"{f.parent.name}-{f.name}" for f in folders])
