"""What takes a process of its own: limits on files and memory, two writers to one path."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.batch.ledger import Ledger
from ckptmigrate.cli.main import main
from ckptmigrate.errors import OutputError
from ckptmigrate.wire.bundle_messages import BundleEntry, encode_entry, encode_header
from ckptmigrate.wire.bundle_writer import BundleWriter
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.names import STAGE_MARK
from ckptmigrate.wire.sstable import write_table

MIB = 1 << 20

# Of every format and kind of destination: a source, and what is written.
OUTPUTS = {
    "tf1": ("tf1/adam", "m"),
    "tf2": ("tf1/adam", "m"),
    "npz": ("tf1/adam", "m"),
    "safetensors": ("tf1/adam", "m"),
    "savedmodel": ("tf2/module/ckpt-1", "m"),
    "keras-h5": ("keras-h5/tfk_adam", "m.h5"),
    "keras-v3": ("keras-v3/keras3_adam", "m.weights.h5"),
    "keras-v3 archive": ("keras-v3/keras3_adam", "m.keras"),
    "keras-v3 parts": ("keras-v3/keras3_sharded/m.weights.json", "m.weights.json"),
}


@pytest.mark.parametrize("limit", [0, 1, 100, 511, 1000, 1 << 20])
@pytest.mark.parametrize("output", OUTPUTS)
def test_files_that_may_not_grow(output, limit, fixtures, tmp_path, capsys):
    """The system's own limit, where the disk is full to every call and not only to ours: to HDF5's, too."""
    out, to = tmp_path / "out", output.partition(" ")[0]
    source, name = OUTPUTS[output]
    words = ["convert", str(fixtures / source), str(out / name), "--to", to]
    out.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert main(words) == 0
    largest = max(path.stat().st_size for path in out.rglob("*") if path.is_file())
    capsys.readouterr()
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(limit, largest - 1), before[1]))
    try:
        code = main([*words, "--force"])
        other = main([*words[:2], str(tmp_path / "new" / name), "--to", to])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, other) == (7, 7)
    said = capsys.readouterr().err
    assert "File too large" in said
    assert "bug" not in said
    assert not (tmp_path / "new").exists()
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == []
    assert main(["verify", words[1], words[2]]) == 0


ROUNDS = 10

WRITERS = """
import json, os, sys
from ckptmigrate.cli import main as program
folder, name, rounds, sources, words = json.loads(sys.argv[1])
program.main(["convert", sources[0], f"{folder}/warm/{name}", *words])
codes = []
for turn in range(rounds):
    ready, go = os.pipe()
    children = []
    for source in sources:
        child = os.fork()
        if not child:
            os.close(go)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            os.read(ready, 1)
            os._exit(program.main(["convert", source, f"{folder}/{turn}/{name}", *words]))
        children.append(child)
    os.close(go)
    codes.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    os.close(ready)
sys.__stderr__.write(json.dumps(codes))
"""


def test_a_ledger_that_may_not_grow(tmp_path):
    """It says so, and the half of a line goes when the batch goes on."""
    ledger = Ledger(tmp_path / "l.jsonl")
    first, second = ({"dst": name, "status": "done"} for name in "ab")
    ledger.append(first)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(OutputError, match="can't be written"):
            ledger.append(second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ledger.read() == [first]
    ledger.append(second)
    assert ledger.read() == [first, second]


NAMES = ("adam", "rmsprop", "momentum")
# Of every kind of destination: what is written there, of which sources.
RIVALS = {
    "prefix": ("m", "tf1", [f"tf1/{name}" for name in NAMES], 2),
    "file": ("m.npz", "npz", [f"tf1/{name}" for name in NAMES], 1),
    "folder": ("m/", "tf2", ["tf1/adam", "tf2/keras_adam", "tf2/keras_sgd"], 1),
    "model": ("m", "savedmodel", [f"tf2/{name}" for name in ("module", "sliced", "keras_sgd")], 1),
    "h5": ("m.h5", "keras-h5", [f"keras-h5/tfk_{name}" for name in ("adam", "rmsprop", "lion")], 1),
    "parts": ("m.safetensors", "safetensors", [f"tf1/{name}" for name in NAMES], 0),
}


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
@pytest.mark.parametrize("kind", RIVALS)
def test_writers_to_one_path(kind, force, fixtures, tmp_path):
    """One wins; with --force each may, but the output is that of one of them."""
    name, to, known, count = RIVALS[kind]
    sources = [str(fixtures / source) for source in known]
    more = ["--max-shard-size", "300"] if kind == "parts" else []
    given = [str(tmp_path), name, ROUNDS, sources, ["--to", to, *more, *force]]
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, json.dumps(given)], capture_output=True, text=True, check=True
    )
    for turn, codes in enumerate(json.loads(done.stderr)):
        out = tmp_path / str(turn)
        assert set(codes) <= {0, 7}
        assert codes.count(0) == 1 or (force and 0 in codes)
        assert len(list(out.iterdir())) == count or not count
        assert not [path for path in out.rglob("*") if STAGE_MARK in path.name]
        standing = out / (f"{name}.index.json" if kind == "parts" else name)
        whose = [s for s in sources if main(["verify", s, str(standing)]) == 0]
        assert len(whose) == 1
        if not force:
            assert codes[sources.index(whose[0])] == 0


def index_of(path: Path, entries: dict[str, BundleEntry], data: bytes = b"") -> str:
    items = [(b"", encode_header(1)), *((k.encode(), encode_entry(e)) for k, e in sorted(entries.items()))]
    with path.with_name(f"{path.name}.index").open("wb") as file:
        write_table(file, items)
    path.with_name(f"{path.name}.data-00000-of-00001").write_bytes(data)
    return str(path)


def huge_tensor(folder: Path) -> str:
    return index_of(folder / "m", {"x": BundleEntry(1, (1 << 38,), 0, 0, 1 << 40, 0)})


def huge_sparse_tensor(folder: Path) -> str:
    """The file is as large as it says, the disk holds nothing of it, and memory can't."""
    path = index_of(folder / "m", {"x": BundleEntry(1, (1 << 38,), 0, 0, 1 << 40, 0)})
    with (folder / "m.data-00000-of-00001").open("r+b") as file:
        file.truncate(1 << 40)
    return path


