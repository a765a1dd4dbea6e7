"""A report for people: the verdict first, then what went where, what was left out, and what to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ckptmigrate.cli.answer import issue_lines
from ckptmigrate.cli.models import level_of, model_facts, model_lines, model_summary
from ckptmigrate.cli.text import columns, count, shortened, size
from ckptmigrate.runs import ARROW, collapse, fold
from ckptmigrate.visible import visible

if TYPE_CHECKING:
    from ckptmigrate.report import Report, Row

VERDICTS = {
    "written": "written, not verified",
    "planned": "planned; nothing was written",
    "differs": "differs",
    "refused": "refused; nothing was written",
}
PROOFS = (("inverse", "inverse"), ("recomputed", "recomputation"))
FAILED = ("differs", "missing", "extra")
MAX_DETAILS = 2  # different ones that a run shows
WIDE = 100  # characters of a line that names a source and a target
DONE = ("equal", "written", "planned")


def report_lines(report: Report, *, hint: str = "", equal: str = "verified", plan: bool = True) -> Iterator[str]:
    """The whole report.

    Args:
        report: Any report.
        hint: The next command to type.
        equal: What to call a verdict that found no difference.
        plan: Say of everything where it went, not only of what differs or was left out.
    """
    yield f"{equal if report.verdict == 'verified' else VERDICTS[report.verdict]}: {_summary(report)}"
    yield from columns(_facts(report))
    if level_of(report):
        yield from model_lines(report)
    elif report.verdict != "refused":
        yield from _sections(report, plan)
        yield from _config(report)
    if report.issues:
        yield ""
        yield from issue_lines(report.issues)
    if hint:
        yield ""
        yield f"next: {visible(hint)}"


def _sections(report: Report, plan: bool) -> Iterator[str]:
    for outcome in FAILED:
        yield from _section(outcome, [r for r in report.rows if r.outcome == outcome], cut=True)
    if plan:
        done = [r for r in report.rows if r.outcome in DONE]
        yield from _section("what went where", [r for r in done if not r.slot])
        yield from _slots([r for r in done if r.slot])
    for outcome in ("filled", "dropped"):
        yield from _section(outcome, [r for r in report.rows if r.outcome == outcome])


def _config(report: Report) -> Iterator[str]:
    """What a port changed in its configuration, and why."""
    changes = report.details.get("config", ())
    if changes:
        yield ""
        yield f"pipeline.config ({count(len(changes), 'change')})"
    for change in changes:
        yield f"  {visible(change['change'])}"
        yield f"      {visible(change['why'])}"


def _summary(report: Report) -> str:
    counts = report.counts
    total = sum(counts.get(outcome, 0) for outcome in (*DONE, *FAILED))
    if report.verdict in ("written", "planned"):
        parts = [count(total, "tensor")]
    elif report.verdict == "refused":
        parts = []
    elif level_of(report):
        parts = model_summary(report)
    elif counts.get("equal"):
        equal = Counter[str](row.proof for row in report.rows if row.outcome == "equal")
        proofs = [f"{equal[p]:,} by {how}" for p, how in PROOFS if equal[p]]
        parts = [
            f"{counts['equal']:,} of {count(total, 'tensor')} equal" + (f" ({', '.join(proofs)})" if proofs else "")
        ]
    else:
        parts = []
    if report.verdict != "refused":
        told = [o for o in (*FAILED, "filled", "dropped") if counts.get(o)]
        parts += [f"{counts[o]:,} {'differ' if o == 'differs' else o}" for o in told]
    severities = Counter[str](i.severity for i in report.issues)
    parts += [count(severities[s], s) for s in ("error", "loss") if severities[s]]
    return ", ".join(parts) or "nothing to compare"


def _facts(report: Report) -> list[tuple[str, ...]]:
    facts: list[tuple[str, ...]] = []
    used = {"path": report.details.get("used") or report.source.get("path", "")}
    for word, side in (("from", {**report.source, **used}), ("to", report.target)):
        facts.append((word, f"{side.get('path', '')}  [{side.get('format', '')}]"))
    if template := report.details.get("template"):
        facts.append(("template", _of_library(str(template))))
    if framework := report.details.get("framework"):
        told = f"{framework.get('checked_by', '')}: {framework.get('restored', 0):,} restored"
        read_only = framework.get("read_only")
        facts.append(("checked by", told + (f", {read_only:,} only read" if read_only else "")))
    facts += model_facts(report.details)
    if report.verdict not in ("planned", "refused"):
        facts += _work(report)
    return facts


def _of_library(path: str) -> str:
    """A shipped template by its place in the library, others as they are."""
    from ckptmigrate.mapping import library

    return path.removeprefix(f"{library.root()}/")


def _work(report: Report) -> Iterator[tuple[str, str]]:
    details = report.details
    files = report.target.get("files") or ()
    if files and "bytes_moved" in details:
        yield "files", ", ".join(str(f).rsplit("/", 1)[-1] for f in files)
    told = []
    if details.get("bytes_cloned"):
        told.append(f"{size(details['bytes_cloned'])} taken over as they lie")
    if details.get("bytes_moved"):
        told.append(f"{size(details['bytes_moved'])} written")
    if "seconds" in details:
        told.append(f"{details['seconds']:.2g} s")
    if told:
        yield "work", ", ".join(told)


def _section(title: str, rows: Sequence[Row], cut: bool = False) -> Iterator[str]:
    """Rows as runs: what they were made from, what they are now, and how."""
    if not rows:
        return
    lines: list[str] = []
    for text, some in [*runs(r for r in rows if cut or not r.slot), *_by_slot(r for r in rows if r.slot and not cut)]:
        first = some[0]
        lines += _arrow(visible(text), f"  x{len(some)}" if len(some) > 1 else "")
        lines += [f"      {visible(step)}" for step in first.steps]
        details = list(dict.fromkeys(r.detail for r in some if r.detail))
        lines += [f"      {visible(detail)}" for detail in details[:MAX_DETAILS]]
        lines += ["      ..."] if len(details) > MAX_DETAILS else []
    yield ""
    yield f"{title} ({len(rows):,})"
    yield from shortened(lines) if cut else lines


def _arrow(text: str, times: str) -> list[str]:
    """One line, or two where it is long: the target under the source."""
    source, arrow, target = text.partition(ARROW)
    if arrow and len(text) > WIDE:
        return [f"  {source}", f"    -> {target}{times}"]
    return [f"  {text}{times}"]


def runs(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows whose steps agree and whose names differ only in numbers, together."""
    by_text: dict[str, list[Row]] = {}
    for row in rows:
        by_text.setdefault(_way(row), []).append(row)
    order = {text: n for n, text in enumerate(by_text)}
    single = [text for text, some in by_text.items() if len(some) == 1]
    collapsed = collapse(single, [_how(by_text[text][0]) for text in single])
    folded = fold(collapsed, [_how(by_text[run.names[0]][0]) for run in collapsed])
    found = [(order[run.names[0]], run.text, [by_text[n][0] for n in run.names]) for run in folded]
    found += [(order[text], text, some) for text, some in by_text.items() if len(some) > 1]
    for _, text, some in sorted(found, key=lambda item: item[0]):
        yield text, some


def _how(row: Row) -> tuple[object, ...]:
    return row.steps, row.slot, bool(row.detail)


def _way(row: Row) -> str:
    label = f"{row.name}:{row.slot}" if row.slot else row.name
    if not row.source or row.source == label or row.outcome == "dropped":
        return label
    return f"{row.source}{ARROW}{label}"


def _by_slot(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Slots left out or filled: those of one name together, whatever their variables."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.slot, row.detail), []).append(row)
    yield from ((f"slot {slot}", some) for (slot, _), some in groups.items())


def _slots(rows: Sequence[Row]) -> Iterator[str]:
    """Slots follow their variables, so their names say little: one line for each kind and what was done to it."""
    if not rows:
        return
    kinds = Counter((r.slot, r.steps) for r in rows)
    yield ""
    yield f"slots ({len(rows):,})"
    lines = ((slot, f"x{number}", "; ".join(steps) or "as stored") for (slot, steps), number in kinds.items())
    yield from columns(lines, right=(1,))
