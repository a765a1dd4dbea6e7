"""Text for people: nothing in a name steers the terminal, and lists stay short."""

from __future__ import annotations

import io

import pytest

from ckptmigrate.batch.jobs import Job
from ckptmigrate.batch.work import Outcome
from ckptmigrate.cli.answer import error_lines, issue_lines
from ckptmigrate.cli.options import parse_hyper, parse_size
from ckptmigrate.cli.progress import batch_progress
from ckptmigrate.cli.streams import fitted
from ckptmigrate.cli.text import columns, count, shortened, size
from ckptmigrate.errors import DamagedError
from ckptmigrate.issues import Issue
from ckptmigrate.visible import visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv/kernel", "conv/kernel"),
        ("größe/重み", "größe/重み"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("a\x9bb", "a\\x9bb"),
        ("pay\u202egnp.exe", "pay\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("a\u2028b", "a\\u2028b"),
        ("bad\udcff", "bad\\udcff"),
        ("a\U000e0041b", "a\\U000e0041b"),
    ],
)
def test_names_are_shown_and_never_obeyed(name: str, shown: str) -> None:
    assert visible(name) == shown


def test_columns_never_cut_a_name() -> None:
    assert columns([("1", "x" * 300)]) == ["  1  " + "x" * 300]
    assert columns([]) == []
    assert columns([("1", "a"), ("10", "b")], right=(0,)) == ["   1  a", "  10  b"]


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (5_000_000_000, "5 GB"), (10**15, "1e+03 TB")],
)
def test_sizes(nbytes: int, text: str) -> None:
    assert size(nbytes) == text


def test_counts() -> None:
    assert [count(1, "entry"), count(2, "entry"), count(12345, "variable"), count(2, "loss")] == [
        "1 entry", "2 entries", "12,345 variables", "2 losses",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "nbytes"), [("5GB", 5 * 10**9), ("1.5 gib", 3 * 2**29), ("700", 700), ("64K", 64000), (None, None)]
)
def test_sizes_are_read(text: str | None, nbytes: int | None) -> None:
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["x", "5XB", "-1GB", "0", "GB", "1e3", "5 5", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="no size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["x", "=1", "x=", "x=y"])
def test_what_is_no_hyperparameter_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="NAME=VALUE"):
        parse_hyper([text])


def test_of_many_the_first_twenty_and_the_count() -> None:
    assert shortened([f"  {n}" for n in range(25)])[-1] == "  ... and 5 more; --json lists all"
    issues = [Issue("unmatched", "error", f"v{n}", f"no rule takes {n}", "add a rule", "m.yaml:3") for n in range(57)]
    lines = issue_lines(issues)
    assert lines[:3] == ["error: v0: no rule takes 0", "  where: m.yaml:3", "  hint:  add a rule"]
    assert lines[-1] == "error: ... and 37 more; --json lists all"
    assert lines.count("  hint:  add a rule") == 1


def test_what_is_said_of_many_names_is_said_once() -> None:
    names = [*(f"layer_{n}/w" for n in range(57)), "head/bias"]
    issues = [Issue("unmatched", "error", name, "no rule takes it", f"--drop {name}", "m.yaml") for name in names]
    assert issue_lines(issues) == [
        "error: no rule takes it  x58",
        "    layer_{0..56}/w  x57",
        "    head/bias",
        "  where: m.yaml",
        "  hint:  --drop layer_0/w",
    ]
    assert issue_lines(issues[:2])[0] == "error: layer_{0,1}/w  x2: no rule takes it"


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = DamagedError("expected 0xdb4775248b80fb57, found 0", where="a.index:offset 40", hint="copy it\nagain")
    assert error_lines(error) == [
        "error: expected 0xdb4775248b80fb57, found 0",
        "  where: a.index:offset 40",
        "  hint:  copy it",
        "         again",
    ]


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_sentences_are_broken_and_commands_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    command = "  hint:  3 of 3: ckptmigrate convert a/long/path/model.ckpt DST --to tf2"
    sentence = "  hint:  copy all the data files of the checkpoint beside the index"
    assert list(fitted([command, sentence, "x" * 50], Terminal())) == [
        command,
        "  hint:  copy all the data files of the",
        "         checkpoint beside the index",
        "x" * 50,
    ]
    assert list(fitted([sentence], io.StringIO())) == [sentence]


def test_a_batch_shows_what_runs_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    first, second = Job("a/x\x1b[2J.h5", "a.npz"), Job("b.h5", "b.npz")
    with batch_progress() as listen:
        for job in (first, second):
            listen("waiting", job, None)
        listen("started", first, None)
        listen("started", second, None)
        listen("done", second, Outcome(second, "done", nbytes=3_000_000))
    assert "a/x\\x1b[2J.h5" in screen.getvalue()
    assert "1 of 2, " in screen.getvalue()
    assert " left" in screen.getvalue()
