"""Exit codes, JSON, signals and closed pipes: what scripts rely on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckptmigrate import table
from ckptmigrate.cli import options, reports
from ckptmigrate.cli.main import main
from ckptmigrate.errors import OutputError

ROOT = Path(__file__).resolve().parents[2]
ADAM = ROOT / "fixtures" / "tf1" / "adam" / "model.ckpt-3"
PROGRAM = [sys.executable, "-m", "ckptmigrate"]
ISSUE = {"kind", "severity", "name", "message", "hint", "where"}


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    code = main([*words, "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, json.loads(captured.out)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ["--version"]),
        (0, ["--help"]),
        (0, ["-h"]),
        (0, []),
        (0, ["mapping"]),
        (0, ["formats"]),
        (2, ["frobnicate"]),
        (2, ["inspect"]),
        (2, ["inspect", "x", "--frobnicate"]),
        (2, ["convert", "a", "b"]),
        (2, ["convert", "a", "b", "--to", "tf2", "--verify", "resume"]),
        (2, ["convert", "a", "b", "--to", "tf2", "--report", "report.pdf"]),
        (2, ["convert", "a", "b", "--to", "tf2", "--max-shard-size", "huge"]),
        (2, ["convert", "a", "b", "--to", "tf2", "--hyper", "learning_rate"]),
        (2, ["verify", "a", "b", "--level", "forward"]),
        (2, ["diff", "a", "b", "--rtol", "-1"]),
    ],
)
def test_exit_codes(code: int, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.startswith("error: ") == (code != 0)
    assert bool(captured.out) == (code == 0)


@pytest.mark.parametrize("command", ["inspect", "convert", "verify", "diff"])
def test_usage_errors_are_the_same_document(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = run_json(capsys, command)
    assert code == 2
    assert set(document) >= ({"path", "variables"} if command == "inspect" else {"source", "target", "verdict", "rows"})
    assert set(document["issues"][0]) == ISSUE


def test_a_missing_source_in_each_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    for words in (["inspect", nowhere], ["convert", nowhere, "x", "--to", "tf2"], ["diff", nowhere, nowhere]):
        code, document = run_json(capsys, *words)
        assert code == 3
        assert document["issues"][0]["severity"] == "error"
        assert document.get("path", nowhere) == nowhere


ROW = {"name", "slot", "source", "outcome", "steps", "proof", "detail"}
OUTCOMES = {"equal", "differs", "missing", "extra", "dropped", "filled"}


def assert_pair_document(document: dict) -> None:
    """The document of convert, verify and diff."""
    assert set(document) >= {"source", "target", "verdict", "rows", "counts", "issues"}
    assert document["verdict"] in {"verified", "differs", "refused", "written"}
    assert {"path", "format", "files"} <= set(document["source"])
    for row in document["rows"]:
        assert set(row) == ROW
        assert row["outcome"] in OUTCOMES
        assert row["proof"] in {"inverse", "recomputed", "none"}
    assert all(set(issue) == ISSUE for issue in document["issues"])


def test_documents_of_two_checkpoints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, report = str(tmp_path / "ckpt"), tmp_path / "report.json"
    code, converted = run_json(capsys, "convert", str(ADAM), out, "--to", "tf2", "--report", str(report))
    assert (code, converted["verdict"]) == (0, "verified")
    assert json.loads(report.read_text("utf-8")) == converted
    code, verified = run_json(capsys, "verify", str(ADAM), out)
    assert (code, verified["verdict"], verified["counts"]["equal"]) == (0, "verified", converted["counts"]["equal"])
    code, different = run_json(capsys, "diff", str(ADAM), str(ROOT / "fixtures" / "tf1" / "ema" / "model.ckpt"))
    assert (code, different["verdict"]) == (1, "differs")
    code, refused = run_json(capsys, "convert", str(ADAM), out, "--to", "tf2")
    assert (code, refused["verdict"]) == (7, "refused")
    assert [issue["kind"] for issue in refused["issues"] if issue["severity"] == "error"] == ["exists"]
    for document in (converted, verified, different):
        assert_pair_document(document)


def test_documents_of_one_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = run_json(capsys, "inspect", str(ADAM.parent), "--stats")
    assert (code, document["format"], document["path"]) == (0, "tf1", str(ADAM))
    assert all({"name", "dtype", "shape", "nbytes", "role", "trainable", "aliases", "copies", "stats"} <= set(v)
               for v in document["variables"])  # fmt: skip
    (adam,) = document["optimizers"]
    assert set(adam) >= {"name", "kind", "dialect", "step", "hyper", "scalars", "slots"}
    assert {s["name"]: s["value"] for s in adam["scalars"]} == {"beta1_power": 0.6560999, "beta2_power": 0.9960061}


def test_documents_of_mappings(capsys: pytest.CaptureFixture[str]) -> None:
    code, listed = run_json(capsys, "mapping", "list")
    assert code == 0
    assert {"name", "title", "rules", "file"} == set(listed["mappings"][0])
    code, checked = run_json(capsys, "mapping", "check", "od/ssd_mobilenet_v2")
    assert (code, checked["issues"]) == (0, [])
    assert {"where", "text", "verdict", "reason", "unproven"} == set(checked["rules"][0])
    code, explained = run_json(capsys, "mapping", "explain", "od/ssd_mobilenet_v2", "no/such")
    assert (code, explained["explanations"][0]["problem"]) == (5, "no rule fits it")


def test_the_console_script_and_the_module_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(sys.executable).with_name("ckptmigrate")
    if not script.exists():
        pytest.skip("the console script isn't installed beside this interpreter")
    for program in ([str(script)], PROGRAM):
        done = subprocess.run([*program, "convert"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")


def test_choices_are_those_of_the_library() -> None:
    assert tuple(d.value for d in options.Dialect) == table.DIALECTS


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        done = subprocess.run([*PROGRAM, "inspect", str(ADAM)], stdout=stdout, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_for_the_output_is_exit_7() -> None:
    with Path("/dev/full").open("w") as stdout:
        done = subprocess.run([*PROGRAM, "formats"], stdout=stdout, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 7
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


# Sends itself a signal when it opens the first file of its output.
INTERRUPTED = """
import signal, sys
from ckptmigrate.cli.main import main
def hook(event, arguments):
    if event == "open" and "ckptmigrate-" in str(arguments[0]) and ".data-" in str(arguments[0]):
        signal.raise_signal({number})
