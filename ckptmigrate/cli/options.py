"""The options that several commands share, with their help texts and parsers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer

from ckptmigrate import sizes


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
    """A size in bytes (sizes.parse_size); None where none is given."""
    try:
        return sizes.parse_size(value) if value else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def parse_hyper(values: Sequence[str]) -> dict[str, float]:
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


def told(*, hyper: Sequence[str] | None = None, max_shard_size: str | None = None, **options: Any) -> dict[str, Any]:
    """The options of a conversion that are given, as keywords of the library: words for choices, tuples for lists."""
    read = {**options, "hyper": parse_hyper(hyper or []), "max_shard_bytes": parse_size(max_shard_size)}
    return {name: _plain(value) for name, value in read.items() if value}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return text(value)
    return tuple(value) if isinstance(value, list) else value


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
    typer.Option("--names", metavar="SYSTEM", help="Which of their names variables go by: key, full_name, layer_path."),
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
    typer.Option(
        "--reinit",
        metavar="PATTERN",
        help="Start these target variables anew: as stated ('head/{x}=he_normal[..., 7]'), else from the template, "
        "else as Keras does. May be repeated.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The seed of the numbers that --reinit draws.")]
FlavorOption = Annotated[
    Flavor | None,
    typer.Option("--flavor", help="The Keras that is to load DST. Decides object paths, names and --dialect."),
]
OptimizerOption = Annotated[
    Optimizer | None,
    typer.Option("--optimizer", help="Optimizer state: keep it, drop it, or start it fresh. Default: keep."),
]
DialectOption = Annotated[
    Dialect | None, typer.Option("--dialect", help="Whose optimizer is to read the state in DST.")
]
Hyper = Annotated[
    list[str] | None,
    typer.Option("--hyper", metavar="NAME=VALUE", help="A hyperparameter that SRC lacks. May be repeated."),
]
DType = Annotated[str, typer.Option("--dtype", metavar="DTYPE", help="Cast floats to this type, such as float16.")]
MaxShardSize = Annotated[
    str | None, typer.Option("--max-shard-size", metavar="SIZE", help="Largest output file, such as 5GB.")
]
Verify = Annotated[
    Check | None,
    typer.Option("--verify", help="How to check the output before it is published. Default: bits."),
]
Report = Annotated[str, typer.Option("--report", metavar="FILE", help="Also write the report, .json or .html.")]
AllowLoss = Annotated[bool, typer.Option("--allow-loss", help="Go on when DST can't hold everything.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing DST.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; write nothing, read no tensor.")]
