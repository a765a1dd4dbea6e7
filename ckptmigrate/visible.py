"""Text from files made safe to show: on a terminal, and in a page."""

from __future__ import annotations

import unicodedata
from html import escape

# Categories whose characters a terminal obeys, hides or can't encode: control, format (bidirectional overrides, zero
# width), surrogates (undecodable bytes of a name), unassigned, private, line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def visible(text: object) -> str:
    r"""The text on one line with everything escaped that a terminal would obey or not show.

    >>> visible("red\x1b[31m\n")
    'red\\x1b[31m\\n'
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in plain)


def markup(text: object) -> str:
    r"""The same as HTML.

    >>> markup("<b>\u202e")
    '&lt;b&gt;\\u202e'
    """
    return escape(visible(text))


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else repr(character)[1:-1]
