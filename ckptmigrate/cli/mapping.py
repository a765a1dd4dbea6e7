"""`ckptmigrate mapping`: rule files, the shipped ones and your own."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ckptmigrate.cli.answer import BLANKS, Answer, give, hint_lines, issue_lines
from ckptmigrate.cli.options import Json, Source
from ckptmigrate.cli.text import columns, count
from ckptmigrate.errors import OutputError
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from ckptmigrate.mapping.check import Check
    from ckptmigrate.mapping.draft import Draft
    from ckptmigrate.mapping.explain import Explanation

CHECK_EXAMPLES = """\b
Examples:
  ckptmigrate mapping check rules.yaml
  ckptmigrate mapping check od/ssd_mobilenet_v2 train/model.ckpt-300"""

EXPLAIN_EXAMPLES = """\b
Examples:
  ckptmigrate mapping explain od/ssd_mobilenet_v2 FeatureExtractor/MobilenetV2/Conv/weights"""

DRAFT_EXAMPLES = """\b
Examples:
  ckptmigrate mapping draft tf1/model.ckpt-300 tf2/ckpt-1 -o map.yaml
  ckptmigrate mapping draft bert.ckpt model.safetensors --no-values | less"""

app = typer.Typer(help="List, show, check, explain and draft mapping files.", rich_markup_mode=None)

File = Annotated[str, typer.Argument(metavar="FILE", help="A mapping file, or a name of the library.")]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the mappings that come with ckptmigrate."""

    def command() -> Answer:
        from ckptmigrate.mapping import library

        found = library.mappings()
        document = {
            "mappings": [{"name": m.name, "title": m.title, "rules": len(m.rules), "file": str(m.path)} for m in found],
            "issues": [],
        }
        return Answer(lambda: document, lambda: columns(((m.name, m.title) for m in found), indent=""))

    raise typer.Exit(give(command, as_json, BLANKS["mapping"]))


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A name of the library.")]) -> None:
    """Print a mapping of the library. To read it, or to start your own from it."""

    def command() -> Answer:
        from ckptmigrate.mapping import library

        text = library.show(name)
        return Answer(dict, text.splitlines)

    raise typer.Exit(give(command, False, {}))


@app.command(epilog=CHECK_EXAMPLES)
def check(
    file: File,
    source: Annotated[str, typer.Argument(metavar="SRC", help="Try it on this checkpoint.")] = "",
    target: Annotated[str, typer.Argument(metavar="DST", help="With the names and shapes of this one.")] = "",
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: Json = False,
) -> None:
    """Check a mapping; needs no checkpoint. Maps made-up names there and back, runs the examples."""

    def command() -> Answer:
        from ckptmigrate.formats import open_checkpoint
        from ckptmigrate.formats.named import with_slots
        from ckptmigrate.issues import exit_code
        from ckptmigrate.mapping.check import check as run
        from ckptmigrate.mapping.rules import Mapping

        with ExitStack() as stack:
            mapping = Mapping.load(file)
            opened = [stack.enter_context(open_checkpoint(path)) for path in (source, target) if path]
            opened[:1] = [with_slots(one, mapping.source.slots) for one in opened[:1]]
            found = run(mapping, *opened, strict=strict)
            return Answer(lambda: _check_json(found), lambda: _check_lines(found), exit_code(found.findings))

    raise typer.Exit(give(command, as_json, {"mapping": file, "rules": []}))


@app.command(epilog=EXPLAIN_EXAMPLES)
def explain(
    file: File,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A variable's name, of the source or the target.")],
    *,
    as_json: Json = False,
) -> None:
    """Say which rule takes a name. With which values, what it becomes, and which rules lost."""

    def command() -> Answer:
        from ckptmigrate.mapping.explain import explain_both
        from ckptmigrate.mapping.rules import Mapping

        found = explain_both(Mapping.load(file), name)
        taken = any(e.where for e in found)
        document = {"name": name, "explanations": [asdict(e) for e in found], "issues": []}
        return Answer(lambda: document, lambda: _explained(found), 0 if taken else 5)

    raise typer.Exit(give(command, as_json, {"name": name, "explanations": []}))


