"""Files are opened for reading in one place, `wire/reading.py`, which fetches what is remote: nobody reads past it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ckptmigrate"
SEAM = "wire/reading.py"
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))

# What opens the file that its first argument names, and methods that open the file they are called on.
FUNCTIONS = frozenset(
    {
        *("open", "io.open", "io.FileIO", "os.open", "mmap.mmap", "shutil.copy", "shutil.copy2", "shutil.copyfile"),
        *("np.load", "np.fromfile", "np.memmap", "h5py.File", "zipfile.ZipFile", "tarfile.open", "gzip.open"),
        *("safetensors.safe_open", "safe_open"),
    }
)
METHODS = frozenset({"open", "read_bytes", "read_text"})
NO_PATHS = frozenset({"archive", "h5py.h5o", "h5py.h5a"})  # whose `open` opens something within a file
SEAMS = re.compile(r"\b(stream|opened|Window|_told)\(")  # what gives files and descriptors of the seam, and outputs
WRITES = re.compile(r"^['\"](?:[wxa]b?)['\"]$|O_WRONLY|O_DIRECTORY")  # modes and flags that read no bytes

# Module and call -> why no checkpoint, or nothing remote, is read by it.
ALLOWED = {
    ("batch/ledger.py", "self.path.open('r+b')"): "a ledger is a file of this machine",
    ("cli/streams.py", "open(os.devnull, mode)"): "nothing",
    ("formats/keras_v3/writer.py", "weights.open('rb')"): "what was just written",
    ("formats/savedmodel/writer.py", "os.open(path, os.O_RDONLY)"): "to fsync what was written",
    ("framework/arrays.py", "np.load(Path(checkpoint.path), allow_pickle=False)"): "another reader; fetched before",
    ("framework/arrays.py", "safetensors.safe_open(str(path), framework='numpy')"): "another reader; fetched before",
    ("framework/forward.py", "np.load(folder / entry['file'], mmap_mode='r')"): "what a child of ours wrote",
    ("framework/given.py", "np.load(folder / entry['file'])"): "what a child of ours wrote",
    ("framework/process.py", "Path(sys.argv[1]).read_text()"): "what the parent wrote",
    ("framework/process.py", "answered.read_text()"): "what a child of ours wrote",
    ("framework/resume.py", "np.load(folder / entry['file'], mmap_mode='r')"): "what a child of ours wrote",
    ("mapping/library.py", "path.read_text(encoding='utf-8')"): "shipped with this package",
    ("mapping/nodes.py", "path.open('rb')"): "mappings are files of this machine",
    ("page/__init__.py", "(_HERE / file).read_text('utf-8')"): "shipped with this package",
    ("staging.py", "(folder / NOTE).read_text(encoding='ascii')"): "a stage of this machine",
    ("wire/hdf5_window.py", "Path('/proc/self/statm').read_text('ascii')"): "no file",
    ("wire/output_file.py", "os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0), 438)"): "an output",
    ("wire/remote.py", "self.path.open('r+b')"): "an image that is being filled",
}


def _of_the_seam(tree: ast.Module) -> frozenset[str]:
    """Names of files and descriptors that the seam gave: `with opened(...) as descriptor`."""
    items = [item for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items]
    return frozenset(
        ast.unparse(item.optional_vars)
        for item in items
        if item.optional_vars is not None and SEAMS.match(ast.unparse(item.context_expr))
    )


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls that open a file, unless that is only written, or opened by the seam."""
    given = _of_the_seam(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, told = ast.unparse(node.func), [ast.unparse(a) for a in (*node.args, *(k.value for k in node.keywords))]
        is_method = (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in METHODS
            and name not in FUNCTIONS
            and ast.unparse(node.func.value) not in NO_PATHS
        )
        if not is_method and name not in FUNCTIONS:
            continue
        opens_given = not is_method and told and (told[0] in given or SEAMS.search(told[0]))
        if not opens_given and not any(WRITES.search(word) for word in told):
            yield node


@pytest.mark.parametrize("module", [m for m in MODULES if m != SEAM])
def test_nobody_reads_past_the_seam(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text("utf-8"))
    found = {(module, ast.unparse(call)): call.lineno for call in _calls(tree)}
    past = [f"{module}:{line}: {call}" for (_, call), line in found.items() if (module, call) not in ALLOWED]
    assert not past, f"{SEAM} opens files: stream, opened, head, read_bytes"
    assert not [call for where, call in ALLOWED if where == module and (module, call) not in found], (
        "allowed for nothing"
    )


READS = [
    "open(path)",
    "path.open('rb')",
    "path.open()",
    "path.read_bytes()",
    "os.open(path, os.O_RDONLY)",
    "np.fromfile(path, np.uint8)",
    "zipfile.ZipFile(path)",
    "h5py.File(path, 'r')",
    "path.open('r+b')",
]
READS_NOT = [
    "path.open('xb')",
    "os.open(folder, os.O_RDONLY | os.O_DIRECTORY)",
    "read_bytes(path, 0, 8, 'header')",
    "with stream(path) as file:\n    zipfile.ZipFile(file)",
    "h5py.File(Window(descriptor, path, 0, 8), 'r')",
]


@pytest.mark.parametrize("code", READS + READS_NOT)
def test_it_is_seen_who_reads(code: str) -> None:
    assert bool(list(_calls(ast.parse(code)))) == (code in READS)
