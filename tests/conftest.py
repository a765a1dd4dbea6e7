"""Options and fixtures that every test may use; running what a text shows: `$ COMMAND` and what it says."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ckptmigrate.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "$ "

settings.register_profile("tests", derandomize=True, deadline=None)  # the same examples, however busy the machine is
settings.load_profile("tests")


def pytest_configure() -> None:
    """Signals as at a terminal: programs that tests start would inherit what `nohup`, or a shell's `&`, ignores."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true", help="rewrite the command line's transcripts with what it says now"
    )


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the repository's fixtures and mappings."""
    for name in ("fixtures", "mappings"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def retell(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """The text with every command's answer as it is now: stdout, stderr marked `! `, `[exit N]` unless 0.

    Of commands that aren't ours (`python`, `ls`, `cat`) stderr isn't told: frameworks log there.
    """

    def run(words: list[str]) -> tuple[int, str, str]:
        if words[0] == "ckptmigrate":
            return main(words[1:]), *capsys.readouterr()
        words = [sys.executable if word == "python" else word for word in words]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, ""

    def answer(command: str) -> str:
        code, out, error = run(shlex.split(command.removeprefix(PROMPT)))
        said = out + "".join(f"! {line}\n" for line in error.splitlines())
        said += f"[exit {code}]\n" if code else ""
        said = said.replace(f"{workplace}/", "").replace(f"{ROOT}/", "")
        return re.sub(r"\b[0-9.]+(e-\d+)? s$", "0.1 s", said, flags=re.MULTILINE)

    def tell(text: str) -> str:
        told = "".join(f"{intro}{c}\n{answer(c)}\n" if c else intro for intro, c in commands(text))
        return told.rstrip("\n") + "\n"

    return tell


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(comments before a command, the command); text that has no command comes with ""."""
    for part in re.split(rf"^(?=(?:#.*\n)*{re.escape(PROMPT)})", text, flags=re.MULTILINE):
        intro, prompt, rest = part.partition(PROMPT)
        line = rest.partition("\n")[0]
        yield (intro, prompt + line) if prompt else (part, "")
