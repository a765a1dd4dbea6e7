"""Every fixture that lies in fixtures/, as a parameter of the contract tests."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2] / "fixtures"
BESIDE = ("checkpoint", "listing.json", "fingerprint.pb")
# What the files hold beside tensors, and a listing of variables leaves out (design: names)
BOOKKEEPING = ("_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/OBJECT_CONFIG_JSON")


@dataclass(frozen=True)
class Golden:
    """One fixture: its folder, what to open in it, its format, and what the framework reads from it."""

    folder: Path
    entry: str
    format: str
    tensors: dict[str, dict[str, Any]]

    @property
    def path(self) -> Path:
        return self.folder / self.entry

    @property
    def parts(self) -> list[Path]:
        """The files that hold the checkpoint itself; those that nothing is read from left out."""
        files = (p for p in self.folder.rglob("*") if p.is_file() and p.parent.name != "assets")
        return sorted(p for p in files if p.name not in BESIDE and p.suffix != ".meta")


def golden(listing: Path) -> Golden:
    told = json.loads(listing.read_text())
    tensors = {key: v for key, v in told["tensors"].items() if not key.endswith(BOOKKEEPING)}
    return Golden(listing.parent, told["entry"], told["format"], tensors)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, is_small in (("golden", False), ("small", True)):
        if argument in metafunc.fixturenames:
            found = [golden(p) for p in sorted(ROOT.glob("*/*/listing.json"))]
            kept = [g for g in found if not is_small or sum(p.stat().st_size for p in g.parts) < 60_000]
            names = [f"{g.folder.parent.name}-{g.folder.name}" for g in kept]
            metafunc.parametrize(argument, kept, ids=names)


def _digest(array: np.ndarray[Any, Any]) -> str:
    if array.dtype == object:
        return hashlib.sha256(b"".join(struct.pack("<Q", len(s)) + s for s in array.ravel())).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.fixture(scope="session")
def digest() -> Any:
    """sha256 of a tensor, as the listings have it: elements in C order, little-endian; strings with their lengths."""
    return _digest
