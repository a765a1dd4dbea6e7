"""A zip archive whose members are checked before they are believed.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7 and 4.4.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.reading import CHUNK, opened, read_bytes, stream
from ckptmigrate.wire.remote import want

# A member that unpacks to this much and to this many times its size is a bomb: weights hardly shrink at all.
_BOMB_BYTES = 256 << 20
_BOMB_RATIO = 100

_LOCAL = struct.Struct(
    "<4s22sHH"
)  # section 4.3.7: signature, what the directory says as well, lengths of name and extra
_ENCRYPTED = 0x1
_UTF8 = 0x800
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}

# What zipfile raises on bytes that are no zip archive, or a damaged one.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, NotImplementedError, EOFError, OverflowError)


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, its size unpacked, where its bytes begin if they are not compressed, and their CRC-32."""

    name: str
    nbytes: int
    offset: int
    is_stored: bool
    crc: int
    head: Callable[[int], bytes]
    read: Callable[[], np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Archive:
    """The members in the directory's order."""

    members: tuple[Member, ...]
    close: Callable[[], None]


def open_archive(path: Path) -> Archive:
    """Opens an archive and checks where its members lie; reads no member.

    Raises:
        SourceError: It can't be read, or a member is packed in a way that is neither stored nor deflated.
        DamagedError: No zip archive, a name twice, members that overlap, lie elsewhere than they say, or are bombs.
    """
    with ExitStack() as undo:
        try:
            archive = undo.enter_context(zipfile.ZipFile(undo.enter_context(stream(path))))
        except OSError as error:
            raise SourceError(f"can't be read: {error.strerror}", where=str(path)) from error
        except _ZIP_ERRORS as error:
            raise DamagedError(f"not a zip archive, or a damaged one: {error}", where=str(path)) from error
        infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
        seen: set[str] = set()
        for info in infos:
            _check(info, f"{path}, member {info.filename!r}")
            if info.filename in seen:
                raise DamagedError(f"the member {info.filename!r} stands twice", where=str(path))
            seen.add(info.filename)
        offsets = _offsets(archive, infos, path)
        return Archive(tuple(_member(archive, path, i, offsets[i.filename]) for i in infos), undo.pop_all().close)


def _check(info: zipfile.ZipInfo, where: str) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise DamagedError("encrypted", where=where)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DamagedError("a symbolic link: not followed", where=where)
    if info.compress_type not in _METHODS:
        raise SourceError(
            f"packed by method {info.compress_type}; {' and '.join(_METHODS.values())} are read", where=where
        )
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise DamagedError(f"{info.file_size} bytes expected, {info.compress_size} stored", where=where)
    if info.file_size > max(_BOMB_BYTES, _BOMB_RATIO * info.compress_size):
        raise DamagedError(f"{info.compress_size} bytes would unpack to {info.file_size}: a bomb", where=where)


def _offsets(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], path: Path) -> dict[str, int]:
    """Where each member's bytes begin, by its own header, which must agree with the directory."""
    offsets = {}
    end = archive.start_dir
    with opened(path, 0, 0) as file:
        for info in sorted(infos, key=lambda i: i.header_offset, reverse=True):
            where = f"{path}, member {info.filename!r} at byte {info.header_offset}"
            name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
            head = _read_at(path, file, max(info.header_offset, 0), _LOCAL.size + len(name))
            signature, _, name_length, extra_length = _LOCAL.unpack(head[: _LOCAL.size].ljust(_LOCAL.size, b"\0"))
            if signature != b"PK\x03\x04" or name_length != len(name) or head[_LOCAL.size :] != name:
                raise DamagedError("no such member where the archive's directory says", where=where)
            start = info.header_offset + _LOCAL.size + name_length + extra_length
            if start + info.compress_size > end:
                raise DamagedError(
                    f"{info.compress_size} bytes expected, {max(end - start, 0)} are its own", where=where
                )
            offsets[info.filename] = start
            end = info.header_offset
    return offsets


def _read_at(path: Path, descriptor: int, at: int, size: int) -> bytes:
    want(path, at, size)
    return os.pread(descriptor, size, at)


def _member(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo, offset: int) -> Member:
    where = f"{path}, member {info.filename!r}"

    def head(size: int) -> bytes:
        return _unpack(archive, info, size, where)

    def read() -> np.ndarray[Any, Any]:
        if info.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(_unpack(archive, info, info.file_size, where), np.uint8)
        values, _ = read_bytes(path, offset, info.file_size, info.filename)
        _compare(info.CRC, zlib.crc32(values.data), where)
        return values

    is_stored = info.compress_type == zipfile.ZIP_STORED
    return Member(info.filename, info.file_size, offset, is_stored, info.CRC, head, read)


def check_stored(path: Path, member: Member) -> None:
    """Reads the bytes of a stored member piece by piece, keeps none, and compares their CRC-32.

    Raises:
        DamagedError: It is another one, or the file ends early.
    """
    crc = at = 0
    while at < member.nbytes:
        values, _ = read_bytes(path, member.offset + at, min(CHUNK, member.nbytes - at), member.name)
        crc = zlib.crc32(values.data, crc)
        at += len(values)
    _compare(member.crc, crc, f"{path}, member {member.name!r}")


def _compare(expected: int, found: int, where: str) -> None:
    if expected != found:
        raise DamagedError(f"CRC-32 {expected:08x} expected, {found:08x} found", where=where)


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, where: str) -> bytes:
    """The first bytes of a member; its CRC is checked when they are all."""
    try:
        with archive.open(info) as file:
            data = file.read(size)
            if size >= info.file_size:
                file.read(1)  # the end is where zipfile compares the CRC
    except (*_ZIP_ERRORS, OSError) as error:
        raise DamagedError(f"can't be unpacked: {error}", where=where) from error
    if len(data) < min(size, info.file_size):
        raise DamagedError(f"{info.file_size} bytes expected, {len(data)} found: truncated", where=where)
    return data
