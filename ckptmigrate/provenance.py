"""Provenance: the record of where an output came from, written without times or paths, and read back for `verify`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptmigrate.chosen import MappingOptions
from ckptmigrate.report import Row
from ckptmigrate.table import Checkpoint

VERSION = "0.1.0"
KEY = "ckptmigrate"
REVISED = "revised"  # a flag: what was chosen was changed before it was planned, or a template was made for it
MAX_HYPER = 1e38  # a hyperparameter of float32; integers may be longer than any float
LEFT_OUT = "left_out"  # what the format can't hold, and was left out because losses were allowed


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


def leaving_out(record: Mapping[str, Any], rows: Iterable[Row]) -> dict[str, Any]:
    """A record that also names the source's tensors that are left out, by rows of outcome `dropped`."""
    labels = {label for row in rows for label in row.source.split(", ") if label}
    return {**record, LEFT_OUT: sorted(labels)} if record and labels else dict(record)


@dataclass(frozen=True, slots=True)
class Made:
    """What an output's provenance tells of its making.

    Attributes:
        optimizer, dialect, hyper, dtype, flavor: Flags, as in `convert`.
        mapping, digest: The mapping's name and digest.
        template: The digest of a template that values or names came from.
        left_out: Tensors of the source that the format can't hold, by label.
        revised: More than options told its names.
    """

    optimizer: str = "keep"
    dialect: str = ""
    hyper: Mapping[str, float] = field(default_factory=dict)
    dtype: str = ""
    flavor: str = ""
    mapping: str = ""
    digest: str = ""
    template: str = ""
    left_out: frozenset[str] = frozenset()
    revised: bool = False

    def repeats(self, asked: MappingOptions) -> bool:
        """Whether these options, without the output's own names, give the plan that it was made by."""
        has_mapping = bool(asked.mapping) == bool(self.mapping)
        return has_mapping and not (self.revised or self.template or asked.template)


def how_made(target: Checkpoint, asked: MappingOptions) -> tuple[MappingOptions, Made | None]:
    """The options a target was written with, where the user gives no mapping, and what else its maker was told."""
    record = target.metadata.get("provenance")
    if not isinstance(record, Mapping):
        return asked, None
    flags, mapping = section(record.get("flags")), section(record.get("mapping"))
    told = section(flags.get("hyper")).items()
    hyper = {name: float(v) for name, v in told if isinstance(v, float | int) and abs(v) < MAX_HYPER}
    made = Made(
        optimizer=_text(flags.get("optimizer")) or "keep",
        dialect=_text(flags.get("dialect")),
        hyper=hyper,
        dtype=_text(flags.get("dtype")),
        flavor=_text(flags.get("flavor")),
        mapping=_text(mapping.get("name")),
        digest=_text(mapping.get("digest")),
        template=_text(record.get("template")),
        left_out=frozenset(_texts(record.get(LEFT_OUT))),
        revised=bool(flags.get(REVISED)),
    )
    if asked.mapping:
        return asked, made
    repeated = MappingOptions(
        mapping=made.mapping,
        reverse=asked.reverse or bool(flags.get("reverse")),
        template=asked.template,
        names=asked.names or _text(flags.get("names")),
        averages=asked.averages or _text(flags.get("averages")),
        drop=asked.drop or _texts(flags.get("drop")),
        reinit=asked.reinit or _texts(flags.get("reinit")),
        seed=asked.seed or _number(flags.get("seed")),
    )
    return repeated, made


def section(found: object) -> Mapping[str, Any]:
    """A part of a record, which may be anything: files come from anywhere."""
    return found if isinstance(found, Mapping) else {}


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _number(found: object) -> int:
    return found if isinstance(found, int) else 0


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(_text, found)) if isinstance(found, list) else ()
