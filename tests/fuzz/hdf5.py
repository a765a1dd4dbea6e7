"""Mutations of HDF5 files: fields of their structures under right checksums, and what HDF5 itself can write.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html: II.A superblocks, III.A trees, IV.A object headers.
"""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from mutate import NAMES, NUMBERS, document, raw

# What begins structures, and how many bytes later their checksum is; 0 for none.
SIGNATURES = {b"TREE": 0, b"SNOD": 0, b"HEAP": 0, b"GCOL": 0, b"FHDB": 0, b"FRHP": 142, b"BTHD": 34, b"FAHD": 24}
LEAF, RECORDS = b"BTLF", (11, 17)  # checksum behind records of these sizes: of links, and of attributes
CONTINUATION = 0x10
KINDS = range(0x19)  # of header messages
MOST_RECORDS = 64
# Of edits that don't go together, and of names that are none of HDF5's.
IMPOSSIBLE = (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError)


class Block(NamedTuple):
    """A structure: where it is, where its checksum is (0 for none), and where the messages in it begin."""

    start: int
    end: int
    checksum: int = 0
    messages: tuple[tuple[int, int], ...] = ()  # of each: its type's place, its data's


def structure(path: Path, rng: random.Random) -> None:
    """Changes a file, in one of the ways below; half of the files are of HDF5's later versions."""
    original = path.read_bytes()
    data = later(original) if rng.randrange(2) else original
    action = rng.randrange(10)
    if action == 0:
        path.write_bytes(raw(data, rng))
    elif action < 6:
        path.write_bytes(fields(data, rng))
    else:
        path.write_bytes(data)
        with h5py.File(path, "r+") as file:
            for _ in range(rng.randint(1, 3)):
                with suppress(*IMPOSSIBLE):
                    rng.choice(EDITS)(file, rng)


def inside(data: bytes, rng: random.Random) -> bytes:
    """The same for bytes that are such a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        path.write_bytes(data)
        structure(path, rng)
        return path.read_bytes()


@cache
def later(data: bytes) -> bytes:
    """The same content as HDF5's latest versions write it: headers with checksums, heaps, trees of version 2."""
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.h5", Path(folder) / "new.h5"
        old.write_bytes(data)
        with h5py.File(old) as source, h5py.File(new, "w", libver="latest") as target:
            _again(source, target)
            packed = target.create_dataset("packed", (40, 40), "f4", chunks=(16, 16), compression="gzip", shuffle=True)
            packed[:] = 1
        return _timeless(new.read_bytes())


def _timeless(data: bytes) -> bytes:
    """The same without times in object headers, so that cases are the same tomorrow."""
    out = bytearray(data)
    for block in structures(data):
        if out[block.start : block.start + 4] == b"OHDR" and out[block.start + 5] & 0x20:
            out[block.start + 6 : block.start + 22] = bytes(16)
            _seal(out, block)
    return bytes(out)


def _again(source: Any, target: Any) -> None:
    """A group's content in another file: copied by HDF5, headers would stay what they are."""
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name, found in source.items():
        if isinstance(found, h5py.Group):
            _again(found, target.create_group(name))
        else:
            made = target.create_dataset(name, data=found[()])
            made.attrs.update(found.attrs)


def fields(data: bytes, rng: random.Random) -> bytes:
    """One to three numbers of structures changed, their checksums made right."""
    out = bytearray(data)
    blocks = structures(data)
    for _ in range(rng.randint(1, 3)):
        block = rng.choice(blocks)
        if block.messages and rng.randrange(8):
            place, begin = rng.choice(block.messages)
            if rng.randrange(8) == 0:
                out[place] = rng.choice(KINDS)
            at = begin + rng.choice((0, 0, 1, 2, 3, 4, 8, 12, 16, 24))
        else:
            at = rng.randrange(block.start, block.end)
        width = min(rng.choice((1, 1, 2, 4, 8)), max((block.checksum or block.end) - at, 0))
        value = rng.choice((*NUMBERS, rng.randrange(256), rng.choice(blocks).start, len(data)))
        out[at : at + width] = value.to_bytes(16, "little")[:width]
        _seal(out, block)
    return bytes(out)


def _seal(data: bytearray, block: Block) -> None:
    if block.checksum:
        found = lookup3(bytes(data[block.start : block.checksum]))
        data[block.checksum : block.checksum + 4] = struct.pack("<I", found)


