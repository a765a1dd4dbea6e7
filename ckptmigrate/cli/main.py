"""The command line: commands, exit codes, signals."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Annotated, Any

import typer

from ckptmigrate.cli.answer import BLANKS, Ended, refuse
from ckptmigrate.cli.streams import emit, reopen_closed, say
from ckptmigrate.errors import CkptMigrateError, UsageError

# typer has no public name for the base of the errors that its parser raises, in versions with and without click
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]

GC_THRESHOLD = 1_000_000  # objects; a checkpoint of many variables is many objects, none of them garbage
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EXIT_CODES = """\b
Exit codes:
  0  done and verified
  1  ran, and found a difference, a failed verification or an error
  2  wrong usage, or an extra that isn't installed
  3  source missing, unknown or unsupported
  4  source damaged or hostile
  5  mapping invalid, ambiguous or incomplete
  6  the target can't hold something, or a needed value is missing
  7  the output exists or can't be written
  130, 143  interrupted; nothing half-written is left"""

# Command -> the module it lives in, and the name of its examples there. In the order of `--help`.
COMMANDS = {
    "inspect": ("inspect", "EXAMPLES"),
    "convert": ("convert", "CONVERT_EXAMPLES"),
    "verify": ("convert", "VERIFY_EXAMPLES"),
    "diff": ("convert", "DIFF_EXAMPLES"),
    "doctor": ("doctor", "EXAMPLES"),
    "port-detection": ("port_detection", "EXAMPLES"),
    "average": ("average", "EXAMPLES"),
    "batch": ("batch", "EXAMPLES"),
    "mapping": ("mapping", ""),
    "formats": ("formats", ""),
}


def _app(words: Sequence[str]) -> typer.Typer:
    """The command line with the one command that is asked for, which is what starts fast; else with all of them."""
    app = typer.Typer(
        name="ckptmigrate",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog=EXIT_CODES,
    )
    app.callback()(ckptmigrate)
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        module_name, examples = COMMANDS[name]
        module = import_module(f"ckptmigrate.cli.{module_name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            command: Callable[..., None] = getattr(module, name.replace("-", "_"))
            app.command(name, epilog=getattr(module, examples, None))(command)
    return app


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        emit(f"ckptmigrate {version('ckptmigrate')}\n")
        raise typer.Exit


def ckptmigrate(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Move TensorFlow and Keras checkpoints between formats, with optimizer state, and prove the result."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit code; never raises.

    Args:
        arguments: Those after the program's name; by default the process's own.
    """
    gc.set_threshold(GC_THRESHOLD)
    reopen_closed()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal can't show is no reason to stop
    try:
        with _signals():
            code = _run(words)
        if arguments is None:
            gc.freeze()  # the process ends: Python's last search for garbage among many variables would take long
        return code
    except Ended as end:
        say(["interrupted"])
        return end.exit_code
    except CkptMigrateError as error:
        say([f"error: {error}"])
        return error.exit_code


def _run(words: list[str]) -> int:
    try:
        code = _app(words)(
            args=[*words, "--help"] if words in ([], ["mapping"]) else words,
            prog_name="ckptmigrate",
            standalone_mode=False,
        )
    except _ParserError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "ckptmigrate"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return refuse(UsageError(message, hint=f"{command} --help"), "--json" in words, _blank(words))
    except typer.Abort:
        return 128 + signal.SIGINT
    except CkptMigrateError:  # standard output can't be written
        raise
    except Exception as error:  # noqa: BLE001 a bug of ours must still end with one line and an exit code
        return refuse(_bug(error), "--json" in words, _blank(words))
    return code if isinstance(code, int) else 0


def _blank(words: list[str]) -> dict[str, Any]:
    return next((BLANKS[word] for word in words if word in BLANKS), {})


def _bug(error: Exception) -> CkptMigrateError:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return CkptMigrateError(
        f"this is a bug in ckptmigrate: {type(error).__name__}: {error}",
        where=where,
        hint="nothing was published; please report it with the command and the output of `inspect --json`",
    )


@contextmanager
def _signals() -> Iterator[None]:
    """Turns the signals that end a process into an exception, so that unfinished outputs are removed.

    One that is ignored stays ignored: `nohup` asks for that. While an end is under way another one changes nothing:
    it would cut the removing short.
    """
    under_way: weakref.ref[Ended] | None = None

    def end(number: int, _: FrameType | None) -> None:
        nonlocal under_way
        if under_way is not None and under_way() is not None:
            return
        ended = Ended(number)
        under_way = weakref.ref(ended)  # dead where it got lost in a callback that can't raise
        try:
            raise ended
        finally:
            del ended  # which its own traceback would keep

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    heard = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
