"""`ckptmigrate inspect`: what a checkpoint holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ckptmigrate.cli.answer import BLANKS, Answer, give, issue_lines
from ckptmigrate.cli.graphs import graph_facts
from ckptmigrate.cli.options import From, Json, Source
from ckptmigrate.cli.text import columns, count, size
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from ckptmigrate.table import Checkpoint, OptimizerState, Tensor, Variable

EXAMPLES = """\b
Examples:
  ckptmigrate inspect train/model.ckpt-300.index
  ckptmigrate inspect train/ --filter '{scope:path}/BatchNorm/{leaf}'
  ckptmigrate inspect model.safetensors --stats --json"""


def inspect(
    source: Source,
    *,
    from_: From = "",
    pattern: Annotated[
        str,
        typer.Option(
            "--filter", metavar="PATTERN", help="List only variables with such names, e.g. 'block_{n:int}/{x:path}'."
        ),
    ] = "",
    stats: Annotated[bool, typer.Option("--stats", help="Read the values: range, mean, zeros, NaN and Inf.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="One line per variable and slot; no runs.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a checkpoint holds. Variables, optimizer state, files; no tensor data is read without --stats."""

    def command() -> Answer:
        from ckptmigrate.formats import open_checkpoint
        from ckptmigrate.listing import fitting, inspect_json

        with open_checkpoint(source, from_) as opened:
            checkpoint = _with_norm_findings(opened) if stats else opened
            shown = fitting(checkpoint, pattern) if pattern else checkpoint
            document = inspect_json(shown, stats=stats) if as_json else {}
            lines = [] if as_json else list(_lines(checkpoint, shown, everything, stats))
            failed = any(issue.severity == "error" for issue in checkpoint.issues)
        return Answer(lambda: document, lambda: lines, int(failed))

    raise typer.Exit(give(command, as_json, {**BLANKS["inspect"], "path": source}))


def _with_norm_findings(checkpoint: Checkpoint) -> Checkpoint:
    """Says what is wrong with the statistics of batch normalisations, too, now that values are read."""
    from ckptmigrate.doctor.norms import norm_findings

    return replace(checkpoint, issues=(*checkpoint.issues, *norm_findings(checkpoint)))


def _lines(checkpoint: Checkpoint, shown: Checkpoint, everything: bool, stats: bool) -> Iterator[str]:
    """What a checkpoint holds, and of its variables and slots those of `shown`, a part of it."""
    yield f"{visible(checkpoint.metadata.get('used') or checkpoint.path)}  [{checkpoint.format}]"
    yield ""
    yield from columns(_facts(checkpoint), indent="")
    if checkpoint.variables and not shown.variables:
        yield "no variable has such a name"
    if shown.variables:
        yield ""
        yield "variables"
        rows = _every_row(shown.variables, stats) if everything or stats else _run_rows(shown.variables)
        yield from columns(rows)
    for state in shown.optimizers:
        yield ""
        yield from _optimizer_lines(state, everything or stats)
    if checkpoint.issues:
        yield ""
        yield from issue_lines(checkpoint.issues)


