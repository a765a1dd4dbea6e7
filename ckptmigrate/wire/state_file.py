"""The text file `checkpoint` beside checkpoints: which one is the newest, and which others there are.

Message: tensorflow/python/training/checkpoint_state.proto, in protobuf's text format.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ckptmigrate.errors import DamagedError

STATE_NAME = "checkpoint"
MAX_STATE_BYTES = 16 << 20  # a hundred thousand paths; larger files are something else

_NEWEST, _ALL = "model_checkpoint_path", "all_model_checkpoint_paths"
_LINE = re.compile(
    r"""\s*(?:\#.*)?(?:(?P<field>[A-Za-z_]\w*)\s*:\s*(?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"'#;,]+)[;,]?)?"""
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class CheckpointState(NamedTuple):
    """What the state file says.

    Attributes:
        newest: Path of the newest checkpoint, absolute, or relative to the folder or to where the program ran.
        all: Paths of all checkpoints, oldest first, the newest among them.
    """

    newest: str
    all: tuple[str, ...]


def decode_state(data: bytes, where: str) -> CheckpointState:
    r"""The state in a `checkpoint` file.

    Raises:
        DamagedError: It isn't one, or it names no newest checkpoint.

    >>> decode_state(b'model_checkpoint_path: "ckpt-3"\nall_model_checkpoint_paths: "ckpt-3"\n', "checkpoint")
    CheckpointState(newest='ckpt-3', all=('ckpt-3',))
    """
    if len(data) > MAX_STATE_BYTES:
        raise DamagedError(f"{len(data)} bytes; a state file has at most {MAX_STATE_BYTES}", where=where)
    newest, others = "", []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        at = 0
        while at < len(line):
            found = _LINE.match(line, at)
            if found is None or found.end() == at:
                raise DamagedError(f"not a checkpoint state file: {line[at:][:80]!r}", where=f"{where}, line {number}")
            at = found.end()
            if found["field"] == _NEWEST:
                newest = _unquote(found["value"])
            elif found["field"] == _ALL:
                others.append(_unquote(found["value"]))
    if not newest:
        raise DamagedError(f"no {_NEWEST} in it", where=where)
    return CheckpointState(newest, tuple(others))


def encode_state(state: CheckpointState) -> bytes:
    r"""The text of a state file, as `tf.compat.v1.train.Saver` writes it.

    >>> encode_state(CheckpointState("m-1", ("m-1",)))
    b'model_checkpoint_path: "m-1"\nall_model_checkpoint_paths: "m-1"\n'
    """
    lines = [f"{_NEWEST}: {_quote(state.newest)}\n", *(f"{_ALL}: {_quote(path)}\n" for path in state.all)]
    return "".join(lines).encode("ascii")


def last_part(entry: str) -> str:
    """The last part of a path of any system.

    >>> last_part("C:" + chr(92) + "runs" + chr(92) + "model")
    'model'
    """
    name = re.split(r"[/\\]", entry)[-1]
    return "" if name in (".", "..") else name


def _unquote(text: str) -> str:
    if text[0] not in "\"'":
        return text
    raw = _ESCAPE.sub(_escaped, text[1:-1])  # escapes give bytes, held as surrogates until the whole is decoded
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _escaped(found: re.Match[str]) -> str:
    octal, hexadecimal, named = found.groups()
    if named is not None:
        return _NAMED.get(named, named)
    byte = int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)


def _quote(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    special = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x27: "\\'"}
    return '"' + "".join(special.get(b) or (chr(b) if 0x20 <= b < 0x7F else f"\\{b:03o}") for b in data) + '"'
