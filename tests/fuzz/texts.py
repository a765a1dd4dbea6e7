"""Mutations of what people write: mappings and manifests as trees and as lines, texts of protobuf messages."""

from __future__ import annotations

import random
import re
from functools import cache
from typing import Any

import yaml
from mutate import DEEP, NAMES, node, raw

# What a pattern could be: holes twice, of every kind, in braces without end; what a backtracking engine would choke on.
PATTERNS = (
    *(
        "{x}{y}",
        "{x}_{x}",
        "{x:path}/{y:path}",
        "{a}{b}{c}{d}{e}{f}{g}{h}",
        "{x:int}{y:int}",
        "{x:nth}{y:rank}",
        "{",
        "}",
    ),
    *(
        "{x:1..999999999999999999}",
        "{x:9..1}",
        "{x:(a+)+$}",
        "(a+)+$",
        "{{}}",
        "{{{",
        "{" * DEEP,
        "{x+y*3}",
        "{x-x}",
        "{1}",
    ),
    *(
        "{3*(i-1)+i*i}",
        "{((((((i))))))}",
        "{i:int}_{i+1}",
        ".../{x}",
        "...",
        "{...}",
        "{x:conv}",
        "{conv}",
        "[{x}]",
        "a,b",
    ),
    *("9" * 400, "-1", "010", "1e3", "no", "12:30:45", "~", "\u202e", "{x:path}" * 9, "{x}_" * 12, "_a" * 60),
)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
LINES = (
    *("<<: *a", "- *a", "a: &a b", "!!python/object/apply:os.system [id]", "!!binary aGk=", "--- ", "...", "%YAML 9.9"),
    *(
        "\t- x",
        "? x",
        ": x",
        "- - - - - x",
        "rename: {a: b, a: c}",
        "'",
        '"',
        "|",
        "\ufeff",
        "\x85",
        "a: [" * DEEP,
        "- " * DEEP,
    ),
    *("include: [../../../../etc/passwd]", "include: [keras/h5]", "include: [.]", "separator: ''", BOMB),
)


@cache
def _loaded(data: bytes) -> Any:
    return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _patterned(value: Any, rng: random.Random) -> Any:
    """One text, or one key, replaced by a pattern, or with one in its middle."""
    if isinstance(value, str) or not value or not isinstance(value, dict | list):
        pattern = rng.choice(PATTERNS)
        return pattern if rng.randrange(2) else f"{str(value)[:200]}/{pattern}"
    out: Any = value.copy()
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if isinstance(out, dict) and rng.randrange(3) == 0:
        out[_patterned(key, rng)] = out.pop(key)
    else:
        out[key] = _patterned(value[key], rng)
    return out


def written(data: bytes, rng: random.Random) -> bytes:
    """YAML changed as a tree, written anew; or a line of another kind in it; or its bytes."""
    action = rng.randrange(10)
    if action == 0:
        return raw(data, rng)
    if action < 4:
        lines = data.decode().splitlines()
        at = rng.randrange(len(lines) + 1)
        indent = " " * rng.choice((0, 0, 2, 4))
        lines[at : at + rng.randrange(2)] = [indent + rng.choice(LINES)]
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    tree = _loaded(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        tree = _patterned(tree, rng) if rng.randrange(4) else node(tree, rng)
    try:
        text = yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=1000)
    except UnicodeEncodeError:  # a lone surrogate, which no text file holds
        return raw(data, rng)
    return text.encode()


_WORD = re.compile(r"\w+|[^\w\s]")


def words(data: bytes, rng: random.Random) -> bytes:
    """Text with words and signs replaced, moved or doubled; nested deeply; or its bytes changed."""
    action = rng.randrange(12)
    if action == 0:
        return raw(data, rng)
    text = data.decode("utf-8", "replace")
    if action == 1:
        depth = DEEP // 20
        return (text + "a { " * depth + "}" * rng.choice((0, depth))).encode()
    for _ in range(rng.randint(1, 4)):
        found = list(_WORD.finditer(text))
        if not found:
            break
        one, other = rng.choice(found), rng.choice(found)
        odd = (
            *NAMES,
            "{",
            "}",
            "[",
            "]",
            ":",
            '"',
            "'",
            "#",
            "9" * 400,
            "-1e999",
            "nan",
            "0x" + "f" * 40,
            "\\777",
            other[0],
        )
        text = text[: one.start()] + rng.choice(odd) + text[one.end() if rng.randrange(2) else one.start() :]
    return text.encode("utf-8", "surrogateescape")
