"""Label maps: which class has which id (object_detection/protos/string_int_label_map.proto)."""

from __future__ import annotations

from pathlib import Path

from ckptmigrate.detection.prototext import read
from ckptmigrate.detection.textformat import Field, plain
from ckptmigrate.errors import SourceError

BACKGROUND = 0
MAX_CLASSES = 1_000_000
_MAX_DIGITS = 9


def read_labels(path: str | Path) -> dict[int, str]:
    """Id -> name of every class, without the background.

    Raises:
        SourceError: No such file, no label map, an id twice or below 1.
    """
    document = read(path, "a label map", "expected a label map: item { id: 1 name: 'dog' } ...")
    labels: dict[int, str] = {}
    for item in document.all("item"):
        where = document.position(item)
        number = _number(item, where)
        if number in labels:
            raise SourceError(f"id {number} is there twice", where=where)
        if number != BACKGROUND:
            labels[number] = _value(item, "name") or _value(item, "display_name") or str(number)
    if not labels:
        raise SourceError("no classes in it; expected item { id: 1 name: 'dog' } ...", where=str(path))
    return labels


def kept_rows(old: dict[int, str], new: dict[int, str]) -> tuple[int, ...]:
    """For every new class, from id 1 on, the old one of that name: its place from 0, or -1 for a class that is new."""
    places = {name: number - 1 for number, name in old.items()}
    return tuple(places.get(new.get(number, ""), -1) for number in range(1, max(new) + 1))


def _value(item: Field, name: str) -> str:
    fields = item.message.fields if item.message is not None else ()
    found = [f.values[-1] for f in fields if f.name == name and f.values]
    return plain(found[-1]) if found else ""


def _number(item: Field, where: str) -> int:
    text = _value(item, "id")
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) > MAX_CLASSES:
        raise SourceError(f"expected an id from 1 on, found {text or 'none'!r}", where=where)
    return int(text)
