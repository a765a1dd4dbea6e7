"""What is measured: each operation with the commands that do it, ours and others', on the same files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from measure import Command

CKPTMIGRATE = (sys.executable, "-m", "ckptmigrate")
OURS, UNVERIFIED, COPY = "ckptmigrate", "ckptmigrate --verify none", "cp + sync"

_HEAD = "ckptmigrate: 1\ntitle: benchmark\n"
_FROM, _TO = "block_{b:int}/unit_{u:int}/weights", "model/block_{b}/unit_{u}/kernel"
RENAME = f'{_HEAD}rename:\n  "{_FROM}": "{_TO}"\n'
TRANSPOSE = f'{_HEAD}rules:\n  - {{from: "{_FROM}", to: "{_TO}", do: [transpose: AXES]}}\n'


class Bar(NamedTuple):
    """What a command is to stay within: a multiple of another's wall time, at one point."""

    point: str
    operation: str
    tool: str
    ratio: float
    other: str


BARS = (
    Bar("10,000", "inspect tf1", OURS, 0.1, "TF load_checkpoint"),
    Bar("10,000", "inspect .weights.h5", OURS, 2.0, "h5py visititems"),
    Bar("1 GiB", "rename tf1 -> tf2", UNVERIFIED, 1.2, COPY),
    Bar("1 GiB", "copy tf1 -> safetensors", UNVERIFIED, 1.3, COPY),
    Bar("1 GiB", "copy tf1 -> safetensors", OURS, 2.0, COPY),
    Bar("1 GiB", "copy .h5 -> .weights.h5", UNVERIFIED, 1.5, COPY),
)


class Case(NamedTuple):
    """One operation, and the commands that do it."""

    operation: str
    commands: dict[str, Command]


class Files(NamedTuple):
    """Where things lie: the checkpoints, mappings, what `verify` compares, and the folder that outputs go to."""

    bundle: Path
    hdf5: Path
    rename: Path
    transpose: Path
    verified: Path
    out: Path


def inspections(files: Files) -> Iterator[Case]:
    """Names, shapes and types."""
    yield Case(
        "inspect tf1",
        {OURS: _inspect(files.bundle), "TF load_checkpoint": _other("list_bundle", files.bundle)},
    )
    yield Case(
        "inspect safetensors",
        {OURS: _inspect(files.verified), "safetensors safe_open": _other("list_safetensors", files.verified)},
    )
    yield Case(
        f"inspect {_kind(files.hdf5)}",
        {OURS: _inspect(files.hdf5), "h5py visititems": _other("list_hdf5", files.hdf5)},
    )


def conversions(files: Files) -> Iterator[Case]:
    """Renames, changes of format, and transposes."""
    renamed, single = files.out / "ckpt-0", files.out / "model.safetensors"
    yield Case(
        "rename tf1 -> tf2",
        {
            **_convert(files.bundle, renamed, "tf2", files.rename),
            "TF Saver": _other("rename_by_saver", files.bundle, renamed),
            "TF Checkpoint": _other("rename_by_checkpoint", files.bundle, renamed),
            COPY: _copy(files.bundle, files.out),
        },
    )
    yield Case(
        "copy tf1 -> safetensors",
        {
            **_convert(files.bundle, single, "safetensors"),
            "TF + save_file": _other("bundle_to_safetensors", files.bundle, single),
            COPY: _copy(files.bundle, files.out),
        },
    )
    yield _from_hdf5(files)
    yield Case(
        "transpose tf1 -> safetensors",
        {
            **_convert(files.bundle, single, "safetensors", files.transpose),
            "TF + save_file": _other("transpose_to_safetensors", files.bundle, single),
            COPY: _copy(files.bundle, files.out),
        },
    )


def _from_hdf5(files: Files) -> Case:
    """A file of Keras 3 lies in one of its own already; one of tf_keras becomes that."""
    if _kind(files.hdf5) == ".weights.h5":
        out = files.out / "model.safetensors"
        others = {"h5py + save_file": _other("hdf5_to_safetensors", files.hdf5, out)}
        return Case("copy .weights.h5 -> safetensors", {**_convert(files.hdf5, out, "safetensors"), **others})
    out = files.out / "model.weights.h5"
    return Case(
        "copy .h5 -> .weights.h5",
        {
            **_convert(files.hdf5, out, "keras-v3"),
            "h5py": _other("copy_hdf5", files.hdf5, out),
            COPY: ["sh", "-c", f"cp {files.hdf5} {files.out} && sync {files.out}/*"],
        },
    )


def verifications(files: Files) -> Iterator[Case]:
    """An output of ours against its source, long after."""
    yield Case(
        "verify safetensors",
        {
            OURS: (*CKPTMIGRATE, "verify", files.bundle, files.verified),
            "TF + safe_open": _other("compare_safetensors", files.bundle, files.verified),
        },
    )


def cases(files: Files) -> Iterator[Case]:
    """All of them."""
    yield from inspections(files)
    yield from conversions(files)
    yield from verifications(files)


def _kind(path: Path) -> str:
    return ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix


def _inspect(path: Path) -> Command:
    return (*CKPTMIGRATE, "inspect", path)


def _convert(source: Path, target: Path, to: str, mapping: Path | None = None) -> dict[str, Command]:
    """Ours, with the verification that is the default, and without."""
    options = ("--mapping", mapping) if mapping else ()
    command = (*CKPTMIGRATE, "convert", source, target, "--to", to, *options)
    return {OURS: command, UNVERIFIED: (*command, "--verify", "none")}


def _copy(prefix: Path, out: Path) -> Command:
    return ["sh", "-c", f"cp {prefix}.index {prefix}.data-* {out}/ && sync {out}/*"]


def _other(name: str, *paths: Path) -> Command:
    return (sys.executable, Path(__file__).with_name("others.py"), name, *paths)