def _facts(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    facts = [("files" if n == 0 else "", f"{_size(f):>8}  {f.name}") for n, f in enumerate(checkpoint.files)]
    roles = Counter(v.role for v in checkpoint.variables.values())
    total = sum(v.tensor.nbytes for v in checkpoint.variables.values())
    facts.append(
        ("variables", f"{len(checkpoint.variables):,}: " + ", ".join(f"{n:,} {r}" for r, n in roles.most_common()))
    )
    weights = sum(v.tensor.size for v in checkpoint.variables.values() if v.role == "weight")
    facts.append(("weights", f"{count(weights, 'parameter')}; all variables {size(total)}"))
    return [*facts, *_norm_facts(checkpoint), *graph_facts(checkpoint.metadata)]


def _norm_facts(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """How batch normalisations are configured, where the file tells; each way with the number of layers."""
    from ckptmigrate.norm_settings import norm_settings

    ways = Counter(norm_settings(checkpoint).values())
    for settings, number in ways.most_common():
        told = ", ".join(f"{name} {value:g}" for name, value in settings._asdict().items() if value is not None)
        yield "batch norm", f"{count(number, 'layer')}: {told or 'nothing told'}"


def _size(file: Path) -> str:
    try:
        return size(file.stat().st_size)
    except OSError:
        return "missing"


def _every_row(variables: Mapping[str, Variable], stats: bool) -> Iterator[tuple[str, ...]]:
    yield ("shape", "dtype", *(STATS if stats else ()), "name")
    for v in variables.values():
        numbers = _stats(v.tensor) if stats else ()
        yield (_shape(v.tensor), v.tensor.dtype.name, *numbers, v.name + _counted(v) + _told_role(v.role))


def _run_rows(variables: Mapping[str, Variable]) -> Iterator[tuple[str, ...]]:
    from ckptmigrate.runs import Run, collapse, fold, spread

    yield "shape", "dtype", "name"
    listed = variables.values()
    runs = collapse(
        list(variables),
        [(v.tensor.dtype.name, _told_role(v.role), len(v.tensor.shape), v.tensor.is_open) for v in listed],
    )

    def cells(run: Run) -> tuple[str, str]:
        some = [variables[name].tensor for name in run.names]
        return "open" if some[0].is_open else spread(tensor.shape for tensor in some), some[0].dtype.name

    for run in fold(runs, [(cells(run), _told_role(variables[run.names[0]].role)) for run in runs]):
        first = variables[run.names[0]]
        times = f"  x{len(run.names)}" if len(run.names) > 1 else _counted(first)
        yield (*cells(run), run.text + times + _told_role(first.role))


@cache
def _told_role(role: str) -> str:
    """The role where the name doesn't tell it; those of weights and statistics are counted above the list."""
    return "" if role in ("weight", "bn_mean", "bn_variance") else f"  ({role})"


STATS = ("min", "max", "mean", "std", "zeros", "nan", "inf")


def _stats(tensor: Tensor) -> Iterator[str]:
    from ckptmigrate.listing import statistics

    numbers = statistics(tensor)
    for name in STATS:
        number = numbers.get(name)
        yield "-" if number is None else f"{number:.4g}" if isinstance(number, float) else f"{number}"


def _shape(tensor: Tensor) -> str:
    return "open" if tensor.is_open else "[" + ",".join(map(str, tensor.shape)) + "]"


def _counted(variable: Variable) -> str:
    return _value(variable.tensor) if variable.role == "counter" else ""


def _value(tensor: Tensor) -> str:
    from ckptmigrate.listing import value

    known = value(tensor)
    return "" if known is None else f" = {known}"


def _optimizer_lines(state: OptimizerState, everything: bool, indent: str = "") -> Iterator[str]:
    step = "" if state.step is None else f", step {state.step:,}"
    yield f"{indent}optimizer {visible(state.name)}: {state.kind}, dialect {state.dialect}{step}"
    facts: list[tuple[str, str]] = []
    if state.hyper:
        facts.append(("hyper", ", ".join(f"{name} {number:g}" for name, number in state.hyper.items())))
    if state.scalars:
        facts.append(("scalars", ", ".join(f"{name}{_value(s.tensor)}" for name, s in state.scalars.items())))
    slots = Counter(key.slot for key in state.slots)
    if slots:
        owners = len({key.variable for key in state.slots})
        told = ", ".join(f"{slot} {number:,}" for slot, number in slots.items())
        facts.append(("slots", f"{told} (of {count(owners, 'variable')})"))
    if state.unbound:
        facts.append(("unbound", f"{count(len(state.unbound), 'tensor')} whose variable the file doesn't tell"))
    yield from columns(facts, indent=f"{indent}  ")
    if everything:
        rows = [(_shape(s.tensor), s.tensor.dtype.name, key.slot, s.key) for key, s in state.slots.items()]
        yield from columns(rows, indent=f"{indent}    ")
    if state.wraps is not None:
        yield from _optimizer_lines(state.wraps, everything, f"{indent}  ")
