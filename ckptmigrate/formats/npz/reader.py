"""NumPy archives, read lazily: directory and headers first, an array's elements when they are wanted."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.document import MAX_DOCUMENT_BYTES
from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.npz.naming import DOCUMENT, FORMAT_ID, SUFFIX, is_array, tensor_name
from ckptmigrate.formats.npz.npy import MAX_PREFIX_BYTES, elements, parse_header
from ckptmigrate.formats.unpacking import Container, unpack
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Extent, Tensor
from ckptmigrate.wire.reading import head, stream
from ckptmigrate.wire.zipped import Member, open_archive


def identify(path: Path) -> bool:
    """A file that is called so, or a zip archive with arrays in it."""
    try:
        if not path.is_file():
            return False
        if path.name.endswith(SUFFIX):
            return True
        if head(path, 4) != b"PK\x03\x04":
            return False
        with stream(path) as file, zipfile.ZipFile(file) as archive:
            return any(is_array(name) for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def read(path: Path) -> Checkpoint:
    """Opens an archive.

    Raises:
        SourceError: It can't be read, or holds pickles or element types we don't know.
        DamagedError: The archive, an array's header or the document is broken.
    """
    with ExitStack() as stack:
        archive = open_archive(path)
        stack.callback(archive.close)
        arrays = [m for m in archive.members if is_array(m.name)]
        others = [m for m in archive.members if not is_array(m.name) and m.name != DOCUMENT]
        document = next((m for m in archive.members if m.name == DOCUMENT), None)
        container = Container(
            path,
            FORMAT_ID,
            (path,),
            {tensor_name(m.name): _tensor(path, m) for m in arrays},
            _document(path, document) if document is not None else None,
            issues=tuple(_no_array(path, m) for m in others),
        )
        return replace(unpack(container), closers=(stack.pop_all().close,))


def _tensor(path: Path, member: Member) -> Tensor:
    where = f"{path}, member {member.name!r}"
    header = parse_header(member.head(MAX_PREFIX_BYTES if member.nbytes > MAX_PREFIX_BYTES else member.nbytes), where)
    if member.nbytes != header.start + header.nbytes:
        found = member.nbytes - header.start
        expected = f"{header.nbytes} bytes for {header.dtype} {list(header.shape)}"
        raise DamagedError(f"{expected} expected, {found} found", where=where)

    def load() -> np.ndarray[Any, Any]:
        return elements(member.read()[header.start :], header, where)

    extent = Extent(path, member.offset + header.start, header.nbytes, big_endian=header.is_big_endian)
    return Tensor(header.shape, header.dtype, load, (extent,) if member.is_stored and header.is_raw else ())


def _document(path: Path, member: Member) -> bytes:
    if member.nbytes > MAX_DOCUMENT_BYTES:
        raise DamagedError(
            f"a document of {member.nbytes} bytes; at most {MAX_DOCUMENT_BYTES} are read",
            where=f"{path}, member {member.name!r}",
        )
    return member.read().tobytes()


def _no_array(path: Path, member: Member) -> Issue:
    return Issue("unlisted", "warning", member.name, "not read: no array", "", str(path))
