"""The report as a page: self-contained, everything in it, and nothing of a name is markup."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ckptmigrate.cli.main import main
from ckptmigrate.conversion import convert
from ckptmigrate.issues import Issue
from ckptmigrate.page import page
from ckptmigrate.report import Report, Row

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
VOID = {"meta", "input", "br", "path", "rect"}
OPTIONAL = {"td", "th", "tr", "li"}  # HTML lets their end tags out


class Balance(HTMLParser):
    """Open elements, and whether every end tag closes the last that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID | OPTIONAL:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID | OPTIONAL:
            assert self.open.pop() == tag


def report(*rows: Row, **told: Any) -> Report:
    return Report(
        source={"path": "a", "format": "tf1"},
        target={"path": "b", "format": "tf2"},
        verdict="verified",
        rows=rows,
        **told,
    )


def test_names_are_no_markup() -> None:
    bad = "<script>alert('&')</script>\"'"
    made = page(
        report(
            Row(bad, "", bad + "x", "equal", (bad,), "inverse", bad),
            Row(bad, bad, bad, "dropped", detail=bad),
            issues=(Issue("x", "warning", bad, bad, bad, bad),),
            details={"template": bad, "config": [{"change": bad, "why": bad}]},
        )
    )
    assert made.count("<script>") == 1
    balance = Balance()
    balance.feed(made)
    assert balance.open == []


def test_no_other_script_runs() -> None:
    """Whatever got into a page: browsers are told the digest of the one that it brings."""
    made = page(report(Row("a", "", "b", "equal")))
    script = made.partition("<script>")[2].partition("</script>")[0]
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in made
    assert made.index("Content-Security-Policy") < made.index("<title>")


def test_it_needs_nothing_else() -> None:
    made = page(report(Row("net/a", "", "old/a", "equal")))
    assert not re.search(r"(src|href)\s*=|url\(|https?:", made)
    assert "prefers-color-scheme: dark" in made
    assert "width=device-width" in made


def test_everything_that_happened_is_told(tmp_path: Path) -> None:
    source = FIXTURES / "tf1" / "momentum" / "model.ckpt"
    made = convert(
        source, tmp_path / "out" / "ckpt", to="tf2", hyper={"learning_rate": 0.01}, dtype="float16", draws=True
    )
    text = page(made)
    for row in made.rows:
        assert row.name in text
    assert "v = -0.01 * a" in text
    assert text.count("<figure>") == 8
    (kernel,) = [h for h in made.details["histograms"] if h["name"] == "conv/kernel"]
    assert sum(kernel["before"]) == sum(kernel["after"]) == 72


def test_runs_keep_each_row_for_the_search() -> None:
    rows = [Row(f"new/block_{n}/kernel", "", f"old/layer_{n}/weights", "equal") for n in range(12)]
    text = page(report(*rows))
    assert text.count("<tr data-text=") == 1
    assert all(f"old/layer_{n}/weights new/block_{n}/kernel" in text for n in range(12))
    assert "x12" in text


def test_the_command_writes_it(tmp_path: Path, capsys: object) -> None:
    source, target = str(FIXTURES / "tf1" / "momentum" / "model.ckpt"), str(tmp_path / "out.npz")
    code = main(["convert", source, target, "--to", "npz", "--report", str(tmp_path / "r.html")])
    assert code == 0
    assert "<h1 class='verified'>" in (tmp_path / "r.html").read_text("utf-8")
    assert main(["convert", source, target, "--to", "npz", "--report", str(tmp_path / "r.pdf")]) == 2


def test_one_thing_that_is_said_of_many_is_said_once() -> None:
    many = tuple(Issue("unfilled", "error", f"layer_{i}", "nothing fills it", f"hint {i}") for i in range(9))
    made = page(report(Row("a", "", "a", "equal"), issues=many))
    assert made.count("nothing fills it") == 1
    assert "x9" in made
    assert all(f"<code>layer_{i}</code>" in made and f"hint {i}" in made for i in range(9))


def test_what_differs_stands_in_front() -> None:
    made = page(report(Row("a", "", "b", "equal"), Row("c", "", "d", "differs")))
    assert made.index("What differs") < made.index("By scope") < made.index("What went where")


def test_what_starts_anew_is_drawn_beside_what_was(tmp_path: Path) -> None:
    source = FIXTURES / "tf1" / "adam" / "model.ckpt-3"
    made = convert(source, tmp_path / "x", to="tf1", draws=True, reinit=("conv/kernel=normal[..., 7]",))
    (drawn,) = made.details["histograms"]
    assert (drawn["name"], sum(drawn["before"]), sum(drawn["after"])) == ("conv/kernel", 72, 126)
    assert "normal, seed 0" in page(made)


def test_scopes_of_tf2_fit_a_phone() -> None:
    old, new = "model/classifier/kernel", "model/layer_with_weights-22/kernel"
    made = page(report(Row(old, "", new, "equal", (old,), "inverse")))
    (widest,) = re.findall(r"max-width:max\(100%, (\d+)px\)", made)
    assert int(widest) <= 390 - 2 * 16  # what is left between the margins: more scrolls, and hides the number
