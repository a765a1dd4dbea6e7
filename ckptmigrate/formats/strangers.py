"""Files that aren't read: recognised by content, and answered with what to do about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import SourceError
from ckptmigrate.wire.names import index_file
from ckptmigrate.wire.reading import LFS_POINTER, head


class Stranger(NamedTuple):
    """One kind of file that is known and not read.

    Attributes:
        name: What it is.
        is_it: Whether a path, with the first bytes of the file (none for a folder), is of this kind.
        message: What is wrong with it.
        hint: What to do.
    """

    name: str
    is_it: Callable[[Path, bytes], bool]
    message: str
    hint: str


def _begins(*magic: bytes) -> Callable[[Path, bytes], bool]:
    return lambda path, head: head.startswith(magic)


def _ends(*suffixes: str) -> Callable[[Path, bytes], bool]:
    return lambda path, head: path.name.lower().endswith(suffixes)


def _holds(*names: str) -> Callable[[Path, bytes], bool]:
    return lambda path, head: any((path / name).exists() for name in names)


def _member(*names: bytes) -> Callable[[Path, bytes], bool]:
    """A zip archive whose first member has such an ending (appnote.txt 4.3.7: the name follows 30 bytes)."""
    return lambda path, head: (
        head.startswith(b"PK\x03\x04") and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(names)
    )


def _is_graph(path: Path, kind: str) -> bool:
    from ckptmigrate.wire.graph_def import kind_of

    return kind_of(path) == kind


_SAFETENSORS = "load it where it was made and save it with safetensors.torch.save_file(model.state_dict(), path)"

_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")

# A format that becomes supported leaves this table for FORMATS.
STRANGERS = (
    Stranger(
        "git-lfs",
        _begins(LFS_POINTER),
        "a Git LFS pointer, not the file itself",
        "fetch the file: git lfs pull",
    ),
    Stranger(
        "orbax",
        _holds("_CHECKPOINT_METADATA", "_METADATA", "_sharding"),
        "a JAX checkpoint (Orbax), not a TensorFlow one",
        "restore it with orbax and save the arrays as npz or safetensors",
    ),
    Stranger("html", _begins(b"<!DOCTYPE", b"<!doctype", b"<html"), "a web page", "download the file itself"),
    Stranger(
        "hdf5",
        _begins(b"\x89HDF\r\n\x1a\n"),
        "an HDF5 file, but not a Keras file",
        "Keras' files have groups called vars, or an attribute layer_names; h5py shows what this one holds",
    ),
    Stranger(
        "pytorch",
        _member(b"/data.pkl", b"/byteorder", b"/version", b"/.format_version"),
        "a PyTorch file: pickles are not read, as reading one can run any program",
        _SAFETENSORS,
    ),
    Stranger(
        "pickle",
        lambda path, head: (
            (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))
            or _ends(".pkl", ".pickle", ".pt", ".pth")(path, head)
        ),
        "a pickle (PyTorch, perhaps): pickles are not read, as reading one can run any program",
        _SAFETENSORS,
    ),
    Stranger(
        "tflite",
        lambda path, head: head[4:8] == b"TFL3" or path.suffix == ".tflite",
        "a TensorFlow Lite model: its weights may be quantised and folded",
        "use the checkpoint or SavedModel that it was converted from",
    ),
    Stranger("onnx", _ends(".onnx"), "an ONNX model", "use the checkpoint that it was exported from"),
    Stranger(
        "text-graph",
        lambda path, head: path.name.endswith((".pbtxt", ".pb.txt")) or head.lstrip()[:6] in (b"node {", b"node{\n"),
        "a graph in text form, which is not read",
        "write it as binary with TensorFlow: tf.io.write_graph(graph_def, folder, 'graph.pb', as_text=False)",
    ),
    Stranger(
        "saved-model-proto",
        lambda path, head: head[:2] == b"\x08\x01" and _is_graph(path, "saved_model"),
        "the graph of a SavedModel: its values are in the folder variables/ that belongs beside it",
        "call it saved_model.pb, put variables/ beside it, and give the folder",
    ),
    Stranger(
        "meta-graph",
        lambda path, head: head[:1] == b"\x0a" and _is_graph(path, "meta_graph"),
        "a meta graph (.meta): the graph of a model, not its values",
        "give the checkpoint that was saved with it",
    ),
    Stranger(
        "protobuf",
        _ends(".pb"),
        "not a graph, or a damaged one",
        "frozen graphs and SavedModels end in .pb; use the checkpoint that it was made from",
    ),
    Stranger(
        "archive",
        lambda path, head: head.startswith(_ARCHIVES) or head[257:262] == b"ustar",
        "an archive",
        "unpack it and give the checkpoint inside",
    ),
    Stranger("bin", _ends(".bin"), "a .bin file of no known content", _SAFETENSORS),
)


def stranger(path: Path) -> SourceError | None:
    """The answer to a path of a known, unread kind; None when it is none of them."""
    head = _head(path)
    for kind in STRANGERS:
        if kind.is_it(path, head):
            return SourceError(kind.message, where=str(path), hint=kind.hint)
    return None


def pointer(path: Path) -> SourceError | None:
    """The answer to a bundle or file of which only a Git LFS pointer is there."""
    kind = STRANGERS[0]
    for file in (index_file(path), path) if path.name else (path,):
        if kind.is_it(file, _head(file)):
            return SourceError(kind.message, where=str(file), hint=kind.hint)
    return None


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        return head(path, 512)
    except OSError:
        return b""
