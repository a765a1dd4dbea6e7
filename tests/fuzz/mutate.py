"""Mutations that keep what guards a format whole: lengths of messages, checksums of blocks, members of archives."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from pathlib import Path

from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.sstable import read_table, write_table

NUMBERS = (0, 1, 2, 7, 127, 255, 999, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)


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
    action = rng.randrange(8)
    if action == 0:
        del fields[at]
    elif action == 1:
        fields.insert(rng.randrange(len(fields) + 1), fields[at])
    elif action == 2:
        fields[at] = (rng.choice((1, 2, 3, 7, 15, 500)), kind, value)
    elif isinstance(value, int):
        fields[at] = (number, kind, rng.choice(NUMBERS))
    elif kind == 2 and depth < 12 and rng.randrange(4):
        fields[at] = (number, kind, message(value, rng, depth + 1))
    else:
        fields[at] = (number, 2, raw(value, rng))
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


def table(path: Path, rng: random.Random) -> bytes:
    """A table with one value, one key or the inside of one block changed; every checksum is right."""
    read = read_table(path)
    if rng.randrange(3) == 0:
        data = bytearray(path.read_bytes())
        handle = rng.choice(read.blocks)[1]
        start, size = handle.offset, handle.size
        data[start : start + size] = raw(bytes(data[start : start + size]), rng)[:size].ljust(size, b"\0")
        data[start + size + 1 : start + size + 5] = struct.pack(
            "<I", mask(crc32c(bytes(data[start : start + size + 1])))
        )
        return bytes(data)
    items = dict(read.items())
    key = rng.choice(list(items))
    if rng.randrange(6) == 0:
        items[raw(key, rng)] = items.pop(key)
    else:
        items[key] = message(items[key], rng)
    out = path.with_name("mutated")
    with out.open("wb") as file:
        write_table(file, sorted(items.items()))
    return out.read_bytes()


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """The header's JSON changed, its length right again."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    name = rng.choice(list(header))
    entry = header[name]
    if rng.randrange(3) == 0:
        text = raw(data[8 : 8 + size], rng)
    else:
        field = rng.choice(list(entry)) if entry else "dtype"
        entry[field] = rng.choice(
            ([], {}, None, "", "F64", "F4", [-1], [1 << 62, 4], [1 << 40], [0, 1 << 50], 1.5, True)
        )
        text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def archive(data: bytes, rng: random.Random) -> bytes:
    """One member's bytes changed, its checksum and the directory right again; or its name, or the directory."""
    if rng.randrange(4) == 0:
        return raw(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    name = rng.choice(list(members))
    if rng.randrange(6) == 0:
        members[rng.choice(("../x", "/x", "a\nb", "x" * 300))] = members.pop(name)
    else:
        members[name] = raw(members[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for member, content in members.items():
            new.writestr(zipfile.ZipInfo(member), content)
    return out.getvalue()
