"""`ckptmigrate inspect`: what a checkpoint holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ckptmigrate.cli.answer import BLANKS, Answer, give, issue_lines
from ckptmigrate.cli.options import From, Json, Source
from ckptmigrate.cli.text import columns, count, size, visible

if TYPE_CHECKING:
    from ckptmigrate.table import Checkpoint

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
    """Show what a checkpoint holds: variables, optimizer state, files. Reads no tensor data without --stats."""

    def command() -> Answer:
        from ckptmigrate.formats import open_checkpoint
        from ckptmigrate.listing import fitting, inspect_json

        with open_checkpoint(Path(source), from_) as checkpoint:
            kept = fitting(checkpoint, pattern) if pattern else checkpoint.variables
            document = inspect_json(checkpoint, keep=lambda variable: variable.name in kept, stats=stats)
            lines = list(_lines(checkpoint, document, everything or stats)) if not as_json else []
            failed = any(issue.severity == "error" for issue in checkpoint.issues)
        return Answer(lambda: document, lambda: lines, int(failed))

    raise typer.Exit(give(command, as_json, {**BLANKS["inspect"], "path": source}))


def _lines(checkpoint: Checkpoint, document: Mapping[str, Any], everything: bool) -> Iterator[str]:
    yield f"{visible(checkpoint.metadata.get('used') or document['path'])}  [{document['format']}]"
    yield ""
    yield from columns(_facts(checkpoint), indent="")
    if not document["variables"] and checkpoint.variables:
        yield "no variable has such a name"
    if document["variables"]:
        yield ""
        yield "variables"
        yield from columns(_variable_rows(document["variables"], everything))
    for state in document["optimizers"]:
        yield ""
        yield from _optimizer_lines(state, everything)
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
    return facts


def _size(file: Path) -> str:
    try:
        return size(file.stat().st_size)
    except OSError:
        return "missing"


def _variable_rows(variables: Sequence[Mapping[str, Any]], everything: bool) -> Iterator[tuple[str, ...]]:
    from ckptmigrate.runs import Run, collapse, fold, spread

    stats = "stats" in variables[0]
    yield ("shape", "dtype", *(STATS if stats else ()), "name")
    if everything:
        for v in variables:
            yield (_shape(v), v["dtype"], *(_stats(v) if stats else ()), v["name"] + _value(v) + _told_role(v))
        return
    by_name = {v["name"]: v for v in variables}
    runs = collapse(
        [v["name"] for v in variables], [(v["dtype"], _told_role(v), len(v["shape"] or ())) for v in variables]
    )

    def cells(run: Run) -> tuple[str, str]:
        some = [by_name[name] for name in run.names]
        return spread(tuple(v["shape"]) for v in some) if some[0]["shape"] is not None else "open", some[0]["dtype"]

    for run in fold(runs, [(cells(run), _told_role(by_name[run.names[0]])) for run in runs]):
        first = by_name[run.names[0]]
        times = f"  x{len(run.names)}" if len(run.names) > 1 else _value(first)
        yield (*cells(run), run.text + times + _told_role(first))


def _told_role(item: Mapping[str, Any]) -> str:
    """The role where the name doesn't tell it; those of weights and statistics are counted above the list."""
    role = str(item["role"])
    return "" if role in ("weight", "bn_mean", "bn_variance") else f"  ({role})"


STATS = ("min", "max", "mean", "std", "zeros", "nan", "inf")


def _stats(item: Mapping[str, Any]) -> Iterator[str]:
    for name in STATS:
        number = item["stats"].get(name)
        yield "-" if number is None else f"{number:.4g}" if isinstance(number, float) else f"{number}"


def _shape(item: Mapping[str, Any]) -> str:
    return "open" if item["shape"] is None else "[" + ",".join(map(str, item["shape"])) + "]"


def _value(item: Mapping[str, Any]) -> str:
    return "" if item.get("value") is None else f" = {item['value']}"


def _optimizer_lines(state: Mapping[str, Any], everything: bool, indent: str = "") -> Iterator[str]:
    step = "" if state["step"] is None else f", step {state['step']:,}"
    yield f"{indent}optimizer {visible(state['name'])}: {state['kind']}, dialect {state['dialect']}{step}"
    facts: list[tuple[str, str]] = []
    if state["hyper"]:
        facts.append(("hyper", ", ".join(f"{name} {number:g}" for name, number in state["hyper"].items())))
    if state["scalars"]:
        facts.append(("scalars", ", ".join(f"{s['name']}{_value(s)}" for s in state["scalars"])))
    slots = Counter(s["slot"] for s in state["slots"])
    if slots:
        owners = len({s["variable"] for s in state["slots"]})
        told = ", ".join(f"{slot} {number:,}" for slot, number in slots.items())
        facts.append(("slots", f"{told} (of {count(owners, 'variable')})"))
    if state.get("unbound"):
        facts.append(("unbound", f"{count(len(state['unbound']), 'tensor')} whose variable the file doesn't tell"))
    yield from columns(facts, indent=f"{indent}  ")
    if everything:
        rows = [(_shape(s), s["dtype"], s["slot"], s["key"]) for s in state["slots"]]
        yield from columns(rows, indent=f"{indent}    ")
    if "wraps" in state:
        yield from _optimizer_lines(state["wraps"], everything, f"{indent}  ")
