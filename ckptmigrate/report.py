"""Report: what a conversion, verification or comparison did, row by row, and the exit code that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptmigrate.issues import Issue, exit_code
from ckptmigrate.urls import spoken_in

Outcome = Literal["equal", "differs", "missing", "extra", "dropped", "filled", "planned", "written"]
Proof = Literal["inverse", "recomputed", "none"]
Verdict = Literal["verified", "differs", "refused", "written", "planned"]

_FAILED: frozenset[str] = frozenset({"differs", "missing", "extra"})


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor's way: target name and slot, where it came from, what was done, and how that was proven.

    Attributes:
        name, slot: In the target (for dropped rows: in the source); slot is "" for a variable.
        source: What it was made from, as the source calls it; several joined by ", ".
        steps: The operations in order, as text.
        detail: First difference, largest rounding, the reason of a drop.
    """

    name: str
    slot: str
    source: str
    outcome: Outcome
    steps: tuple[str, ...] = ()
    proof: Proof = "none"
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row as the JSON documents of the command line carry it."""
        return {
            "name": self.name,
            "slot": self.slot or None,
            "source": self.source,
            "outcome": self.outcome,
            "steps": list(self.steps),
            "proof": self.proof,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of convert, verify or diff. Paths that stand for remote files are told as URLs.

    Attributes:
        source, target: {"path", "format", "files", ...} of both sides.
        verdict: verified | differs | refused | written (`--verify none`) | planned (`--dry-run`).
        rows: One per planned, dropped or filled tensor.
        issues: Everything lost, cast, guessed or wrong.
        allow_loss: Whether losses were allowed, so that they don't set the exit code.
        details: More for people: seconds, bytes moved and cloned, checks made; JSON-able.
    """

    source: Mapping[str, Any]
    target: Mapping[str, Any]
    verdict: Verdict
    rows: tuple[Row, ...] = ()
    issues: tuple[Issue, ...] = ()
    allow_loss: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("source", "target", "details"):
            object.__setattr__(self, name, spoken_in(getattr(self, name)))

    @property
    def counts(self) -> dict[str, int]:
        """Rows by outcome, and by proof (`by_inverse`, `by_recomputation`)."""
        counts = dict(Counter(row.outcome for row in self.rows))
        proofs = Counter(row.proof for row in self.rows)
        return counts | {"by_inverse": proofs["inverse"], "by_recomputation": proofs["recomputed"]}

    @property
    def exit_code(self) -> int:
        """0, 1 for a difference, or the lowest of 3-7 that the issues call for."""
        code = exit_code(self.issues, allow_loss=self.allow_loss)
        if code == 0 and (self.verdict == "differs" or any(r.outcome in _FAILED for r in self.rows)):
            return 1
        return code

    def to_json(self) -> dict[str, Any]:
        """The JSON document of `convert`, `verify` and `diff`."""
        return {
            "source": dict(self.source),
            "target": dict(self.target),
            "verdict": self.verdict,
            "rows": [row.to_json() for row in self.rows],
            "counts": self.counts,
            "issues": [issue.to_json() for issue in self.issues],
            "details": dict(self.details),
        }
