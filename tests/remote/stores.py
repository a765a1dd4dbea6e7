"""Folders of this machine and of a store, put and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def upload(store: Any, folder: Path, to: str) -> None:
    """Puts a folder's files into a store."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            store.pipe_file(f"{to}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def files_of(folder: Path) -> dict[str, bytes]:
    """Name -> content, of a folder of this machine."""
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def objects_of(store: Any, prefix: str) -> dict[str, bytes]:
    """Name -> content, of a folder in a store."""
    start = f"{store._strip_protocol(prefix)}/"
    return {name.removeprefix(start): store.cat_file(name) for name in store.find(prefix)}