def many_strings(folder: Path) -> str:
    return index_of(folder / "m", {"x": BundleEntry(7, (1 << 33,), 0, 0, 4096, 0)}, bytes(4096))


def long_string(folder: Path) -> str:
    length = b"\xff" * 7 + b"\x7f"
    return index_of(folder / "m", {"x": BundleEntry(7, (1,), 0, 0, 16, 0)}, length + bytes(8))


def empty_giant(folder: Path) -> str:
    return index_of(folder / "m", {"x": BundleEntry(1, (1 << 58, 0), 0, 0, 0, mask(crc32c(b"")))})


def many_dimensions(folder: Path) -> str:
    return index_of(folder / "m", {"x": BundleEntry(1, (1,) * 100_000, 0, 0, 4, 0)}, bytes(4))


def huge_numpy_shape(folder: Path) -> str:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (274877906944,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "m.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4))
    return str(folder / "m.npz")


def zip_bomb(folder: Path) -> str:
    with zipfile.ZipFile(folder / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(MIB))
    return str(folder / "m.npz")


def huge_safetensors_header(folder: Path) -> str:
    (folder / "m.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    return str(folder / "m.safetensors")


def huge_safetensors_shape(folder: Path) -> str:
    header = json.dumps({"x": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}).encode()
    (folder / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return str(folder / "m.safetensors")


def nested_json(folder: Path) -> str:
    header = b'{"x":' * 100_000
    (folder / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return str(folder / "m.safetensors")


# A bundle that says little takes little: the process may have this much, TensorFlow would ask for terabytes.
ROOM = 2048 * MIB

HOSTILE = {
    huge_tensor: 4,
    huge_sparse_tensor: 3,
    many_strings: 4,
    long_string: 4,
    empty_giant: 0,
    many_dimensions: 4,
    huge_numpy_shape: 4,
    zip_bomb: 4,
    huge_safetensors_header: 4,
    huge_safetensors_shape: 4,
    nested_json: 4,
}


def test_memory_is_not_taken_because_a_file_asks_for_it(tmp_path):
    sources = []
    for make in HOSTILE:
        (tmp_path / make.__name__).mkdir()
        sources.append(make(tmp_path / make.__name__))
    done = measured([["convert", source, f"{source}.out/m", "--to", "npz"] for source in sources], room=ROOM)
    assert dict(zip(HOSTILE, done["codes"], strict=True)) == HOSTILE, done["said"]
    assert "bug" not in done["said"]
    assert done["peak"] < 64 * MIB
    assert len(list(tmp_path.glob("*/*.out"))) == list(HOSTILE.values()).count(0)


# Runs the command line a few times; tells the exit codes, and by how much resident memory grew over a bare numpy.
MEASURED = """
import json, re, resource, sys
import numpy
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
before = peak()
commands, room = json.loads(sys.argv[1])
if room:
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
from ckptmigrate.cli.main import main
codes = [main(words) for words in commands]
sys.stdout.flush()
print("\\0" + json.dumps({"codes": codes, "peak": peak() - before}))
"""


def measured(commands: Sequence[Sequence[str]], room: int = 0) -> dict[str, object]:
    given = json.dumps([commands, room])
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, given], capture_output=True, text=True, check=False, timeout=60
    )
    said, _, told = done.stdout.partition("\0")
    assert told, done.stderr
    return {**json.loads(told), "said": said + done.stderr}


def test_many_tiny_entries(tmp_path):
    count = 20_000
    index_of(tmp_path / "m", {f"{n:07d}": BundleEntry(1, (), 0, 0, 4, 0) for n in range(count)}, bytes(4))
    done = measured([["inspect", str(tmp_path / "m")]])
    assert done["codes"] == [0], done["said"]
    assert done["peak"] < count * 3000 + 64 * MIB


@pytest.mark.parametrize("to", ["tf1", "tf2", "npz", "safetensors"])
def test_memory_follows_the_largest_tensor(to, tmp_path):
    """Of 192 MiB a conversion holds two tensors of 16."""
    largest = 16 * MIB
    with BundleWriter(tmp_path, "m") as writer:
        zeros = np.zeros(largest // 4, np.float32)
        for n in range(12):
            writer.add_array(f"layer_{n}/kernel", 1, zeros)
        writer.finish()
    done = measured([["convert", str(tmp_path / "m"), str(tmp_path / "out"), "--to", to]])
    assert done["codes"] == [0], done["said"]
    assert done["peak"] < 2 * largest + 64 * MIB
