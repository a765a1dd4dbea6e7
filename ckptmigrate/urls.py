"""URLs of remote files, and the local paths that stand for them while they are read: what is told names the URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.+)", re.DOTALL)

ROOTS: dict[int, str] = {}  # process -> the folder of its images; a forked one knows its parent's as well


def is_remote(path: object) -> bool:
    """Whether this is a URL rather than a path.

    >>> is_remote("s3://bucket/model.ckpt"), is_remote("models/s3")
    (True, False)
    """
    return _URL.fullmatch(str(path)) is not None


def parts_of(url: str) -> tuple[str, ...]:
    """The scheme and the names of a URL.

    >>> parts_of("s3://bucket/run7/")
    ('s3', 'bucket', 'run7')
    """
    scheme, _, key = url.partition("://")
    return scheme, *(name for name in key.split("/") if name)


def url_of(path: Path) -> str:
    """The URL that a local path stands for; "" for a path of this machine."""
    told = spoken(str(path))
    return told if told != str(path) else ""


def spoken(text: str) -> str:
    """A text with URLs in place of the local paths that stand for them."""
    for root in tuple(ROOTS.values()):
        if root in text:
            text = re.sub(re.escape(root) + r"/([a-z][a-z0-9+.-]+)/?", r"\1://", text)
    return text


def spoken_in(document: Any) -> Any:
    """`spoken`, of every text in a document of JSON."""
    if not ROOTS:
        return document
    if isinstance(document, str):
        return spoken(document)
    if isinstance(document, Mapping):
        return {name: spoken_in(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [spoken_in(value) for value in document]
    return document
