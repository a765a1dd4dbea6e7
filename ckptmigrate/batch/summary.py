"""What became of a batch, as one self-contained HTML page."""

from __future__ import annotations

from ckptmigrate.batch.run import BatchReport
from ckptmigrate.batch.work import Outcome
from ckptmigrate.page.frame import frame
from ckptmigrate.visible import markup

_STYLE = """
:root { color-scheme: light dark; --ok: #2e7d32; --bad: #c62828; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
td.number { text-align: right; white-space: nowrap; }
.done, .skipped { color: var(--ok); } .failed { color: var(--bad); font-weight: 600; }
code { font-size: .9em; } small { opacity: .75; }
"""


def html(report: BatchReport) -> str:
    """The page: verdict, counts, one row for each job, failed ones first."""
    counts = ", ".join(f"{number} {status}" for status, number in report.counts.items() if number) or "nothing to do"
    order = {"failed": 0, "done": 1, "skipped": 2}
    rows = "".join(_row(o) for o in sorted(report.outcomes, key=lambda o: order[o.status]))
    entries = "".join(f"<li><code>{markup(i.where)}</code> {markup(i.message)}</li>" for i in report.issues)
    problems = f"<h2>Entries that were passed over</h2><ul>{entries}</ul>" if entries else ""
    verdict = "all converted" if report.exit_code == 0 else "not all converted"
    table = f"<table><thead><tr><th>status<th>from, to<th>seconds</thead><tbody>{rows}</tbody></table>"
    return frame("ckptmigrate batch", _STYLE, f"<h1>{verdict}</h1><p>{counts}</p>{problems}{table}")


def _row(outcome: Outcome) -> str:
    told = "".join(
        f"<br><small>{markup(issue.severity)}: {markup(issue.message)} {markup(issue.hint)}</small>"
        for issue in outcome.issues
    )
    return (
        f"<tr><td class='{outcome.status}'>{outcome.status}<td><code>{markup(outcome.job.source)}</code><br>"
        f"<code>{markup(outcome.job.destination)}</code>{told}<td class='number'>{outcome.seconds:.1f}"
    )
