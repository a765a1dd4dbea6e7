"""Provenance: where an output came from, without times or paths, so that the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ckptmigrate.table import Checkpoint

VERSION = "0.1.0"
KEY = "ckptmigrate"


def digest(checkpoint: Checkpoint) -> str:
    """A digest of a checkpoint's index: keys, types, shapes and stored checksums, not all bytes.

    Returns:
        "sha256:" and 64 hexadecimal digits.
    """
    state = hashlib.sha256()
    for entry in sorted(checkpoint.rows(), key=lambda e: e.key):
        checksums = [e.checksum for e in entry.tensor.extents]
        line = [entry.key, entry.tensor.dtype.name, list(entry.tensor.shape), checksums]
        state.update(json.dumps(line).encode() + b"\n")
    return f"sha256:{state.hexdigest()}"


def provenance(
    source: Checkpoint,
    *,
    mapping: Mapping[str, str],
    template: Checkpoint | None,
    flags: Mapping[str, Any],
    origin: str = "",
) -> dict[str, Any]:
    """The record that an output carries.

    Args:
        source: What it was made from.
        mapping: {"name", "digest"} of the mapping, or {}.
        template: The template, or None; one that comes with a mapping, without values, is told by the mapping.
        flags: The options that change what is written, without those left at their default.
        origin: The format whose keys the output has, where that is not its own (see `Checkpoint.origin`).
    """
    record: dict[str, Any] = {
        "tool": f"ckptmigrate {VERSION}",
        "source": {"format": source.format, "digest": digest(source)},
    }
    if origin:
        record["origin"] = origin
    if mapping:
        record["mapping"] = dict(mapping)
    if template is not None and not all(v.tensor.is_open for v in template.variables.values()):
        record["template"] = digest(template)
    if flags:
        record["flags"] = {name: flags[name] for name in sorted(flags)}
    return record
