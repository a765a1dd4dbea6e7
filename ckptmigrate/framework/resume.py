"""The parent's side of a resume check: both sides train on from where they were saved, on the same batches.

docs/resume.md describes what `--model PKG.MOD:FN` names.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ckptmigrate.framework.difference import Difference, difference
from ckptmigrate.framework.process import TIMEOUT
from ckptmigrate.framework.sides import FailedError, Sides, report
from ckptmigrate.issues import Issue
from ckptmigrate.report import Outcome, Report, Row
from ckptmigrate.table import Checkpoint

STEPS = 5

# Rounding of float32 makes some 1e-6 of a weight's largest value in five steps of the same arithmetic; the bias
# correction of an Adam that counts from 0 again makes a good part of the learning rate, at every step.
RTOL = 1e-5
ATOL = 1e-6
TELLING = 100  # how many times the tolerance the weights have to move before their equality tells something

Key = tuple[str, str]  # weight, slot; the slot is "" for the weight itself
State = Mapping[str, Any]  # {"loss", "weights", "slots"}, as `training` answers


@dataclass(frozen=True, slots=True)
class Tolerance:
    """When two numbers are equal: no difference exceeds `atol + rtol * (largest value of the source's)`."""

    rtol: float
    atol: float

    def of(self, found: Difference, key: Key = ("", "")) -> float:
        """What is allowed. Slots have sizes of their own: `atol`, which is for weights, plays no part."""
        return (0.0 if key[1] else self.atol) + self.rtol * found.scale

    def holds(self, found: Difference, key: Key = ("", "")) -> bool:
        """Whether two arrays are equal."""
        return found.largest <= self.of(found, key)


class Course(NamedTuple):
    """One weight or slot as restored and after each step.

    Attributes:
        key: Weight and slot.
        apart: How far the two sides are from each other; None where a side hasn't made the slot yet, empty where
            shapes differ.
        moved: How far the source has gone at the end from where it was restored.
        why: Where shapes differ, which.
    """

    key: Key
    apart: tuple[Difference | None, ...]
    moved: float
    why: str = ""

    def first(self, tolerance: Tolerance) -> int | None:
        """The first step after which the sides differ, 0 as restored; None where they never do."""
        if self.why:
            return 0
        return next((n for n, d in enumerate(self.apart) if d and not tolerance.holds(d, self.key)), None)

    def row(self, tolerance: Tolerance) -> Row:
        """Where the sides first differ, else where they are farthest from each other."""
        first = self.first(tolerance)
        outcome: Outcome = "equal" if first is None else "differs"
        told = self.why
        if not told:
            found = [(n, d) for n, d in enumerate(self.apart) if d and first in (None, n)]
            at, worst = max(found, key=lambda item: item[1].largest)
            told = f"{worst}, {when(at)}" if worst.largest else str(worst)
        return Row(*self.key, self.key[0], outcome, detail=f"{told}; moved by {self.moved:.2g}")


def resume(
    source: Checkpoint, target: Checkpoint, model: str, *, steps: int = STEPS, rtol: float = RTOL, atol: float = ATOL,
    timeout: float = TIMEOUT,
) -> Report:  # fmt: skip
    """Trains on from both sides and compares losses, weights and slots, as restored and after each step.

    Args:
        source, target: The checkpoints that the models restore; only their paths are used.
        model: `PKG.MOD:FN`, see docs/resume.md. Its code is run.
        steps: How many steps each side trains.
        rtol, atol: See `Tolerance`.
        timeout: Seconds for each side.

    Returns:
        A report with one row per weight and slot; its details tell of each step.

    Raises:
        UsageError: `model` can't be imported, or isn't what it should be.
    """
    details: dict[str, Any] = {"model": model, "steps": steps, "rtol": rtol, "atol": atol}
    rows: Sequence[Row] = ()
    issues: Sequence[Issue] = ()
    with tempfile.TemporaryDirectory(prefix="ckptmigrate-") as name:
        sides = Sides("ckptmigrate.framework.training", model, "docs/resume.md", Path(name), timeout)
        sides.check()
        try:
            ours = sides.ask("source", source, steps=steps, batches=[])
            details["batches"] = [{"name": e["name"], "shape": e["shape"]} for e in ours["batches"][0]]
            request = {"steps": steps, "batches": ours["batches"]}
            theirs = sides.ask("target", target, **request)["states"]
            fresh = sides.ask("fresh", source, **request)["states"] if ours["has_fresh"] else []
            run = compared(Path(name), ours["states"], theirs, fresh)
            tolerance = Tolerance(rtol, atol)
            rows, issues = run.rows(tolerance), tuple(run.issues(tolerance))
            details["course"] = list(run.course(tolerance))
        except FailedError as error:
            issues = (Issue("resume", "error", "", str(error)),)
    return report(source, target, rows, issues, {"resume": details})


@dataclass(frozen=True, slots=True)
class Run:
    """Two sides' training, compared.

    Attributes:
        courses: Every weight and slot that both sides have, in the source's order, weights first.
        losses: Of both sides at each step; before its update.
        missing, extra: What only the source, only the target has.
        fresh: The courses of the weights against a source whose optimizer began anew.
        is_half: Only one side gives slots, so that they aren't compared.
    """

    courses: Sequence[Course]
    losses: Sequence[tuple[float, float]]
    missing: Sequence[Key]
    extra: Sequence[Key]
    fresh: Sequence[Course]
    is_half: bool

    def rows(self, tolerance: Tolerance) -> list[Row]:
        """One for each weight and slot."""
        rows = [course.row(tolerance) for course in self.courses]
        rows += [Row(n, s, n, "missing", detail="only the source gives it") for n, s in self.missing]
        return rows + [Row(n, s, "", "extra", detail="only the target gives it") for n, s in self.extra]

    def course(self, tolerance: Tolerance) -> Iterator[dict[str, Any]]:
        """Each step, 0 as restored: outcome, losses, how far weights and slots are apart; JSON-able."""
        weights, slots = ([c for c in self.courses if bool(c.key[1]) == wanted] for wanted in (False, True))
        for number in range(len(self.losses) + 1):
            failed = next(self.differing(number, tolerance), None)
            yield {
                "step": number,
                "outcome": "differs" if failed else "equal",
                "loss": [_plain(loss) for loss in self.losses[number - 1]] if number else None,
                "weights": _largest(weights, number),
                "slots": _largest(slots, number),
                "fresh": _largest(self.fresh, number),
            }

    def differing(self, number: int, tolerance: Tolerance) -> Iterator[tuple[str, str]]:
        """What differs after a step, 0 as restored: (name, how), the loss first."""
        if number:
            loss = difference(*(np.asarray(value) for value in self.losses[number - 1]))
            if not tolerance.holds(loss):
                yield "loss", f"{loss.source:.7g} and {loss.target:.7g}"
        for course in self.courses:
            if course.why and number == 0:
                yield _named(course.key), course.why
            found = course.apart[number] if course.apart else None
            if found and not tolerance.holds(found, course.key):
                yield _named(course.key), str(found)

    def issues(self, tolerance: Tolerance) -> Iterator[Issue]:
        """The first difference, and what makes an equality tell little."""
        numbers = range(len(self.losses) + 1)
        first = next(((n, *found) for n in numbers for found in self.differing(n, tolerance)), None)
        if first is not None:
            number, name, how = first
            yield Issue("resume", "error", name, f"the first that differs, {when(number)}: {how}")
        elif self.missing or self.extra:
            yield Issue("resume", "error", _named([*self.missing, *self.extra][0]), "only one side gives it")
        else:
            yield from self._little(tolerance)
        if self.is_half:
            yield Issue("resume", "note", "", "only one side gives slots: they aren't compared")

    def _little(self, tolerance: Tolerance) -> Iterator[Issue]:
        """Why equal sides may tell little."""
        if not all(math.isfinite(loss) for pair in self.losses for loss in pair):
            yield Issue("resume", "warning", "loss", "isn't finite: this proves little")
        weights = [course for course in self.courses if not course.key[1]]
        if not any(c.moved > TELLING * tolerance.of(d) for c in weights for d in c.apart[:1] if d):
            message = f"no weight moved by {TELLING} times the tolerance: this proves little"
            yield Issue("resume", "warning", "", message, "--steps, or smaller --rtol and --atol")
        if self.fresh and all(course.first(tolerance) is None for course in self.fresh):
            message = "a fresh optimizer gives these weights too: this doesn't tell whether its state came along"
            yield Issue("resume", "warning", "", message, "--steps, or smaller --rtol and --atol")


def compared(folder: Path, ours: Sequence[State], theirs: Sequence[State], fresh: Sequence[State]) -> Run:
    """What the children's states, as restored and after each step, say of each other."""
    left, right, other = ([_entries(state) for state in states] for states in (ours, theirs, fresh))
    has_slots = [any(slot for _, slot in side[-1]) for side in (left, right)]
    mine, others = ([key for key in side[-1] if all(has_slots) or not key[1]] for side in (left, right))
    return Run(
        courses=[_course(folder, key, left, right) for key in mine if key in right[-1]],
        losses=[(a["loss"], b["loss"]) for a, b in zip(ours[1:], theirs[1:], strict=True)],
        missing=[key for key in mine if key not in right[-1]],
        extra=[key for key in others if key not in left[-1]],
        fresh=[_course(folder, key, left, other) for key in mine if fresh and not key[1] and key in other[-1]],
        is_half=any(has_slots) and not all(has_slots),
    )


