"""What became of a batch: what its jobs say, each thing once, and one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ckptmigrate.batch.ledger import DONE, FAILED, SKIPPED
from ckptmigrate.batch.run import BatchReport
from ckptmigrate.batch.work import Outcome
from ckptmigrate.issues import Issue
from ckptmigrate.page.frame import frame
from ckptmigrate.visible import markup

_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\S*\d\S*")  # names, paths and numbers: of one checkpoint
_ISSUES = 20  # of one job, on the page
_FEW = 20  # jobs that are shown at once

_STYLE = """
:root { color-scheme: light dark; --ok: #2e7d32; --bad: #c62828; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
input { font: inherit; padding: .3rem .6rem; width: 100%; box-sizing: border-box; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 .8rem; }
td { border-top: 1px solid var(--line); padding: .3rem .6rem; vertical-align: top; overflow-wrap: anywhere; }
td.number { text-align: right; white-space: nowrap; }
.done, .skipped { color: var(--ok); } .failed { color: var(--bad); font-weight: 600; }
code { font-size: .9em; } small { opacity: .75; }
"""

_SCRIPT = """
document.querySelector('input').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  for (const group of document.querySelectorAll('details')) {
    const told = group.querySelector('summary').textContent.toLowerCase().includes(wanted);
    let some = false;
    for (const row of group.querySelectorAll('tr')) {
      row.hidden = !told && !row.textContent.toLowerCase().includes(wanted);
      some = some || !row.hidden;
    }
    group.hidden = !some;
    group.open = wanted ? some : 'few' in group.dataset;
  }
});
"""


def alike(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """Outcomes by what they say, names and numbers aside: most first, those that say nothing last."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        said = dict.fromkeys(_OWN.sub("", issue.message) for issue in outcome.issues)
        groups.setdefault(tuple(said), []).append(outcome)
    return sorted(groups.values(), key=lambda group: (bool(group[0].issues), len(group)), reverse=True)


def html(report: BatchReport) -> str:
    """The page: verdict, counts, a field to search in, and the jobs by what they say, failed ones first."""
    counts = ", ".join(f"{number:,} {status}" for status, number in report.counts.items() if number) or "nothing to do"
    verdict = "all converted" if report.exit_code == 0 else "not all converted"
    entries = "".join(f"<li><code>{markup(i.where)} {markup(i.name)}</code><br>{_told(i)}" for i in report.issues)
    problems = f"<h2 class='failed'>in the manifest</h2><ul>{entries}</ul>" if entries else ""
    parts = [_part(status, [o for o in report.outcomes if o.status == status]) for status in (FAILED, DONE, SKIPPED)]
    search = "<p><input type='search' placeholder='search: names, messages' aria-label='search'></p>"
    body = f"<h1>{verdict}</h1><p>{counts}</p>{problems}{search}{''.join(parts)}"
    return frame("ckptmigrate batch", _STYLE, body, _SCRIPT)


def _part(status: str, outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    groups = "".join(map(_group, alike(outcomes)))
    return f"<h2 class='{status}'>{status} <small>{len(outcomes):,}</small></h2>{groups}"


def _group(outcomes: Sequence[Outcome]) -> str:
    first = outcomes[0].issues
    few = " open data-few" if len(outcomes) <= _FEW else ""
    said = markup(first[0].message) if first else "nothing to say"
    rows = "".join(map(_row, outcomes))
    return f"<details{few}><summary>{len(outcomes):,} &times; {said}</summary><table>{rows}</table></details>"


def _row(outcome: Outcome) -> str:
    told = [_told(issue) for issue in outcome.issues[:_ISSUES]]
    if rest := outcome.issues[_ISSUES:]:
        told.append(f"... and {len(rest):,} more")
    return (
        f"<tr><td><code>{markup(outcome.job.source)}</code><br><code>{markup(outcome.job.destination)}</code>"
        f"{''.join(f'<br><small>{line}</small>' for line in told)}<td class='number'>{outcome.seconds:.1f} s"
    )


def _told(issue: Issue) -> str:
    return f"{markup(issue.severity)}: {markup(issue.message)}" + (f"; {markup(issue.hint)}" if issue.hint else "")
