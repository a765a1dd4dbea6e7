"""Issue: one thing that was found, lost, cast or guessed; a value, never a log line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from ckptmigrate.urls import ROOTS, spoken

Severity = Literal["error", "loss", "warning", "note"]

# What an issue of severity `error` or `loss` does to the exit code. Kinds not listed here end with 1.
EXIT_CODES = {
    "missing": 3,  # a source file, or a part of it
    "unsupported": 3,
    "damaged": 4,
    "mapping": 5,  # the mapping file itself
    "unmatched": 5,  # source variables that no rule takes
    "conflict": 5,  # two rules, two readings, two sources for one target, or no single target
    "incomplete": 5,  # a group of sources with a missing member
    "unfilled": 5,  # template variables that nothing writes
    "shape": 5,
    "irreversible": 5,
    "unused": 5,  # a rule that matches nothing
    "unholdable": 6,  # the target can't hold it
    "needed": 6,  # a value that the source lacks
    "slot": 6,  # optimizer state that can't follow its variable
    "architecture": 6,  # the target computes something else from the same weights
    "exists": 7,
    "unwritable": 7,
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding. Paths that stand for remote files are told as URLs.

    Args:
        kind: A short word, see EXIT_CODES for those that stop a run.
        severity: `error` stops the run, `loss` stops it unless losses are allowed.
        name: The variable, slot, key or rule it is about; empty for the whole checkpoint.
        message: What it is, in one sentence.
        hint: What to do about it: a command, a flag, a line of YAML.
        where: File and line, key or offset.
    """

    kind: str
    severity: Severity
    name: str = ""
    message: str = ""
    hint: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "message", "hint", "where") if ROOTS else ():
            object.__setattr__(self, name, spoken(getattr(self, name)))

    def to_json(self) -> dict[str, str]:
        """The issue as the JSON documents of the command line carry it."""
        return asdict(self)


def exit_code(issues: Iterable[Issue], *, allow_loss: bool = False) -> int:
    """The exit code these issues call for: the lowest of those that stop a run, 0 when none does.

    >>> exit_code([Issue("unholdable", "loss"), Issue("unmatched", "error")])
    5
    >>> exit_code([Issue("unholdable", "loss")], allow_loss=True)
    0
    """
    stopping = [i for i in issues if i.severity == "error" or (i.severity == "loss" and not allow_loss)]
    return min((EXIT_CODES.get(i.kind, 1) or 1 for i in stopping), default=0, key=_priority)


def _priority(code: int) -> int:
    return code if code >= 3 else 100 + code  # 3-7 speak before a plain 1
