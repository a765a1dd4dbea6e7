"""From what people type to what a format opens: a prefix, one of a bundle's files, a folder, a state file, a file.

File names: tensorflow/python/training/saver.py and tensorflow/core/util/tensor_bundle/naming.cc.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.errors import CkptMigrateError, DamagedError, SourceError
from ckptmigrate.wire.names import INDEX_SUFFIX, index_file
from ckptmigrate.wire.reading import head
from ckptmigrate.wire.sstable import is_table
from ckptmigrate.wire.state_file import MAX_STATE_BYTES, STATE_NAME, CheckpointState, decode_state, last_part

SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")

_DATA = re.compile(r"(?P<name>.+)\.data-(?P<shard>\d{5,})-of-(?P<count>\d{5,})", re.DOTALL)
_V1_SHARD = re.compile(r"(?P<name>.+)-(?:\d{5,}|\?{5})-of-(?P<count>\d{5,})", re.DOTALL)
_STEP = re.compile(r"-(\d{1,18})(?:\.\w+)?$", re.ASCII)
_TENSORS = ".safetensors"
_SHARD_INDEX = ".safetensors.index.json"
_LONE = (_SHARD_INDEX, ".weights.json", _TENSORS, ".npz", ".keras", ".h5", ".hdf5", ".pb")
_SHOWN = 8  # names in a hint


class Resolved(NamedTuple):
    """What a path stands for.

    Attributes:
        path: A bundle's prefix, a file, or a SavedModel's folder.
        note: How it was chosen, where it isn't the very path that was given.
    """

    path: Path
    note: str = ""


def resolve(given: str | Path) -> Resolved:
    """Finds the checkpoint that a path stands for. Reads names, and the `checkpoint` state file.

    Raises:
        SourceError: There is nothing of the kind; the hint lists what is there.
    """
    path = Path(given)
    try:
        names_folder = str(given).endswith(("/", os.sep)) and path.is_dir()
        if path.name and not names_folder and index_file(path).is_file():
            return Resolved(path, _beside(path))
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            return _of_file(path)
        return _of_name(path)
    except (OSError, ValueError) as error:  # no permission, a name too long, a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"can't be looked at: {reason}", where=str(given)) from error


def _beside(prefix: Path) -> str:
    if prefix.is_dir():
        return f"the prefix {prefix.name}; there is a folder of that name, too"
    if prefix.name == STATE_NAME and prefix.is_file():
        return f"the prefix {prefix.name}; the file of that name is the state file"
    return ""


def _of_file(path: Path) -> Resolved:
    """A file that exists and is no prefix."""
    if path.name.endswith(INDEX_SUFFIX) and path.name != INDEX_SUFFIX:
        return _prefix(path, path.name.removesuffix(INDEX_SUFFIX))
    if data := _DATA.fullmatch(path.name):
        return _prefix(path, data["name"])
    if path.name in SAVED_MODEL:
        return Resolved(path.parent, "the SavedModel in this folder")
    if path.suffix == ".meta":
        return _of_meta(path)
    if (state := _state(path)) is not None:
        return _newest_by_state(path, state)
    return Resolved(path)


def _prefix(path: Path, name: str) -> Resolved:
    """The bundle that a file belongs to."""
    prefix = path.with_name(name)
    if not index_file(prefix).is_file():
        raise SourceError(
            f"a data file without its index: {index_file(prefix).name} is missing",
            where=str(path),
            hint=f"names and shapes stand in the index: copy it beside the data files. {_there(path.parent, name)}",
        )
    return Resolved(prefix, f"the prefix {prefix.name}")


def _of_meta(path: Path) -> Resolved:
    prefix = path.with_suffix("")
    if index_file(prefix).is_file() or prefix.is_file() or _v1_shards(prefix):
        return Resolved(prefix, f"the prefix {prefix.name}; .meta holds the graph, not the values")
    raise SourceError(
        "a .meta file holds the graph of a model, not its values",
        where=str(path),
        hint=f"give the checkpoint that was saved with it. {_there(path.parent, prefix.name)}",
    )


def _of_name(path: Path) -> Resolved:
    """A path at which nothing is: shards of it, or a near miss."""
    if _v1_shards(path):
        return Resolved(path)
    index = path.with_name(path.name.removesuffix(_TENSORS) + _SHARD_INDEX)
    if path.name.endswith(_TENSORS) and index.is_file():
        return Resolved(index, f"the shards that {index.name} names; there is no {path.name}")
    part = _DATA.fullmatch(path.name)
    stem = part["name"] if part else path.stem if path.suffix in (INDEX_SUFFIX, ".meta") else path.name.rstrip(".*")
    prefix = path.with_name(stem) if stem else path
    if prefix != path and prefix.name and index_file(prefix).is_file():
        return Resolved(prefix, f"the prefix {prefix.name}; there is no {path.name}")
    if path.parent.is_dir():
        data = sorted(p.name for p in path.parent.iterdir() if (m := _DATA.fullmatch(p.name)) and m["name"] == stem)
        if data:
            return _prefix(path.with_name(data[0]), stem)
    raise SourceError("no such checkpoint", where=str(path), hint=_there(path.parent, path.name))


def _v1_shards(path: Path) -> bool:
    """Whether there are files PREFIX-00000-of-00001 of the sharded V1 format, given a prefix or a pattern of shards."""
    pattern = _V1_SHARD.fullmatch(path.name)
    name, count = (pattern["name"], pattern["count"]) if pattern else (path.name, "")
    if not path.parent.is_dir() or not name:
        return False
    found = (_V1_SHARD.fullmatch(p.name) for p in path.parent.iterdir())
    return any(m is not None and m["name"] == name and m["count"].startswith(count) for m in found)


def _in_folder(folder: Path) -> Resolved:
    if any((folder / name).is_file() for name in SAVED_MODEL):
        return Resolved(folder)
    state = _state(folder / STATE_NAME)
    if state is not None:
        return _newest_by_state(folder / STATE_NAME, state)
    if newest := _newest(folder):
        return newest
    inner = folder / "variables" / "variables"
    if index_file(inner).is_file():
        return Resolved(inner, "variables/variables; the SavedModel's own file is missing")
    for suffix in _LONE:
        files = sorted(p for p in folder.iterdir() if p.name.endswith(suffix) and p.is_file())
        if len(files) == 1:
            return Resolved(files[0], f"{files[0].name}, the only one of its kind in the folder")
        if files:
            break
    raise SourceError("no single checkpoint in this folder", where=str(folder), hint=_there(folder, ""))


def _newest(folder: Path) -> Resolved | None:
    """The newest complete bundle, else the newest bundle, else the newest V1 file."""
    names = {p.name for p in folder.iterdir()}
    prefixes = [folder / n.removesuffix(INDEX_SUFFIX) for n in names if n.endswith(INDEX_SUFFIX) and n != INDEX_SUFFIX]
    ranked = sorted((_is_complete(p.name, names), *_age(index_file(p)), p) for p in prefixes)
    if ranked:
        is_complete, _, _, prefix = ranked[-1]
        return Resolved(prefix, f"{prefix.name}, {_chosen(len(ranked))}{'' if is_complete else ', not complete'}")
    tables = sorted((*_age(folder / n), folder / n) for n in names if (folder / n).is_file() and is_table(folder / n))
    return Resolved(tables[-1][-1], f"{tables[-1][-1].name}, {_chosen(len(tables))}") if tables else None


def _chosen(count: int) -> str:
    return "the only one in the folder" if count == 1 else f"the newest of {count} in the folder"


def _is_complete(name: str, names: Iterable[str]) -> bool:
    """Whether all data files of a bundle are among the names."""
    found = [m for n in names if (m := _DATA.fullmatch(n)) and m["name"] == name]
    return any(sum(m["count"] == count for m in found) == int(count) for count in {m["count"] for m in found})


def _age(file: Path) -> tuple[int, int]:
    """For sorting: time of the last change, then the step in the name."""
    step = _STEP.search(file.name.removesuffix(INDEX_SUFFIX))
    return file.stat().st_mtime_ns, int(step[1]) if step else -1


def _state(path: Path) -> CheckpointState | None:
    """What a state file says; None for a file that is none."""
    try:
        if (
            not path.is_file()
            or path.stat().st_size > MAX_STATE_BYTES
            or b"model_checkpoint_path" not in head(path, 1 << 12)
        ):
            return None
        return decode_state(head(path, MAX_STATE_BYTES), str(path))
    except (DamagedError, OSError):
        return None


def _newest_by_state(file: Path, state: CheckpointState) -> Resolved:
    """The newest checkpoint that a state file names and that is there: beside it if possible."""
    for entry in dict.fromkeys((state.newest, *reversed(state.all))):
        for path, remark in _places(file.parent, entry):
            if _is_checkpoint(path):
                older = "" if entry == state.newest else f", as its newest, {state.newest}, isn't there"
                return Resolved(path, f"{path.name}, by the state file {file.name}{remark}{older}")
    newest = _newest(file.parent)
    if newest is not None:
        return Resolved(newest.path, f"{newest.note}, as {state.newest} of the state file isn't there")
    raise SourceError(
        f"the state file names {state.newest}, which isn't there",
        where=str(file),
        hint=f"copy the checkpoint beside the state file. {_there(file.parent, last_part(state.newest))}",
    )


def _places(folder: Path, entry: str) -> Iterator[tuple[Path, str]]:
    """Where an entry of a state file may be: as it says within the folder, beside the file, as it says elsewhere."""
    said = Path(entry)
    inside = not said.is_absolute() and ".." not in said.parts
    base = last_part(entry)
    if inside:
        yield folder / said, ""
    if base:
        yield folder / base, "" if entry == base else f", which names {entry}"
    if not inside:
        yield folder / said, f", OUTSIDE its folder at {entry}"


def _is_checkpoint(path: Path) -> bool:
    try:
        is_file = path.name and (index_file(path).is_file() or (path.is_file() and is_table(path)))
        return bool(is_file) or _v1_shards(path)
    except (OSError, ValueError, CkptMigrateError):
        return False


def _there(folder: Path, name: str) -> str:
    """What there is, the nearest names first, for a hint."""
    while not folder.is_dir() and folder != folder.parent:
        name, folder = folder.name, folder.parent
    try:
        files = [p.name + "/" * p.is_dir() for p in folder.iterdir()]
    except OSError:
        return ""
    names = sorted({_as_given(file) for file in files if not file.startswith(".")})
    from difflib import get_close_matches

    near = get_close_matches(name, names, _SHOWN, 0.6) if name else []
    shown = near or names[:_SHOWN]
    if not shown:
        return f"{folder} is empty"
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"in {folder}: {', '.join(shown)}{more}"


def _as_given(file: str) -> str:
    """A file as one would name it: a bundle's by the prefix."""
    data = _DATA.fullmatch(file)
    return data["name"] if data else file.removesuffix(INDEX_SUFFIX) or file