@cache
def structures(data: bytes) -> list[Block]:
    """The superblock, every object's header, and what begins with a signature."""
    blocks = [Block(0, 44, 44)] if data[8] >= 2 else [Block(0, 96)]
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        file.write(data)
        file.flush()
        with h5py.File(file.name) as tree:
            addresses = {h5py.h5o.get_info(tree.id).addr}
            tree.visititems(lambda _, found: addresses.add(h5py.h5o.get_info(found.id).addr))
    for address in sorted(addresses):
        blocks += _header(data, address)
    for signature in (*SIGNATURES, LEAF):
        at = data.find(signature)
        while at >= 0 and len(blocks) < 400:
            blocks.append(_signed(data, at))
            at = data.find(signature, at + 4)
    return blocks


def _header(data: bytes, at: int) -> list[Block]:
    """An object's header and its continuations, of version 1 or 2."""
    if data[at : at + 4] != b"OHDR":
        return _chunks(data, at, at + 16, int.from_bytes(data[at + 8 : at + 12], "little"), is_later=False, order=0)
    flags, begin = data[at + 5], at + 6
    begin += (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(data[begin : begin + width], "little")
    return _chunks(data, at, begin + width, size, is_later=True, order=2 if flags & 4 else 0)


def _chunks(data: bytes, start: int, begin: int, size: int, *, is_later: bool, order: int) -> list[Block]:
    head = 4 + order if is_later else 8
    messages, more, at, end = [], [], begin, begin + size
    while at + head <= end:
        kind = data[at] if is_later else int.from_bytes(data[at : at + 2], "little")
        length = int.from_bytes(data[at + 1 : at + 3] if is_later else data[at + 2 : at + 4], "little")
        messages.append((at, at + head))
        if kind == CONTINUATION:
            place, room = struct.unpack_from("<QQ", data, at + head)
            inner = place + 4 if is_later else place
            more += _chunks(data, place, inner, room - 8 if is_later else room, is_later=is_later, order=order)
        at += head + length
    return [Block(start, end, end if is_later else 0, tuple(messages)), *more]


def _signed(data: bytes, at: int) -> Block:
    """What begins with a signature; a leaf's checksum is where it is right."""
    ends = [at + SIGNATURES.get(data[at : at + 4], 0)]
    if data[at : at + 4] == LEAF:
        ends = [at + 6 + size * n for size in RECORDS for n in range(MOST_RECORDS)]
    for end in ends:
        if end > at and data[end : end + 4] == struct.pack("<I", lookup3(data[at:end])):
            return Block(at, end, end)
    return Block(at, min(at + 64, len(data)))


def lookup3(data: bytes) -> int:
    """Jenkins' hash of bytes, as HDF5 takes it for checksums (burtleburtle.net/bob/c/lookup3.c, `hashlittle`).

    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data.ljust(-(-len(data) // 12) * 12, b"\0"))
    if not words:
        return c
    for i in range(0, len(words) - 3, 3):
        a, b, c = a + words[i] & mask, b + words[i + 1] & mask, c + words[i + 2] & mask
        for first, turn in enumerate((4, 6, 8, 16, 19, 4)):
            x, y, z = ((a, b, c), (b, c, a), (c, a, b))[first % 3]
            x = (x - z & mask) ^ (z << turn | z >> 32 - turn) & mask
            z = z + y & mask
            a, b, c = ((x, y, z), (z, x, y), (y, z, x))[first % 3]
    a, b, c = a + words[-3] & mask, b + words[-2] & mask, c + words[-1] & mask
    for first, turn in enumerate((14, 11, 25, 16, 4, 14, 24)):
        x, y, z = ((a, b, c), (b, c, a), (c, a, b))[first % 3]  # z ^= y, z -= rot(y)
        z = ((z ^ y) - ((y << turn | y >> 32 - turn) & mask)) & mask
        a, b, c = ((x, y, z), (z, x, y), (y, z, x))[first % 3]
    return c


def _any(file: Any, rng: random.Random, kind: type | tuple[type, ...] = (h5py.Group, h5py.Dataset)) -> Any:
    """One of the file's objects."""
    found: list[Any] = [file] if kind is not h5py.Dataset else []
    file.visititems(lambda _, one: found.append(one) if isinstance(one, kind) else None)
    return rng.choice(found)


def _name(group: Any, rng: random.Random) -> str:
    """A name that is new in a group, or one that it has, which makes room."""
    name = rng.choice((*group, *NAMES, "dense", "vars", "optimizer"))
    if name in group:
        del group[name]
    return name


def _link(file: Any, rng: random.Random) -> None:
    group = _any(file, rng, h5py.Group)
    group[_name(group, rng)] = rng.choice(
        (
            h5py.SoftLink("/nowhere"),
            h5py.SoftLink("."),
            h5py.ExternalLink("/etc/passwd", "/"),
            _any(file, rng),
            file["/"],
        )
    )


def _moved(file: Any, rng: random.Random) -> None:
    one = _any(file, rng)
    group = _any(file, rng, h5py.Group)
    file.move(one.name, f"{group.name}/{rng.choice((*NAMES, 'x'))}")


def _gone(file: Any, rng: random.Random) -> None:
    one = _any(file, rng)
    del file[one.name]


TYPES: tuple[Any, ...] = (
    *("f2", ">f8", "c8", "?", "i1", "u8", "S3", "S0", "V7", "V65536"),
    *(h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype, h5py.enum_dtype({"a": 1}), h5py.regionref_dtype),
    *(np.dtype([("a", "f4"), ("b", "S2")]), np.dtype(("f4", (2, 3))), np.dtype([("a", h5py.string_dtype())])),
)
SHAPES: tuple[Any, ...] = ((), (0,), (3,), (1 << 40,), (1 << 31, 1 << 31), (0, 1 << 60), (1,) * 32, (7, 5), None)


def _put(file: Any, rng: random.Random) -> None:
    """A dataset of some type and shape, cut and packed somehow, in the place of another."""
    group = _any(file, rng, h5py.Group)
    shape = rng.choice(SHAPES)
    if shape is None:
        group[_name(group, rng)] = h5py.Empty(rng.choice(TYPES[:8]))
        return
    packed: dict[str, Any] = {}
    if shape and rng.randrange(2):
        packed = {"chunks": tuple(rng.choice((1, 2, 1 << 20)) for _ in shape)}
        packed |= rng.choice(
            ({}, {"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {"shuffle": True})
        )
    elif rng.randrange(8) == 0:
        packed = {"external": [("/etc/passwd", 0, 1 << 20)]}
    made = group.create_dataset(_name(group, rng), shape, rng.choice(TYPES), **packed)
    if rng.randrange(2) and made.size < 100 and made.dtype.kind != "O":
        made[...] = 1


def _virtual(file: Any, rng: random.Random) -> None:
    group = _any(file, rng, h5py.Group)
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    group.create_virtual_dataset(_name(group, rng), layout)


VALUES: tuple[Any, ...] = (
    *(b"", "", "x" * 300, 1, -1.5, True, [], [b"a", b"a"], ["", "a/b:0"], np.zeros((2, 2)), np.array([b"\xff\0"])),
    *(h5py.Empty("f4"), np.zeros(1, [("a", "f4")]), np.array(["\u202e"], h5py.string_dtype()), 1 << 62, float("nan")),
)


def _attribute(file: Any, rng: random.Random) -> None:
    """An attribute gone, another in its place, its texts in another order or number, or its JSON changed."""
    attributes = _any(file, rng).attrs
    name = rng.choice((*attributes, "layer_names", "weight_names", "keras_version", "model_config", "training_config"))
    value, action = attributes.get(name), rng.randrange(6)
    if isinstance(value, str | bytes) and action > 1:
        text = value.encode() if isinstance(value, str) else value
        attributes[name] = document(text, rng) if text[:1] == b"{" else raw(text, rng)
    elif isinstance(value, np.ndarray) and value.size and action > 1:
        texts = list(value)
        texts[rng.randrange(len(texts))] = rng.choice((*NAMES, *texts[:3]))
        rng.shuffle(texts) if action == 2 else None
        attributes[name] = texts[: rng.randint(1, len(texts))] if action == 3 else texts
    elif action == 0 and value is not None:
        del attributes[name]
    else:
        attributes[name] = rng.choice(VALUES)


def _config(file: Any, rng: random.Random) -> None:
    """The model's or the optimizer's configuration changed at any depth."""
    name = rng.choice([name for name in ("model_config", "training_config") if name in file.attrs] or ["model_config"])
    file.attrs[name] = document(bytes(file.attrs[name], "utf-8", "surrogateescape"), rng)


EDITS: tuple[Callable[[Any, random.Random], None], ...] = (
    *(_link, _moved, _gone, _put, _put, _virtual, _attribute, _attribute, _attribute, _config, _config, _config),
)
