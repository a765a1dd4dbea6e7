"""Mutations of what formats are made of: bytes, protobuf messages, JSON documents, members of archives.

What guards a format stays whole: lengths around a changed message, checksums and directories of archives.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

NUMBERS = (0, 1, 2, 7, 127, 255, 999, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)
NAMES = (
    "",
    ".",
    "..",
    "/",
    "../x",
    "/x",
    "a/b",
    "a//b/",
    "a\nb",
    "a\0b",
    "a\x1b[31m",
    "\u202eb",
    "\udcff",
    "x" * 300,
    "0",
)
DEEP = 20_000  # brackets: more than any reader follows, and than Python's own stack holds
VALUES: tuple[Any, ...] = (None, True, False, -1, 0, 1, 999, 1 << 31, 1 << 70, -1.5, 1e308, float("nan"), [], {}, [[]])
WHOLE: tuple[Any, ...] = ({"class_name": "Functional", "config": {}}, {"class_name": "Sequential", "config": []}, [-1])

Change = Callable[[bytes, random.Random], bytes]


def raw(data: bytes, rng: random.Random) -> bytes:
    """One to four edits of bytes: a bit, a number, a piece cut out, doubled or the end cut off."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        length = rng.choice((1, 2, 4, 8, 64))
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 8] = struct.pack("<Q", rng.choice(NUMBERS))
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif rng.randrange(4) == 0:
            del out[at:]
    return bytes(out)


def message(data: bytes, rng: random.Random, depth: int = 0) -> bytes:
    """A protobuf message with one field changed, at any depth; the lengths around it fit again."""
    fields = _fields(data)
    if not fields:
        return raw(data, rng)
    at = rng.randrange(len(fields))
    number, kind, value = fields[at]
    action = rng.randrange(8) if not depth or rng.randrange(3) else 7
    if action == 0:
        del fields[at]
    elif action == 1:
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(fields))
    elif action == 2:
        fields[at] = (rng.choice((1, 2, 3, 7, 15, 500)), kind, value)
    elif isinstance(value, int):
        fields[at] = (number, kind, rng.choice((*NUMBERS, value + 1, rng.randrange(64))))
    elif kind == 2 and depth < 12 and rng.randrange(4):
        fields[at] = (number, kind, message(value, rng, depth + 1))
    else:
        fields[at] = (
            number,
            2,
            rng.choice(NAMES).encode("utf-8", "surrogateescape") if action == 3 else raw(value, rng),
        )
    return b"".join(_written(*field) for field in fields)


def _fields(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field; none when the bytes are no message."""
    fields: list[tuple[int, int, int | bytes]] = []
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            kind, value = tag & 7, 0
            if kind in (0, 2):
                value, at = _varint(data, at)
            if kind == 0:
                fields.append((tag >> 3, 0, value))
                continue
            size = {1: 8, 2: value, 5: 4}[kind]
            if at + size > len(data):
                return []
            fields.append((tag >> 3, kind, data[at : at + size]))
            at += size
    except (IndexError, KeyError):
        return []
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 128:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _written(number: int, kind: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    size = _number(len(value)) if kind == 2 else b""
    return _number(number << 3 | kind) + size + value


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def node(value: Any, rng: random.Random) -> Any:
    """Plain data with one value changed, at any depth: another in its place, or a key gone, renamed, doubled."""
    if not isinstance(value, dict | list) or not value or rng.randrange(12) == 0:
        return _other(value, rng)
    out: Any = value.copy()
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    action = rng.randrange(16)
    if action == 0:
        del out[key]
    elif action == 1 and isinstance(out, dict):
        out[rng.choice(NAMES)] = out.pop(key)
    elif action == 2 and isinstance(out, dict):
        out[key] = out[rng.choice(list(value))]
    elif action in (1, 2):
        out.insert(rng.randrange(len(out) + 1), out[key])
    else:
        out[key] = node(value[key], rng)
    return out


def _other(value: Any, rng: random.Random) -> Any:
    action = rng.randrange(6)
    if action == 0:
        return rng.choice(NAMES)
    if action == 1:
        return rng.choice(WHOLE)
    if action == 2:
        return [value]
    if action == 3:
        return {rng.choice(NAMES): value}
    return rng.choice(VALUES)


def document(data: bytes, rng: random.Random) -> bytes:
    """JSON with one value changed at any depth, or nested deeply, or changed as text."""
    action = rng.randrange(40)
    if action == 0:
        return raw(data, rng)
    if action == 1:
        return b'{"layer":' * DEEP
    if action == 2:
        return b"[" * DEEP + data + b"]" * DEEP
    told = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        told = node(told, rng)
    return json.dumps(told).encode()


def lines(data: bytes, rng: random.Random) -> bytes:
    """JSON of one document a line, one of them changed, or the whole as text."""
    if rng.randrange(4) == 0:
        return raw(data, rng)
    found = data.splitlines(keepends=True)
    at = rng.randrange(len(found))
    found[at] = document(found[at], rng) + rng.choice((b"\n", b"", b"\r", b"\0\n"))
    return b"".join(found)


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """The header's JSON changed, its length right again; `ckptmigrate`'s own document in it, too."""
    size = struct.unpack("<Q", data[:8])[0]
    text, rest = data[8 : 8 + size], data[8 + size :]
    told = json.loads(text)
    ours = told.get("__metadata__", {}).get("ckptmigrate")
    action = rng.randrange(4)
    if action == 0:
        text = raw(text, rng)
    elif action == 1 and ours:
        told["__metadata__"]["ckptmigrate"] = document(ours.encode(), rng).decode("utf-8", "replace")
        text = json.dumps(told).encode()
    else:
        text = document(text, rng)
    return struct.pack("<Q", len(text)) + text + rest


def archive(inside: dict[str, Change]) -> Change:
    """Changes one member of a zip archive as `inside` says by its ending; checksums and directory are right again."""

    def change(data: bytes, rng: random.Random) -> bytes:
        action = rng.randrange(8)
        if action == 0:
            return raw(data, rng)
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = {info.filename: old.read(info) for info in old.infolist()}
        name = rng.choice(list(members))
        if action == 1:
            members[rng.choice(NAMES).replace("\udcff", "\xff") or "x"] = members.pop(name)
        elif action == 2:
            del members[name]
        else:
            how = next((change for ending, change in inside.items() if name.endswith(ending)), raw)
            members[name] = how(members[name], rng)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
            for member, content in members.items():
                new.writestr(zipfile.ZipInfo(member), content)
        return out.getvalue()

    return change
