"""What is fuzzed: of each reader its seeds, how a case changes one, and how the result is read."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import bundles
import hdf5
import mutate
import texts

from ckptmigrate.batch.ledger import Ledger
from ckptmigrate.batch.manifest import read_manifest
from ckptmigrate.conversion import convert
from ckptmigrate.detection.labels import read_labels
from ckptmigrate.detection.pipeline import read_pipeline
from ckptmigrate.detection.port import port_detection
from ckptmigrate.doctor import diagnose
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.listing import inspect_json
from ckptmigrate.mapping.check import check
from ckptmigrate.mapping.explain import explain_both
from ckptmigrate.mapping.load import load

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
LARGEST = 60_000  # bytes of a seed: cases are many, and large files hold more of the same
READ_BYTES = 1 << 20
SOME = 20
NAME = "_a" * 60 + "/kernel_1/1_1_1/x"  # many ways to read it, for patterns that follow them all


class Reader(NamedTuple):
    """A reader: patterns of its seeds below the repository, how a case changes the path, what is done with it.

    Attributes:
        seeds: Globs.
        change: Gets the path, in a folder with everything that lies beside the seed, and the case's random numbers.
        read: Gets the path; returns or raises.
        also: What one case in `SOME` does too.
    """

    seeds: tuple[str, ...]
    change: Callable[[Path, random.Random], None]
    read: Callable[[Path], object]
    also: Callable[[Path], object] = lambda path: None


def of_bytes(change: mutate.Change) -> Callable[[Path, random.Random], None]:
    """A change of a file's bytes; of JSON files, its own."""

    def changed(path: Path, rng: random.Random) -> None:
        how = mutate.document if path.suffix == ".json" else change
        path.write_bytes(how(path.read_bytes(), rng))

    return changed


def everything(path: Path) -> None:
    """Opens, lists, and reads each tensor of at most a mebibyte."""
    with open_checkpoint(path) as checkpoint:
        inspect_json(checkpoint)
        for row in checkpoint.rows():
            if not row.tensor.is_open and row.tensor.nbytes <= READ_BYTES:
                row.tensor.read()


def used(path: Path) -> None:
    """Examines it, and converts it to an archive."""
    diagnose(path)
    convert(path, path.parent / "converted.npz", to="npz", allow_loss=True)


def _mapping(path: Path) -> None:
    mapping = load(path)
    explain_both(mapping, NAME)


def _text(path: Path) -> object:
    return read_labels(path) if path.suffix == ".pbtxt" else read_pipeline(path)


def _ported(path: Path) -> None:
    if path.suffix == ".config":
        port_detection(path, FIXTURES / "od/ssd_mobilenet_v2_tf1", path.parent / "port", dry_run=True)


def _checkpoint(change: Callable[[Path, random.Random], None], *seeds: str) -> Reader:
    return Reader(seeds, change, everything, used)


_INSIDE = {".json": mutate.document, ".h5": hdf5.inside}
READERS = {
    "bundle": _checkpoint(bundles.table, "fixtures/tf[12]/*/*.index"),
    "object-graph": _checkpoint(bundles.graph, "fixtures/tf2/*/*.index"),
    "v1": _checkpoint(bundles.table, "fixtures/tf1-v1/*/model.ckpt*"),
    "savedmodel": _checkpoint(bundles.saved_model, "fixtures/savedmodel/*/model"),
    "hdf5": _checkpoint(hdf5.structure, "fixtures/keras-h5/*/*.h5", "fixtures/keras-v3/*/*.weights.h5"),
    "keras": _checkpoint(
        of_bytes(mutate.archive(_INSIDE)), "fixtures/keras-v3/*/*.keras", "fixtures/keras-v3/*/*.weights.json"
    ),
    "safetensors": _checkpoint(
        of_bytes(mutate.safetensors), "fixtures/safetensors/*/*.safetensors", "fixtures/safetensors/*/*.index.json"
    ),
    "npz": _checkpoint(of_bytes(mutate.archive(_INSIDE)), "fixtures/npz/*/*.npz"),
    "frozen-graph": _checkpoint(of_bytes(mutate.message), "fixtures/frozen-graph/*/*.pb"),
    "state": Reader(("fixtures/tf[12]/*/checkpoint",), of_bytes(texts.words), lambda path: everything(path.parent)),
    "mapping": Reader(("mappings/*/*.yaml",), of_bytes(texts.written), _mapping, lambda path: check(load(path))),
    "manifest": Reader(("tests/fuzz/seeds/*.yaml",), of_bytes(texts.written), read_manifest),
    "protobuf-text": Reader(
        ("fixtures/od/*/*.config", "tests/fuzz/seeds/*.pbtxt"), of_bytes(texts.words), _text, _ported
    ),
    "ledger": Reader(("tests/fuzz/seeds/*.jsonl",), of_bytes(mutate.lines), lambda path: Ledger(path).read()),
}
