"""The manifest: which checkpoints, where to, and how; YAML as mapping files have it, every complaint with its line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.mapping.nodes import Complaints, List, Map, Node, Text, read_yaml
from ckptmigrate.sizes import parse_size
from ckptmigrate.urls import is_remote

VERSION = 1
_TRUE = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the manifest.

    Attributes:
        source: A path, or a pattern.
        target: Where to, with `{stem}`, `{name}`, `{parent}`, `{folder}` of each source.
        options: Keyword arguments of `convert`.
        where: file:line.
    """

    source: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


def _text(node: Node) -> str:
    if isinstance(node, Text):
        return node.text
    raise ValueError("a text")


def _flag(node: Node) -> bool:
    if isinstance(node, Text) and node.text in _TRUE:
        return _TRUE[node.text]
    raise ValueError("true or false")


def _texts(node: Node) -> tuple[str, ...]:
    if isinstance(node, List):
        return tuple(_text(item) for item in node.items)
    return (_text(node),)


def _numbers(node: Node) -> dict[str, float]:
    if not isinstance(node, Map):
        raise ValueError("names and numbers: {learning_rate: 0.01}")
    try:
        return {key: float(_text(value)) for key, (_, value) in node.entries.items()}
    except ValueError:
        raise ValueError("names and numbers: {learning_rate: 0.01}") from None


def _size(node: Node) -> int:
    try:
        return parse_size(_text(node))
    except ValueError:
        raise ValueError("a size: 5GB") from None


def _seed(node: Node) -> int:
    text = _text(node)
    if not (text.isdecimal() and text.isascii()):
        raise ValueError("a number: 7")
    return int(text)


# Option as manifests spell it -> keyword of `convert`, and how it is read.
OPTIONS: Mapping[str, tuple[str, Callable[[Node], Any]]] = {
    "format": ("to", _text),
    "source-format": ("from_", _text),
    **{n: (n, _text) for n in ("mapping", "template", "names", "averages", "flavor", "optimizer", "dialect")},
    **{n: (n, _text) for n in ("dtype", "verify")},
    **{n: (n, _texts) for n in ("drop", "reinit")},
    **{n: (n.replace("-", "_"), _flag) for n in ("reverse", "allow-loss", "force")},
    "hyper": ("hyper", _numbers),
    "seed": ("seed", _seed),
    "max-shard-size": ("max_shard_bytes", _size),
}  # fmt: skip


def read_manifest(path: str | Path, over: Mapping[str, Any] | None = None) -> list[Entry]:
    """The entries of a manifest, its defaults applied.

    Args:
        path: Of the YAML file.
        over: Keyword arguments of `convert` that hold for every entry, whatever the manifest says.

    Raises:
        UsageError: It can't be read, or is none; all complaints, each with file:line.
    """
    file = str(path)
    try:
        top, _ = read_yaml(Path(path), file)
        complaints = Complaints(file)
        entries = _entries(top, over or {}, complaints)
        complaints.settle()
    except MappingError as error:
        hint = error.hint if error.issues else _QUOTES if "YAML" in error.message or "*" in error.message else _HINT
        raise UsageError(error.message, where=error.where, hint=hint or _HINT, issues=error.issues) from None
    return entries


_QUOTES = "indent by spaces, and quote what holds * or {}: {from: 'models/*/*.index', to: 'new/{stem}'}"
_HINT = "ckptmigrate-batch: 1, defaults: {to: FORMAT, ...}, entries: [{from: PATH, to: 'new/{stem}'}]"


def _entries(top: Map, over: Mapping[str, Any], complaints: Complaints) -> list[Entry]:
    version = top.get("ckptmigrate-batch")
    if not isinstance(version, Text) or version.number != VERSION:
        complaints.add(top.line, f"expected `ckptmigrate-batch: {VERSION}` first", _HINT)
        return []
    for key, (name, _) in top.entries.items():
        if key not in ("ckptmigrate-batch", "defaults", "entries"):
            complaints.add(name.line, f"unknown key {key!r}; there are defaults and entries", _HINT)
    defaults, listed = top.get("defaults"), top.get("entries")
    common: dict[str, Any] = {}
    if isinstance(defaults, Map):
        common = _options(defaults, complaints, {"to": ("to", _text)})
    elif defaults is not None:
        complaints.add(defaults.line, "`defaults` takes options by name")
    if not isinstance(listed, List) or not listed.items:
        complaints.add(listed.line if listed else top.line, "`entries` takes a list of {from: ..., to: ...}", _HINT)
        return []
    made = [_entry(item, common, over, complaints) for item in listed.items]
    return [entry for entry in made if entry is not None]


def _entry(node: Node, common: Mapping[str, Any], over: Mapping[str, Any], complaints: Complaints) -> Entry | None:
    if not isinstance(node, Map):
        complaints.add(node.line, "an entry takes {from: ..., to: ...}", _HINT)
        return None
    ends = {key: node.get(key) for key in ("from", "to")}
    for key, value in ends.items():
        if not isinstance(value, Text) or not value.text:
            complaints.add(node.line, f"an entry needs `{key}`, a path", _HINT)
    own = {**common, **_options(node, complaints, {}, but=("from", "to"))}
    options = {**_beside(Path(complaints.file).parent, own), **over}
    source, target = ends["from"], ends["to"]
    if not isinstance(source, Text) or not isinstance(target, Text):
        return None
    if "to" not in options:
        complaints.add(node.line, "no format: name one in the entry (`format: tf2`) or in defaults (`to: tf2`)")
    return Entry(source.text, target.text, options, complaints.where(node.line))


def _beside(base: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options whose files start from the manifest's folder, as `from` and `to` do; mappings may be names as well."""
    found = dict(options)
    if (template := found.get("template")) and not is_remote(template):
        found["template"] = str(base / template)
    # not Path.is_file, which raises of long names
    if (mapping := found.get("mapping")) and os.path.isfile(base / mapping):  # noqa: PTH113
        found["mapping"] = str(base / mapping)
    return found


def _options(
    node: Map, complaints: Complaints, more: Mapping[str, tuple[str, Callable[[Node], Any]]], but: tuple[str, ...] = ()
) -> dict[str, Any]:
    known, found = {**OPTIONS, **more}, {}
    for key, (name, value) in node.entries.items():
        if key in but:
            continue
        if key not in known:
            complaints.add(name.line, f"unknown option {key!r}; there are {', '.join(known)}")
            continue
        keyword, read = known[key]
        try:
            found[keyword] = read(value)
        except ValueError as accepted:
            complaints.add(name.line, f"`{key}` takes {accepted}")
    return found