sys.addaudithook(hook)
sys.exit(main({words}))
"""


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda n: str(int(n))
)
def test_a_signal_leaves_nothing_behind(number: signal.Signals, code: int, as_json: bool, tmp_path: Path) -> None:
    words = ["convert", str(ADAM), str(tmp_path / "out" / "ckpt"), "--to", "tf2", *["--json"][:as_json]]
    program = INTERRUPTED.format(number=int(number), words=words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == ("" if as_json else "interrupted\n")
    if as_json:
        document = json.loads(done.stdout)
        assert (document["verdict"], document["issues"][0]["kind"]) == ("refused", "interrupted")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: str(int(n)))
def test_told_again_and_again_it_still_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    words = ["convert", str(ADAM), str(tmp_path / "out" / "ckpt"), "--to", "tf2"]
    more = "    if event in ('os.remove', 'os.rmdir'):\n        signal.raise_signal(signal.SIGINT)\nsys.add"
    program = INTERRUPTED.format(number=int(number), words=words).replace("sys.add", more)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + number, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


LOST = """
class Lost:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
def lose():
    lost = Lost()
"""


def test_an_interrupt_that_got_lost_is_not_the_last_one(tmp_path: Path) -> None:
    """One that comes in a callback from C, or in `__del__`, can't end anything; the next one does."""
    words = ["convert", str(ADAM), str(tmp_path / "out" / "ckpt"), "--to", "tf2"]
    program = INTERRUPTED.format(number=int(signal.SIGTERM), words=words)
    program = LOST + program.replace("signal.raise_signal(", "lose(); signal.raise_signal(")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 143, done.stderr
    assert "Exception ignored" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_change_nothing(closed: str, tmp_path: Path) -> None:
    """Files that are opened next would have their numbers."""
    words = shlex.join([*PROGRAM, "convert", str(ADAM), str(tmp_path / "out.npz"), "--to", "npz"])
    assert subprocess.run(["sh", "-c", f"{words} {closed}"], capture_output=True, check=False).returncode == 0
    assert main(["verify", str(ADAM), str(tmp_path / "out.npz")]) == 0


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` asks for."""
    words = ["convert", str(ADAM), str(tmp_path / "out.npz"), "--to", "npz"]
    program = INTERRUPTED.format(number=int(signal.SIGHUP), words=words).replace(".data-", "out.npz")
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    done = subprocess.run([sys.executable, "-c", nohup + program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.npz").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_messages_that_nobody_gets_change_nothing(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as stderr:
        done = subprocess.run([*PROGRAM, "inspect", str(tmp_path / "no")], stderr=stderr, check=False)
    assert done.returncode == 3


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_a_report_that_cannot_be_written_is_no_failed_conversion(
    name: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("No space left on device", where=name, hint="make room")

    monkeypatch.setattr(reports, "publish_file", full)
    words = ["convert", str(ADAM), str(tmp_path / "out.npz"), "--to", "npz", "--report", str(tmp_path / name)]
    assert main([*words, *["--json"][:as_json]]) == 7
    out = capsys.readouterr().out
    if as_json:
        document = json.loads(out)
        assert (document["verdict"], document["issues"][-1]["kind"]) == ("verified", "output")
    else:
        assert out.startswith("verified: ")
        assert "error: the report can't be written: No space left on device" in out
    assert (tmp_path / "out.npz").exists()


def test_a_report_in_the_place_of_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "report.json" / "mine").mkdir(parents=True)
    words = ["convert", str(ADAM), str(tmp_path / "out.npz"), "--to", "npz"]
    assert main([*words, "--report", str(tmp_path / "report.json")]) == 7
    assert not (tmp_path / "out.npz").exists()


LOADING = """
import signal, sys
from ckptmigrate.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.exit(main())
"""


def test_an_interrupt_while_modules_load_is_no_traceback():
    done = subprocess.run([sys.executable, "-c", LOADING, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
