"""A report as one self-contained HTML page: the verdict first, then what went where, what was lost, and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckptmigrate.issues import Issue
from ckptmigrate.page.frame import frame
from ckptmigrate.report import Report, Row
from ckptmigrate.runs import ARROW, collapse, fold
from ckptmigrate.visible import markup

VERDICTS = {
    "verified": ("Verified", "every tensor was computed again from the source and equals the bytes on disk"),
    "written": ("Written, not verified", "nothing was compared"),
    "planned": ("Planned", "nothing was written"),
    "differs": ("Differs", "the two sides are not the same"),
    "refused": ("Refused", "nothing was written"),
}
PROOFS = {"by inverse": "proven by inverse", "by recomputation": "computed again"}
MAX_SCOPES = 14  # on each side of the picture; the rest stands together
SCOPE_DEPTH = 2
SMALLEST = 0.65  # of its size: what the picture shrinks to before it scrolls; letters of 7.5 px, TF2's names on a phone
LETTER, BAND = 7.0, 200  # widths in the picture: of a letter, and of what lies between the two sides
STATISTICS = frozenset({"moving_mean", "moving_variance", "running_mean", "running_var"})

_HERE = Path(__file__).parent


def page(report: Report) -> str:
    """The whole page."""
    title, meaning = VERDICTS[report.verdict]
    parts = [
        f"<h1 class='{report.verdict}'>{title}</h1><p class='quiet'>{meaning}</p>",
        *_facts(report),
        *_issues(report),
        *_table("What differs", [r for r in report.rows if r.outcome in ("differs", "missing", "extra")]),
        *_picture(report.rows),
        *_table("What went where", [r for r in report.rows if _is_done(r) and not r.slot], has_search=True),
        *_table("Filled, or started anew", [r for r in report.rows if r.outcome == "filled" and not r.slot]),
        *_table("Left out", [r for r in report.rows if r.outcome == "dropped" and not r.slot]),
        *_slots(report.rows),
        *_statistics(report.rows),
        *_config(report.details.get("config", ())),
        *_histograms(report.details.get("histograms", ())),
    ]
    style, script = ((_HERE / file).read_text("utf-8") for file in ("style.css", "script.js"))
    return frame(f"{title}: {report.target.get('path', '')}", style, "".join(parts), script)


def _is_done(row: Row) -> bool:
    return row.outcome in ("equal", "written", "planned")


def _facts(report: Report) -> Iterator[str]:
    named = ((name.replace("_", " "), number) for name, number in report.counts.items() if number)
    chips = ((PROOFS.get(name, name), number) for name, number in named)
    yield f"<p class='chips'>{''.join(f'<span>{number:,} {markup(name)}</span>' for name, number in chips)}</p><table>"
    for word, side in (("from", report.source), ("to", report.target)):
        path, format_ = (markup(side.get(key, "")) for key in ("path", "format"))
        yield f"<tr><th>{word}<td><code>{path}</code> {format_}"
    if template := report.details.get("template"):
        yield f"<tr><th>template<td><code>{markup(template)}</code>"
    if framework := report.details.get("framework"):
        told = f"{framework.get('checked_by', '')}: {framework.get('restored', 0):,} restored"
        yield f"<tr><th>checked by<td>{markup(told)}"
    if files := report.target.get("files"):
        yield f"<tr><th>files<td>{', '.join(markup(str(f).rsplit('/', 1)[-1]) for f in files)}"
    yield "</table>"


def _issues(report: Report) -> Iterator[str]:
    order = {"error": 0, "loss": 1, "warning": 2, "note": 3}
    told: dict[tuple[str, str], list[Issue]] = {}
    for issue in report.issues:
        if issue.kind != "unused" or issue.severity != "note":
            told.setdefault((issue.severity, issue.message), []).append(issue)
    if not told:
        return
    yield f"<h2>What to know <small>{sum(map(len, told.values())):,}</small></h2><table>"
    for (severity, message), issues in sorted(told.items(), key=lambda item: order[item[0][0]]):
        yield f"<tr><td class='{severity}'>{severity}<td>{_issue(message, issues)}"
    yield "</table>"


def _issue(message: str, issues: Sequence[Issue]) -> str:
    """What is said of one variable, or of many, which are listed behind it."""
    each = [_about(issue, message) for issue in issues]
    if len(issues) == 1:
        return f"{markup(message)}{'<br>' if each[0] else ''}{each[0]}"
    listed = "".join(f"<li>{text}" for text in dict.fromkeys(each) if text)
    many = f"{markup(message)} <small class='quiet'>x{len(issues):,}</small>"
    return f"<details><summary>{many}</summary><ul>{listed}</ul></details>" if listed else many


def _about(issue: Issue, message: str) -> str:
    name = f"<code>{markup(issue.name)}</code> " if issue.name and issue.name not in message else ""
    told = "<br>".join(map(markup, issue.hint.splitlines()))
    hint = f"<small class='quiet'>{told}</small>" if told else ""
    return f"{name}{hint}"


def _table(title: str, rows: Sequence[Row], *, has_search: bool = False) -> Iterator[str]:
    if not rows:
        return
    yield f"<h2>{title} <small>{len(rows):,}</small></h2>"
    if has_search:
        yield "<input type='search' placeholder='Search names and steps' aria-label='Search'>"
        yield "<p class='quiet' id='found' role='status'></p>"
    yield "<table class='rows'><thead><tr><th>from, to<th>how<th></thead><tbody>"
    for text, some in _runs(rows):
        yield _run(text, some)
    yield "</tbody></table>"


def _run(text: str, rows: Sequence[Row]) -> str:
    source, _, target = text.partition(ARROW)
    name = f"{markup(source)}<br>&rarr; {markup(target)}" if target else markup(source)
    details = list(dict.fromkeys(r.detail for r in rows if r.detail))
    told = [markup(step) for step in rows[0].steps]
    how = "<br>".join([*told, *(f"<small class='quiet'>{markup(d)}</small>" for d in details[:2])])
    search = markup(" ".join(f"{r.source} {r.name} {' '.join(r.steps)} {r.detail}" for r in rows).lower())
    if len(rows) > 1:
        each = "".join(f"<li>{markup(r.source)} &rarr; {markup(r.name)}" for r in rows)
        name = f"<details><summary>{name}</summary><ul>{each}</ul></details>"
    count = f"x{len(rows)}" if len(rows) > 1 else ""
    return (
        f"<tr data-text='{search}' data-count='{len(rows)}'><td class='name'>{name}<td>{how}<td class='number'>{count}"
    )


def _runs(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows whose names differ only in numbers, together, as `inspect` shows them."""
    by_text: dict[str, list[Row]] = {}
    for row in rows:
        by_text.setdefault(
            f"{row.source}{ARROW}{row.name}" if row.source and row.source != row.name else row.name, []
        ).append(row)

    def how(text: str) -> tuple[object, ...]:
        return by_text[text][0].steps, bool(by_text[text][0].detail)

    texts = list(by_text)
    collapsed = collapse(texts, [how(text) for text in texts])
    for run in fold(collapsed, [how(run.names[0]) for run in collapsed]):
        yield run.text, [row for name in run.names for row in by_text[name]]


