"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?i?)b?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """`5GB`, `500MB`, `1GiB` or a plain number, in bytes.

    Raises:
        ValueError: It is no size, or none above zero.

    >>> parse_size("5GB"), parse_size("1GiB")
    (5000000000, 1073741824)
    """
    match = _SIZE.fullmatch(text.strip())
    nbytes = int(float(match[1]) * UNITS[match[2].lower()]) if match and match[2].lower() in UNITS else 0
    if nbytes <= 0:
        raise ValueError(f"{text!r} is no size; expected a number with a unit, such as 5GB, 500MB or 1GiB")
    return nbytes