def _entries(state: State) -> dict[Key, Mapping[str, Any]]:
    entries = {(e["name"], ""): e for e in state["weights"]}
    return entries | {(e["name"], slot): e for slot, some in state["slots"].items() for e in some}


def _course(folder: Path, key: Key, left: Sequence[Mapping[Key, Any]], right: Sequence[Mapping[Key, Any]]) -> Course:
    own = [_array(folder, state[key]) for state in left if key in state]
    moved = difference(own[0], own[-1]).largest
    pairs = [(a[key], b[key]) if key in a and key in b else None for a, b in zip(left, right, strict=True)]
    shapes = next(((a["shape"], b["shape"]) for a, b in filter(None, pairs) if a["shape"] != b["shape"]), None)
    if shapes:
        return Course(key, (), moved, f"shape {shapes[1]} where the source has {shapes[0]}")
    return Course(key, tuple(pair and difference(*(_array(folder, entry) for entry in pair)) for pair in pairs), moved)


def _array(folder: Path, entry: Mapping[str, Any]) -> Any:
    return np.load(folder / entry["file"], mmap_mode="r")


def when(step: int) -> str:
    """A step in words; 0 is before any."""
    return f"after step {step}" if step else "as restored"


def _named(key: Key) -> str:
    return f"{key[0]}:{key[1]}" if key[1] else key[0]


def _largest(courses: Sequence[Course], number: int) -> float | None:
    """The largest difference after a step; None where nothing was compared, or it isn't finite."""
    found = [d.largest for course in courses for d in course.apart[number : number + 1] if d]
    return _plain(max(found)) if found else None


def _plain(number: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return number if math.isfinite(number) else None