def _slots(rows: Iterable[Row]) -> Iterator[str]:
    kinds = Counter((r.slot, r.outcome, r.steps, "" if _is_done(r) else r.detail) for r in rows if r.slot)
    if not kinds:
        return
    yield f"<h2>Optimizer state and averages <small>{sum(kinds.values()):,}</small></h2><table>"
    for (slot, outcome, steps, detail), number in kinds.items():
        how = "; ".join(steps) or ("as stored" if outcome == "equal" else outcome)
        more = f" <small class='quiet'>{markup(detail)}</small>" if detail else ""
        yield f"<tr><td class='name'>{markup(slot)}<td>{markup(how)}{more}<td class='number'>{number:,}"
    yield "</table>"


def _statistics(rows: Iterable[Row]) -> Iterator[str]:
    found = Counter(r.outcome for r in rows if not r.slot and r.name.replace(".", "/").rpartition("/")[2] in STATISTICS)
    if found:
        told = ", ".join(f"{number:,} {markup(outcome)}" for outcome, number in found.items())
        yield f"<h2>Batch-norm statistics</h2><p>{told}</p>"


def _config(changes: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if changes:
        yield f"<h2>pipeline.config <small>{len(changes)}</small></h2><table>"
        yield from (f"<tr><td class='name'>{markup(c['change'])}<td>{markup(c['why'])}" for c in changes)
        yield "</table>"


def _picture(rows: Sequence[Row]) -> Iterator[str]:
    """Scopes of the source on the left, of the target on the right, a band for the tensors between two."""
    pairs = Counter(
        (_scope(r.source), _scope(r.name))
        for r in rows
        if _is_done(r) and not r.slot and r.source and r.source != r.name
    )
    if not pairs:
        return
    left, right = (_ranked(Counter(), pairs, side) for side in (0, 1))
    bands = Counter[tuple[str, str]]()
    for (a, b), number in pairs.items():
        bands[a if a in left else "...", b if b in right else "..."] += number
    places = [{name: 20 + 26 * n for n, name in enumerate(side)} for side in (left, right)]
    start, end = (LETTER * max(len(_short(name)) for name in side) + 10 for side in (left, right))
    width, height = start + BAND + end, 26 * max(len(left), len(right)) + 10
    yield "<h2>By scope</h2><div class='wide' tabindex='0' role='group' aria-label='Picture of the scopes'>"
    size = (
        f"viewBox='0 0 {width:.0f} {height}' style='width:{width:.0f}px; max-width:max(100%, {SMALLEST * width:.0f}px)'"
    )
    yield f"<svg {size} role='img' aria-label='From scope to scope'>"
    most, far, turn = max(bands.values()), start + BAND, BAND / 2.4
    for (a, b), number in bands.items():
        y, z, thick = places[0][a], places[1][b], 1 + 15 * number / most
        curve = f"M{start:.0f} {y - 4} C {start + turn:.0f} {y - 4}, {far - turn:.0f} {z - 4}, {far:.0f} {z - 4}"
        yield f"<path class='band' stroke-width='{thick:.1f}' d='{curve}'>"
        yield f"<title>{markup(a)} to {markup(b)}: {number}</title></path>"
    for name, y in places[0].items():
        yield f"<text x='{start - 8:.0f}' y='{y}' text-anchor='end'>{markup(_short(name))}</text>"
    yield from (f"<text x='{far + 8:.0f}' y='{y}'>{markup(_short(name))}</text>" for name, y in places[1].items())
    yield "</svg></div>"


def _ranked(seen: Counter[str], pairs: Counter[tuple[str, str]], side: int) -> list[str]:
    for pair, number in pairs.items():
        seen[pair[side]] += number
    top = {name for name, _ in seen.most_common(MAX_SCOPES)}
    names = [name for name in dict.fromkeys(pair[side] for pair in pairs) if name in top]
    return names if len(names) == len(seen) else [*names, "..."]


def _scope(name: str) -> str:
    first = name.split(", ", maxsplit=1)[0]
    parts = first.split("/") if "/" in first else first.split(".")
    return "/".join(parts[: min(SCOPE_DEPTH, max(1, len(parts) - 1))])


def _short(name: str) -> str:
    return name if len(name) <= 44 else f"...{name[-41:]}"


def _histograms(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not found:
        return
    yield "<h2>Values <span class='before'>before</span> and <span class='after'>after</span> "
    yield "<small>of what was changed, or started anew</small></h2><div class='grid'>"
    for item in found:
        low, high = item["range"]
        told = f"{markup('; '.join(item['steps']))}<br>{low:.3g} to {high:.3g}"
        yield f"<figure>{_bars(item['before'], item['after'])}<figcaption><code>{markup(item['name'])}</code><br>"
        yield f"<small class='quiet'>{told}</small></figcaption></figure>"
    yield "</div>"


def _bars(before: Sequence[int], after: Sequence[int]) -> str:
    width = 300 / len(before)
    drawn = [
        f"<rect class='{kind}' x='{number * width:.1f}' width='{width:.1f}' "
        f"y='{95 - 90 * count / most:.1f}' height='{90 * count / most:.1f}'/>"
        for kind, counts in (("before", before), ("after", after))
        for most in (max(*counts, 1),)  # each side by its own: they may differ in size
        for number, count in enumerate(counts)
        if count
    ]
    return f"<svg class='bars' viewBox='0 0 300 100' role='img' aria-label='histogram'>{''.join(drawn)}</svg>"
