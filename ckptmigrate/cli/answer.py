"""What a command answers: one document for machines or lines for people, messages on stderr, and the exit code."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ckptmigrate import runs
from ckptmigrate.cli.streams import emit, fitted, say
from ckptmigrate.cli.text import SHOWN, shortened
from ckptmigrate.errors import CkptMigrateError, DamagedError, OutputError, SourceError
from ckptmigrate.issues import Issue
from ckptmigrate.visible import visible

KINDS = {1: "failed", 2: "usage", 3: "source", 4: "damaged", 5: "mapping", 6: "target", 7: "output"}
_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


# Each command's document when nothing could be found out.
_PAIR: dict[str, Any] = {"source": {}, "target": {}, "verdict": "refused", "rows": [], "counts": {}}
BLANKS: dict[str, dict[str, Any]] = {
    "inspect": {"path": "", "format": "", "files": [], "metadata": {}, "variables": [], "optimizers": []},
    "convert": _PAIR,
    "verify": _PAIR,
    "diff": _PAIR,
    "doctor": {"path": "", "findings": []},
    "formats": {"formats": []},
    "mapping": {"mappings": []},
}


class Ended(BaseException):
    """The process was told to end by a signal; unwinds like KeyboardInterrupt, so that stages are removed.

    Attributes:
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
        hint: How to go on later, from commands that can.
    """

    hint = ""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Answer(NamedTuple):
    """A command's result.

    Attributes:
        document: For `--json`.
        lines: For people.
        exit_code: 0, or 1-7 as the README lists them.
    """

    document: Callable[[], Any]
    lines: Callable[[], Iterable[str]]
    exit_code: int = 0


def give(command: Callable[[], Answer], as_json: bool, blank: Mapping[str, Any]) -> int:
    """Runs a command and prints its answer, or its error as the same document.

    Args:
        command: Does the work; raises CkptMigrateError.
        as_json: Print one JSON document and nothing else on stdout.
        blank: The command's document when nothing could be found out; its `issues` are filled in.
    """
    try:
        answer = command()
        output = (
            as_text(answer.document())
            if as_json
            else "".join(f"{line}\n" for line in fitted(answer.lines(), sys.stdout))
        )
    except (CkptMigrateError, OSError, MemoryError, RecursionError) as error:
        return refuse(_ours(error), as_json, blank)
    except Ended as end:
        issue = Issue("interrupted", "error", message="interrupted", hint=end.hint)
        if as_json:
            emit(as_text({**blank, "issues": [issue.to_json()]}))
        else:
            say(["interrupted", *(hint_lines(end.hint) if end.hint else [])])
        return end.exit_code
    emit(output)
    return answer.exit_code


def refuse(error: CkptMigrateError, as_json: bool, blank: Mapping[str, Any]) -> int:
    """Prints an error where it belongs and gives its exit code."""
    if as_json:
        issues = error.issues or (Issue(KINDS[error.exit_code], "error", "", error.message, error.hint, error.where),)
        emit(as_text({**blank, "issues": [issue.to_json() for issue in issues]}))
    else:
        say(error_lines(error))
    return error.exit_code


def error_lines(error: CkptMigrateError) -> list[str]:
    """An error for people: what, where, the first twenty of many, and what to do next."""
    lines = [f"error: {visible(error.message)}"]
    if error.where:
        lines.append(f"  where: {visible(error.where)}")
    told = [i for i in error.issues if i.message != error.message]
    lines += issue_lines(told)
    if error.hint and error.hint not in {i.hint for i in told[:SHOWN]}:
        lines += hint_lines(error.hint)
    return lines


def issue_lines(issues: Sequence[Issue]) -> list[str]:
    """Issues for people, worst first, twenty of each severity; what is said of many names is said once."""
    lines: list[str] = []
    for severity in ("error", "loss", "warning", "note"):
        groups: dict[tuple[str, str], list[Issue]] = {}
        for issue in issues:
            if issue.severity == severity and not _is_idle_rule(issue):
                groups.setdefault((_sentence(issue), issue.where), []).append(issue)
        told = list(groups.values())
        hints: set[str] = set()
        for group in told[:SHOWN]:
            lines += _group_lines(group, hints)
        if rest := sum(len(group) for group in told[SHOWN:]):
            lines.append(f"{severity}: ... and {rest} more; --json lists all")
    if idle := sum(map(_is_idle_rule, issues)):
        lines.append(f"note: {idle} included or optional rules fit nothing here; --json lists them")
    return lines


def _is_idle_rule(issue: Issue) -> bool:
    """Whether it says that an included or optional rule wasn't needed: many say so, and nobody need act."""
    return (issue.kind, issue.severity) == ("unused", "note")


def _group_lines(group: Sequence[Issue], hints: set[str]) -> list[str]:
    """One sentence, the names it is about, where, and the hint, unless it was given before."""
    first = group[0]
    names = [issue.name for issue in group if issue.name and issue.name not in first.message]
    told = runs.fold(found := runs.collapse(names), [""] * len(found))
    if len(told) == 1:
        times = f"  x{len(names)}" if len(names) > 1 else ""
        lines = [f"{first.severity}: {visible(told[0].text)}{times}: {visible(first.message)}"]
    else:
        lines = [f"{first.severity}: {visible(first.message or first.kind)}" + (f"  x{len(names)}" if names else "")]
        lines += shortened(
            [f"    {visible(r.text)}" + (f"  x{len(r.names)}" if len(r.names) > 1 else "") for r in told]
        )
    if first.where:
        lines.append(f"  where: {visible(first.where)}")
    if first.hint and first.hint not in hints:
        lines += hint_lines(first.hint)
    hints.add(first.hint)
    return lines


def hint_lines(hint: str) -> list[str]:
    """A hint; of several lines (a rule to paste) each keeps its indentation."""
    first, *rest = hint.splitlines() or [""]
    return [f"  hint:  {visible(first)}", *(f"         {visible(line)}" for line in rest)]


def _sentence(issue: Issue) -> str:
    """What an issue says, without the name it says it of."""
    return issue.message or issue.kind


def _ours(error: Exception) -> CkptMigrateError:
    """Errors of the machine, which any call can meet, as ours."""
    if isinstance(error, CkptMigrateError):
        return error
    if isinstance(error, OSError):
        kind = OutputError if error.errno in _OUTPUT_ERRORS else SourceError
        return kind(error.strerror or str(error), where=str(error.filename or ""))
    if isinstance(error, RecursionError):
        return DamagedError("the file nests deeper than any real one does")
    return CkptMigrateError("out of memory", hint="give the process more, or convert to a sharded format in parts")


def as_text(document: Any) -> str:
    """A document as `--json` prints it: ASCII, so that no name in it steers a terminal."""
    # NaN has no JSON; readers of this document put a text there, so meeting one is a bug
    return json.dumps(document, indent=1, allow_nan=False, default=str) + "\n"
