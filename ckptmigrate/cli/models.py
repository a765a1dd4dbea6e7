"""What a report says of checks that ran the user's own models: forward and resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptmigrate.cli.text import columns, count, shortened
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from ckptmigrate.report import Report, Row

LEVELS = ("forward", "resume")
HEADS = ("", "step", "loss", "target's loss", "weights apart", "slots apart", "apart with a fresh optimizer")


def level_of(report: Report) -> str:
    """The level whose report this is; "" where no model ran."""
    return next((level for level in LEVELS if level in report.details), "")


def model_facts(details: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines of (what, text) on what ran, in the columns that other facts have."""
    if forward := details.get("forward"):
        yield "models", forward["model"]
        yield "inputs", _arrays(forward.get("inputs", ()))
        yield "tolerance", f"{forward['atol']:g} + {forward['rtol']:g} of an output's largest value"
    if resume := details.get("resume"):
        yield "models", resume["model"]
        yield "batches", _arrays(resume.get("batches", ()))
        yield "tolerance", f"{resume['atol']:g} + {resume['rtol']:g} of a weight's largest value"


def _arrays(entries: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{visible(e['name'])} [{','.join(map(str, e['shape']))}]" for e in entries)


def model_lines(report: Report) -> Iterator[str]:
    """What was compared, in the order in which it came about."""
    if level_of(report) == "forward":
        yield from _section("outputs", report.rows)
        return
    course = report.details["resume"].get("course", ())
    if course:
        yield ""
        yield f"steps ({len(course) - 1:,})"
        yield from columns(_table(course))
    yield from _section("differing", [row for row in report.rows if row.outcome != "equal"], cut=True)


def _section(title: str, rows: Sequence[Row], cut: bool = False) -> Iterator[str]:
    if rows:
        yield ""
        yield f"{title} ({len(rows):,})"
        lines = columns((r.outcome, visible(f"{r.name}:{r.slot}" if r.slot else r.name), r.detail) for r in rows)
        yield from shortened(lines) if cut else lines


def _table(course: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The steps under their heads, without columns that nothing stands in."""
    rows = [HEADS, *(tuple(_cells(step)) for step in course)]
    kept = [n for n in range(len(HEADS)) if any(row[n] for row in rows[1:])]
    return [tuple(row[n] for n in kept) for row in rows]


def _cells(step: Mapping[str, Any]) -> Iterator[str]:
    yield step["outcome"]
    yield str(step["step"] or "restored")
    yield from (_number(loss, ".7g") for loss in step["loss"]) if step["loss"] else ("", "")
    for name in ("weights", "slots", "fresh"):
        yield _number(step[name], ".2g") if step[name] is not None or name == "weights" else ""


def _number(value: float | None, how: str) -> str:
    return "not finite" if value is None else format(value, how)


def model_summary(report: Report) -> list[str]:
    """How much of what was equal."""
    if level_of(report) == "forward":
        equal = report.counts.get("equal", 0)
        return [f"{equal:,} of {count(len(report.rows), 'output')} equal"] if equal else []
    parts = []
    for word in ("weight", "slot"):
        rows = [row for row in report.rows if bool(row.slot) == (word == "slot")]
        equal = sum(row.outcome == "equal" for row in rows)
        parts += [f"{equal:,} of {count(len(rows), word)}"] if rows else []
    steps = count(report.details["resume"]["steps"], "step")
    return [f"{' and '.join(parts)} equal after each of {steps}"] if parts else []
