"""The options that several commands share, with their help texts and parsers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Averages(str, Enum):
    """What happens to moving averages."""

    keep = "keep"
    use = "use"
    drop = "drop"


class Optimizer(str, Enum):
    """What happens to optimizer state."""

    keep = "keep"
    drop = "drop"
    fresh = "fresh"


class Flavor(str, Enum):
    """The Keras a file is written for."""

    tf_keras = "tf_keras"
    keras3 = "keras3"
    paths = "paths"


class Dialect(str, Enum):
    """Whose conventions optimizer state follows (table.DIALECTS)."""

    keras1 = "keras1"
    tf1 = "tf1"
    keras_legacy = "keras-legacy"
    keras2 = "keras2"
    keras3 = "keras3"


class Check(str, Enum):
    """How an output is checked before it is published."""

    none = "none"
    bits = "bits"
    framework = "framework"


class Level(str, Enum):
    """How two checkpoints are compared."""

    bits = "bits"
    framework = "framework"
    forward = "forward"
    resume = "resume"


def text(choice: Enum | None) -> str:
    """The chosen word, or "" for none."""
    return "" if choice is None else str(choice.value)


def parse_size(value: str | None) -> int | None:
    """`5GB`, `500MB`, `1GiB` or a plain number, in bytes.

    >>> parse_size("5GB"), parse_size("1GiB")
    (5000000000, 1073741824)
    """
    if not value:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", value.strip().lower())
    if not match or match[2] not in UNITS:
        raise typer.BadParameter(f"{value!r} is no size; expected a number with a unit, such as 5GB, 500MB or 1GiB")
    nbytes = int(float(match[1]) * UNITS[match[2]])
    if nbytes <= 0:
        raise typer.BadParameter(f"{value!r} is no size; expected more than nothing")
    return nbytes


def parse_hyper(values: list[str]) -> dict[str, float]:
    """`NAME=VALUE` pairs.

    >>> parse_hyper(["learning_rate=0.01"])
    {'learning_rate': 0.01}
    """
    found: dict[str, float] = {}
    for value in values:
        name, equals, number = value.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise typer.BadParameter(f"{value!r}; expected NAME=VALUE, such as learning_rate=0.01")
    return found


def routing(
    *, averages: Averages | None, drop: Sequence[str] | None, reinit: Sequence[str] | None, **others: Any
) -> dict[str, Any]:
    """The mapping options as the library takes them: words for choices, tuples for lists."""
    return {**others, "averages": text(averages), "drop": tuple(drop or ()), "reinit": tuple(reinit or ())}


Source = Annotated[str, typer.Argument(metavar="SRC", help="Checkpoint: prefix, any of its files, or its folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
From = Annotated[str, typer.Option("--from", metavar="FORMAT", help="Read SRC as this format instead of looking.")]
Mapping = Annotated[
    str,
    typer.Option("--mapping", metavar="NAME|FILE|auto", help="Rules by library name or file, or find one by names."),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Use the mapping backwards, from its target to its source.")]
Template = Annotated[
    str,
    typer.Option("--template", metavar="CKPT", help="A checkpoint of the target model; its names and structure win."),
]
Names = Annotated[
    str,
    typer.Option("--names", metavar="SYSTEM", help="Call variables by this name: key, full_name, layer_path."),
]
AveragesOption = Annotated[
    Averages | None,
    typer.Option("--averages", help="Moving averages: keep beside the weights, use as the weights, or drop."),
]
Drop = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="PATTERN", help="Leave these source variables out. May be repeated."),
]
Reinit = Annotated[
    list[str] | None,
    typer.Option("--reinit", metavar="PATTERN", help="Keep the template's own values for these. May be repeated."),
]
