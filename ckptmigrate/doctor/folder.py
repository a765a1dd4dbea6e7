"""The folder around a checkpoint: state files that point nowhere, parts that are missing, remains of killed saves.

What TensorFlow does with each: tensorflow/python/checkpoint/checkpoint_management.py, `latest_checkpoint`,
tensorflow/core/util/tensor_bundle/tensor_bundle.cc, `MergeBundles`; temporary names of saver.py and file_io.py.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckptmigrate.errors import DamagedError
from ckptmigrate.issues import Issue
from ckptmigrate.wire.names import INDEX_SUFFIX, index_file
from ckptmigrate.wire.reading import head
from ckptmigrate.wire.sstable import is_table
from ckptmigrate.wire.state_file import MAX_STATE_BYTES, STATE_NAME, CheckpointState, decode_state, encode_state

_DATA = re.compile(r"(?P<name>.+)\.data-(?P<shard>\d{5,})-of-(?P<count>\d{5,})", re.DOTALL)
_STEP = re.compile(r"(?P<name>.+)-(?P<step>\d{1,18})", re.DOTALL)
_REMAINS = re.compile(r".+_temp(?:_[0-9a-f]{32})?|.+\.tempstate\d+|checkpoint\.tmp[0-9a-f]{32}|\..+\.ckptmigrate-\w+")


def examine_folder(folder: Path, own: str = "") -> Iterator[Issue]:
    """What is wrong with the files of a folder. Reads names, and the state file.

    Args:
        folder: Where the checkpoint stands.
        own: The name of its prefix: what that lacks is said where it is read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return
    yield from _state(folder, names)
    yield from _parts(folder, names, own)
    for name in names:
        if _REMAINS.fullmatch(name):
            message = "remains of a save that was killed: nothing can be restored from it"
            hint = f"once nothing writes there any more: rm -r {shlex.quote(str(folder / name))}"
            yield Issue("leftover", "warning", name, message, hint)


def _state(folder: Path, names: Sequence[str]) -> Iterator[Issue]:
    file = folder / STATE_NAME
    try:
        if not file.is_file() or file.stat().st_size > MAX_STATE_BYTES:
            return
        state = decode_state(head(file, MAX_STATE_BYTES), str(file))
    except OSError:
        return
    except DamagedError as error:
        message = f"the state file can't be read ({error.message}): tf.train.latest_checkpoint finds nothing here"
        yield Issue("state", "warning", STATE_NAME, message, _rewritten(folder, names), error.where)
        return
    yield from _newest(folder, state, names)
    gone = [entry for entry in state.all if entry != state.newest and not _is_there(folder, entry)]
    if gone:
        message = f"of the {len(state.all)} checkpoints that the state file lists, {len(gone)} are gone"
        yield Issue("state", "note", STATE_NAME, message)


def _newest(folder: Path, state: CheckpointState, names: Sequence[str]) -> Iterator[Issue]:
    """The newest checkpoint by the state file, where TensorFlow looks for it, and whether there is a newer one."""
    base, here = re.split(r"[/\\]", state.newest)[-1], _steps(folder, names)
    own = _STEP.fullmatch(base)
    latest = max((s for (name, s) in here if own is not None and name == own["name"]), default=-1)
    if not _is_there(folder, state.newest):
        effect = "tf.train.latest_checkpoint answers None, and the program starts from scratch without a word"
        if base in names or base + INDEX_SUFFIX in names:
            message = f"the state file names {state.newest}, where nothing is, though {base} stands beside it: {effect}"
            yield Issue("state", "error", STATE_NAME, message, _written(folder, base))
        elif latest >= 0:
            message = f"the state file is newer than the files: it names {state.newest}, which isn't here: {effect}"
            yield Issue("state", "error", STATE_NAME, message, _rewritten(folder, names))
        else:
            message = f"the state file names {state.newest}, which isn't here: {effect}"
            yield Issue("state", "error", STATE_NAME, message, _rewritten(folder, names))
    elif own is not None and latest > int(own["step"]):
        newer = f"{own['name']}-{latest}"
        message = (
            f"{newer} is newer than {base}, which the state file names: a restore of the latest takes the older one"
        )
        yield Issue("state", "warning", STATE_NAME, message, _written(folder, newer))


def _is_there(folder: Path, entry: str) -> bool:
    """Whether TensorFlow finds a checkpoint that a state file names: relative paths begin at the folder."""
    path = folder / entry
    try:
        if "?" in path.name:  # a pattern of shards, as the sharded Saver of version 1 wrote it
            return any(path.parent.glob(path.name))
        return bool(path.name) and (index_file(path).is_file() or (path.is_file() and is_table(path)))
    except (OSError, ValueError):
        return False


def _steps(folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    """(name, step) of the bundles in the folder whose name has a step, and that have all their data files."""
    lacking = {name for name, _ in _lacking(names)}
    stems = [name.removesuffix(INDEX_SUFFIX) for name in names if name.endswith(INDEX_SUFFIX)]
    found = (_STEP.fullmatch(stem) for stem in stems if stem not in lacking)
    return [(step["name"], int(step["step"])) for step in found if step is not None]


def _rewritten(folder: Path, names: Sequence[str]) -> str:
    """The command that makes the state file name the newest checkpoint that is here."""
    here = sorted(_steps(folder, names), key=lambda pair: pair[1])
    stems = [f"{name}-{step}" for name, step in here] or [
        name.removesuffix(INDEX_SUFFIX) for name in names if name.endswith(INDEX_SUFFIX) and name != INDEX_SUFFIX
    ]
    return _written(folder, stems[-1]) if stems else "copy the checkpoint's files beside the state file"


def _written(folder: Path, name: str) -> str:
    text = encode_state(CheckpointState(name, (name,))).decode().rstrip("\n").replace("\n", "\\n")
    return f"printf {shlex.quote(text + chr(92) + 'n')} > {shlex.quote(str(folder / STATE_NAME))}"


def _lacking(names: Sequence[str]) -> list[tuple[str, str]]:
    """(prefix, what it lacks) of the bundles in a folder."""
    shards: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        if data := _DATA.fullmatch(name):
            shards[data["name"]][data["count"]].add(int(data["shard"]))
    found = []
    for prefix, counts in shards.items():
        if prefix + INDEX_SUFFIX not in names:
            found.append((prefix, "its index is missing, which has the names and shapes"))
        elif not any(len(numbers) == int(count) for count, numbers in counts.items()):
            told = ", ".join(f"{len(numbers)} of {int(count)}" for count, numbers in counts.items())
            found.append((prefix, f"{told} data files are here"))
    stems = [n.removesuffix(INDEX_SUFFIX) for n in names if n.endswith(INDEX_SUFFIX) and n != INDEX_SUFFIX]
    return found + [(stem, "there is no data file") for stem in stems if stem not in shards]


def _parts(folder: Path, names: Sequence[str], own: str) -> Iterator[Issue]:
    for prefix, lack in _lacking(names):
        if prefix != own:
            message = f"can't be restored: {lack}"
            yield Issue("missing", "warning", prefix, message, "copy all files of the checkpoint", str(folder))
    counts: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if data := _DATA.fullmatch(name):
            counts[data["name"]].add(data["count"])
    for prefix, several in counts.items():
        if len(several) > 1:
            told = " and ".join(f"of {int(count)}" for count in sorted(several))
            message = f"data files {told}: they are of different saves; the index goes with one of them"
            yield Issue("mixed", "warning", prefix, message, "delete what is older than the index", str(folder))