@app.command(epilog=DRAFT_EXAMPLES)
def draft(
    source: Source,
    target: Annotated[str, typer.Argument(metavar="DST", help="A checkpoint of the target model.")],
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Write the mapping here instead of printing it.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing FILE.")] = False,
    no_values: Annotated[
        bool, typer.Option("--no-values", help="Compare names and shapes only; read no tensor.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a mapping for two checkpoints. What is certain as rules, the rest as comments to decide."""
    output = "" if output == "-" else output

    def command() -> Answer:
        from ckptmigrate.destination import destination_of, refuse_source, refuse_strange
        from ckptmigrate.formats import open_checkpoint
        from ckptmigrate.mapping.draft import draft as run
        from ckptmigrate.staging import publish_file

        place = destination_of(output, "") if output else None
        if place:
            refuse_strange(place, [place.path])
        if place and not force and os.path.lexists(place.path):
            raise OutputError("exists", where=output, hint="--force replaces it; or name another file")
        with open_checkpoint(source) as near, open_checkpoint(target) as far:
            if place:
                refuse_source([place.path], [*near.files, *far.files])
            found = run(near, far, values=not no_values)
        if place:
            publish_file(place.path, found.text.encode())
        lines = (lambda: _draft_lines(found, source, target, output)) if output else found.text.splitlines
        return Answer(lambda: _draft_json(found, output), lines)

    raise typer.Exit(give(command, as_json, {"file": output, "pairs": [], "unsure": [], "unfilled": []}))


def _draft_json(found: Draft, output: str) -> dict[str, Any]:
    return {
        "file": output,
        "pairs": [{"source": name, **asdict(pair)} for name, pair in found.pairs.items()],
        "unsure": [{"source": name, "candidates": list(others)} for name, others in found.unsure.items()],
        "unfilled": list(found.unfilled),
        "text": found.text,
        "issues": [],
    }


def _draft_lines(found: Draft, source: str, target: str, output: str) -> Iterator[str]:
    total = len(found.pairs) + len(found.unsure)
    rules = count(len(found.mapping.rules), "rule")
    yield f"{visible(output)}: {rules} for {len(found.pairs):,} of {count(total, 'variable')} of the source"
    if found.unsure:
        yield f"  {len(found.unsure):,} of the source are left to decide"
    if found.unfilled:
        yield f"  {len(found.unfilled):,} of the target are left to fill"
    words = map(shlex.quote, (output, source, target))
    yield from hint_lines(f"ckptmigrate mapping check {' '.join(words)}")


def _check_json(found: Check) -> dict[str, Any]:
    moves = found.assignment.moves if found.assignment else ()
    return {
        "mapping": found.mapping.name,
        "rules": [asdict(rule) for rule in found.rules],
        "moves": [{"sources": list(m.sources), "targets": list(m.targets), "where": m.where} for m in moves],
        "issues": [issue.to_json() for issue in found.findings],
    }


def _check_lines(found: Check) -> Iterator[str]:
    verdicts = Counter[str](rule.verdict for rule in found.rules)
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    yield f"{visible(found.mapping.name)}: {count(len(found.rules), 'rule')}; {told}"
    yield ""
    for rule in found.rules:
        yield visible(rule.text)
        yield f"  {visible(rule)}"
        for doubt in rule.unproven:
            yield f"  shapes can't prove: {visible(doubt)}"
    if found.assignment is not None:
        a = found.assignment
        yield ""
        yield (
            f"on this checkpoint: {count(len(a.moves), 'move')}, {len(a.drops)} dropped, {len(a.fills)} filled,"
            f" {len(a.unmatched)} unmatched, {len(a.unfilled)} unfilled"
        )
    if found.findings:
        yield ""
        yield from issue_lines(found.findings)


def _explained(found: list[Explanation]) -> Iterator[str]:
    for e in found:
        yield f"{visible(e.name)}  {'backwards' if e.reverse else 'forwards'}"
        facts = [("rule", e.text), ("at", e.where)] if e.where else []
        facts += [("hole", f"{{{hole}}} = {value}") for hole, value in e.holes.items()]
        facts += [("becomes", name) for name in e.becomes]
        facts += [("with", operation) for operation in e.operations]
        facts += [("together with", name) for name in e.also_takes]
        facts += [("problem", e.problem)] if e.problem else []
        facts += [("lost", f"{loser.text} at {loser.where}: {loser.why}") for loser in e.lost]
        yield from columns(facts)
