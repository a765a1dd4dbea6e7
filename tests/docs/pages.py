"""What a page shows: its blocks in order, and its transcripts against what the commands say now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ELISION = "...\n"  # alone on a line of a transcript: any lines

_BLOCK = re.compile(r"(?:`(?P<file>[\w/]+\.\w+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_FRAMEWORK = re.compile(r"^ *(import|from) (tensorflow|tf_keras|keras)\b|^\$ .* framework$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code. `file`: the name that the line above gives it, "" for none."""

    language: str
    text: str
    file: str


def blocks(text: str) -> list[Block]:
    """All blocks of a page, in order."""
    return [Block(found["language"], found["text"], found["file"] or "") for found in _BLOCK.finditer(text)]


def needs_frameworks(text: str) -> bool:
    """Whether running the page takes TensorFlow and Keras: its code imports them, or a command asks for their check."""
    return any(_FRAMEWORK.search(block.text) for block in blocks(text))


def plain(text: str) -> str:
    """Without what time, versions and the frameworks' rounding make of it."""
    text = re.sub(r"(no difference|largest difference [0-9.]+e-\d+ .*)$", "about nothing", text, flags=re.MULTILINE)
    text = re.sub(r"largest difference .* \(.* and .*\)", "largest difference", text)
    text = re.sub(r"(?m)^(  \w+ +\d+ ) +[0-9. e-]+$", r"\1", text)  # a step of resume: its losses, how far apart
    text = re.sub(r"\b(tensorflow|tf_keras|Keras) [0-9.]+", r"\1", text)
    return re.sub(r"\b[0-9.]+(e-\d+)? s$", "0.1 s", text, flags=re.MULTILINE)


def tells(shown: str, told: str) -> bool:
    """Whether a transcript is what was told, `...` standing for any lines."""
    pattern = re.escape(plain(shown)).replace(re.escape(ELISION), "(?:.*\n)*?")
    return re.fullmatch(pattern, plain(told)) is not None


def renewed(shown: str, told: str) -> str:
    """What was told, with the transcript's elisions.

    >>> renewed("$ x\\na 1\\n...\\nz 1\\n", "$ x\\na 2\\nb\\nc\\nz 1\\n").split()
    ['$', 'x', 'a', '2', '...', 'z', '1']
    """
    old, new = shown.splitlines(keepends=True), told.splitlines(keepends=True)
    lines: list[str] = []
    for _, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        before, elision, after = "".join(old[i:j]).partition(ELISION)
        here = new[k:m]
        if elision:
            first, last = before.count("\n"), after.count("\n")
            here = [*here[:first], ELISION, *here[max(first, len(here) - last) :]]
        lines += here
    return "".join(lines)
