"""Summaries of batches: what many jobs say is told once, and all of them are there to be found."""

from __future__ import annotations

from pathlib import Path

from ckptmigrate.batch.jobs import Job
from ckptmigrate.batch.run import BatchReport
from ckptmigrate.batch.summary import alike, html
from ckptmigrate.batch.work import Outcome
from ckptmigrate.cli.batch import _lines
from ckptmigrate.issues import Issue


def failed(name: str, *messages: str) -> Outcome:
    issues = tuple(Issue("failed", "error", name, message, "do this") for message in messages)
    return Outcome(Job(name, f"new/{name}"), "failed", issues=issues)


def night() -> BatchReport:
    """A thousand jobs; of many failures three kinds."""
    done = [Outcome(Job(f"run{n}/a.h5", f"new/run{n}.npz"), "done") for n in range(600)]
    lossy = Outcome(Job("lossy.h5", "new/lossy.npz"), "done", issues=(Issue("loss", "loss", "w", "w is lost"),))
    short = [failed(f"run{n}/short.index", f"{n} bytes, a table has at least 48") for n in range(300)]
    exists = [failed(f"run{n}/old.h5", f"new/run{n}/old.h5 exists") for n in range(98)]
    odd = failed("<odd>.h5", *(f"variable {n:04} is odd" for n in range(500)))
    entry = Issue("entry", "error", "none/*.h5", "nothing fits this pattern", "", "b.yaml:7")
    return BatchReport((*done, odd, *exists, *short, lossy), (entry,), Path("b.ledger.jsonl"))


def test_what_is_alike_is_told_once() -> None:
    groups = alike(outcome for outcome in night().outcomes if outcome.status == "failed")
    assert [len(group) for group in groups] == [300, 98, 1]


def test_the_text_is_read_in_the_morning() -> None:
    lines = list(_lines(night()))
    assert len(lines) < 120
    assert [line for line in lines if line.startswith(("failed", "  and"))] == [
        "failed: run0/short.index -> new/run0/short.index",
        "  and 299 more like it:",
        "failed: run0/old.h5 -> new/run0/old.h5",
        "  and 97 more like it:",
        "failed: <odd>.h5 -> new/<odd>.h5",
    ]
    assert lines[-4:] == [
        "",
        "1,000 jobs: 601 done, 399 failed",
        "  1 done with losses or warnings: --json and --report list them",
        "  ledger  b.ledger.jsonl",
    ]


def test_many_kinds_of_failures_are_cut_off() -> None:
    kinds = [failed(f"{n}.h5", "a" * (n + 1)) for n in range(100)]
    lines = list(_lines(BatchReport(tuple(kinds), (), Path("l"))))
    assert sum(line.startswith("failed: ") for line in lines) == 21
    assert "failed: 80 more; --json and --report list all" in lines


def test_the_page_has_every_job_failed_ones_first() -> None:
    page = html(night())
    assert page.count("<tr>") == 1000
    assert page.count("<details") == 5
    assert page.index("short.index") < page.index("old.h5") < page.index("lossy.h5") < page.index("run599/a.h5")
    assert "b.yaml:7 none/*.h5" in page
    assert "&lt;odd&gt;.h5" in page
    assert "<input type='search'" in page
    assert len(page) < 400_000
