"""Mutations of tables and bundles: entries, blocks, and the object graph in a data file, under right checksums."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from mutate import message, raw

from ckptmigrate.wire.bundle import read_bundle, read_tensor
from ckptmigrate.wire.bundle_strings import encode_strings
from ckptmigrate.wire.crc32c import crc32c, mask
from ckptmigrate.wire.protobuf import fixed32, integer
from ckptmigrate.wire.sstable import read_table, write_table

GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"


def table(path: Path, rng: random.Random) -> None:
    """One value, one key or the inside of one block changed; every checksum is right."""
    read = read_table(path)
    if rng.randrange(3) == 0:
        data = bytearray(path.read_bytes())
        handle = rng.choice(read.blocks)[1]
        start, size = handle.offset, handle.size
        data[start : start + size] = raw(bytes(data[start : start + size]), rng)[:size].ljust(size, b"\0")
        crc = mask(crc32c(bytes(data[start : start + size + 1])))
        data[start + size + 1 : start + size + 5] = struct.pack("<I", crc)
        path.write_bytes(data)
        return
    items = dict(read.items())
    key = rng.choice(list(items))
    if rng.randrange(6) == 0:
        items[raw(key, rng)] = items.pop(key)
    else:
        items[key] = message(items[key], rng)
    _write(path, items)


def graph(path: Path, rng: random.Random) -> None:
    """The object graph changed at any depth: stored anew behind the tensors, its entry and checksums fit again."""
    bundle = read_bundle(path.with_suffix(""))
    shard = bundle.shards[bundle.entries[GRAPH.decode()].shard]
    graph = read_tensor(bundle, GRAPH.decode()).item()
    for _ in range(rng.randint(1, 3)):
        graph = message(graph, rng)
    data, (new, crc) = shard.read_bytes(), encode_strings([graph])
    shard.write_bytes(data + new)
    place = integer(3, bundle.shards.index(shard)) + integer(4, len(data)) + integer(5, len(new)) + fixed32(6, crc)
    _write(path, {**dict(read_table(path).items()), GRAPH: b"\x08\x07\x12\x00" + place})


def saved_model(path: Path, rng: random.Random) -> None:
    """A SavedModel's folder: its message at any depth, or its variables' entries or object graph."""
    index = path / "variables/variables.index"
    action = rng.randrange(5)
    if action < 3:
        file = path / "saved_model.pb"
        data = file.read_bytes()
        for _ in range(rng.randint(1, 3)):
            data = message(data, rng)
        file.write_bytes(data)
    elif action == 3 and GRAPH in dict(read_table(index).items()):
        graph(index, rng)
    else:
        table(index, rng)


def _write(path: Path, items: dict[bytes, bytes]) -> None:
    with path.open("wb") as file:
        write_table(file, sorted(items.items()))
