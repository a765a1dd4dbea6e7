"""Scalars: names and patterns as YAML writes them."""

from __future__ import annotations

import re

PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./{}+-]|:(?=[A-Za-z0-9]))*", re.ASCII)
IN_BRACES = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def quoted(text: str, plain: re.Pattern[str] = PLAIN) -> str:
    """Text as a YAML scalar that reads as nothing else."""
    if plain.fullmatch(text):
        return text
    return '"' + "".join(_escape(c) if c in '"\\' or not c.isprintable() else c for c in text) + '"'


def visible(text: str) -> str:
    """Text for a comment: on one line."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
