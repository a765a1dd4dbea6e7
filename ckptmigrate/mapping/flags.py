"""Flags: what `--drop` and `--reinit` do to an assignment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.initialisers import DEFAULT, WORDS, is_stated
from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Drop, Fill, Move
from ckptmigrate.mapping.braces import Scope, compile_pattern
from ckptmigrate.mapping.names import Names
from ckptmigrate.mapping.operations import resolve
from ckptmigrate.mapping.pattern import Pattern
from ckptmigrate.mapping.rules import FillValue
from ckptmigrate.steps import Shape
from ckptmigrate.table import Checkpoint, Variable

if TYPE_CHECKING:
    from ckptmigrate.mapping.run import Run

DROP, REINIT = "--drop", "--reinit"

_STATED = re.compile(r"(?P<value>[^\[\]]*)(?:\[(?P<shape>[^\[\]]*)\])?")
_REST = "..."  # stands for all axes in front of those that are stated
_NEAR, _SHOWN = 0.5, 3


@dataclass(frozen=True, slots=True)
class Anew:
    """One `--reinit PATTERN[=VALUE][SHAPE]`.

    Attributes:
        text: As given.
        pattern: Of target names.
        value: What is stated; "" for the template's value, else Keras' default.
        axes: The last axes of the shape; None where none is stated.
        is_whole: Whether these are all axes.
    """

    text: str
    pattern: Pattern
    value: FillValue = ""
    axes: Shape | None = None
    is_whole: bool = True

    def shape(self, old: Shape | None) -> Shape | None:
        """The shape of what had shape `old`; None where that isn't known."""
        if self.axes is None or self.is_whole:
            return old if self.axes is None else self.axes
        return None if old is None or len(old) < len(self.axes) else (*old[: len(old) - len(self.axes)], *self.axes)


def drop(run: Run, patterns: Iterable[str]) -> list[Variable]:
    """Leaves out what `--drop` names; the variables that are left.

    Raises:
        UsageError: A pattern is wrong.
    """
    source = run.source
    gone: set[str] = set()
    for text in patterns:
        pattern = _compiled(DROP, text, source)
        fitting = [v.name for v in source.fitting(pattern)]
        run.drops += [Drop(name, f"{DROP} {text}", DROP) for name in fitting if name not in gone]
        gone.update(fitting)
        if not fitting:
            names = (name for names in source.of.values() for _, name in names)
            run.findings.append(_unused(DROP, text, "variable of the source", names, _of_state(pattern, source)))
    return [v for v in source.checkpoint.variables.values() if v.name not in gone]


def _of_state(pattern: Pattern, source: Names) -> str:
    """What to do where a pattern fits optimizer state, which follows its variables."""
    states = source.checkpoint.optimizers
    names = {e.key for e in source.checkpoint.rows() if e.optimizer} | {state.name for state in states}
    is_state = any(pattern.bindings(name) for name in names)
    return "it fits optimizer state, which --optimizer drop leaves out" if is_state else ""


def reinit(run: Run, texts: Sequence[str]) -> None:
    """Starts anew what `--reinit` names: a fill in the place of a move, of another fill, or of nothing.

    Raises:
        UsageError: A pattern, value or shape is wrong.
    """
    for text in texts:
        anew = stated(text, run.template or run.source)
        fitting = {v.name for v in run.template.fitting(anew.pattern)} if run.template else set()
        fitting |= {t for move in run.moves for t in move.targets if _is_named(run, anew.pattern, move, t)}
        fitting |= {fill.target for fill in run.fills if anew.pattern.bindings(fill.target)}
        if not fitting:
            names = [n for of in (run.template or run.source).of.values() for _, n in of]
            run.findings.append(_unused(REINIT, text, "target", names))
        before = {fill.target: fill for fill in run.fills if fill.target in fitting}
        run.fills = [fill for fill in run.fills if fill.target not in before]
        for move in [move for move in run.moves if fitting.intersection(move.targets)]:
            _start_anew(run, move, fitting, anew)
            fitting.difference_update(move.targets)
        for name in [name for name in (run.template.of if run.template else before) if name in fitting]:
            old = before.get(name, Fill(name, ""))
            fill = _fill(run, name, anew, old.shape, old.replaces)
            run.fills.append(fill if anew.axes is not None else replace(fill, like=old.like))


def stated(text: str, names: Names) -> Anew:
    """A `--reinit` as it is written: `PATTERN`, `PATTERN=VALUE`, `PATTERN=VALUE[SHAPE]`, `PATTERN=[SHAPE]`.

    Raises:
        UsageError: It can't be read.
    """
    pattern, equals, told = text.rpartition("=")
    if not equals:
        return Anew(text, _compiled(REINIT, text, names))
    found = _STATED.fullmatch(told.strip())
    value = _value(found["value"].strip()) if found else None
    axes = _axes(found["shape"]) if found and found["shape"] is not None else ()
    if value is None or axes is None:
        message = f"{REINIT} {text}: expected PATTERN=VALUE[SHAPE], such as 'head/kernel=glorot_uniform[..., 7]'"
        raise UsageError(message, hint=f"values: a number, template, {', '.join(WORDS)}; normal:0.02 sets the spread")
    has_shape = found is not None and found["shape"] is not None
    is_whole = not (has_shape and told.partition("[")[2].strip().startswith(_REST))
    return Anew(text, _compiled(REINIT, pattern, names), value, axes if has_shape else None, is_whole)


def _value(text: str) -> FillValue | None:
    if text in ("", "template") or is_stated(text):
        return text
    try:
        return float(text)
    except ValueError:
        return None


def _axes(text: str) -> Shape | None:
    parts = [part.strip() for part in text.split(",")]
    parts = parts[1:] if parts[0] == _REST else [part for part in parts if part]
    return tuple(map(int, parts)) if all(part.isdecimal() and part.isascii() for part in parts) else None


def _is_named(run: Run, pattern: Pattern, move: Move, target: str) -> bool:
    """Whether a pattern fits a target, by any of the names that it keeps."""
    names = [target]
    if run.template is None and move.sources == (target,):
        names += [name for _, name in run.source.of[target]]
    return any(pattern.bindings(name) for name in names)


def _start_anew(run: Run, move: Move, fitting: set[str], anew: Anew) -> None:
    kept = [target for target in move.targets if target not in fitting]
    if kept:
        message = f"shares its sources with a target that {REINIT} {anew.text} names"
        run.complain("conflict", kept[0], message, move.where)
        return
    run.moves.remove(move)
    run.drops += [Drop(name, f"{REINIT} {anew.text}", REINIT) for name in move.sources]
    sources = move.sources if len(move.sources) == len(move.targets) else move.sources[:1] * len(move.targets)
    shapes = _shapes(run.source.checkpoint, move)
    for target, shape, source in zip(move.targets, shapes, sources, strict=False):
        run.fills.append(_fill(run, target, anew, shape, source))


def _fill(run: Run, target: str, anew: Anew, old: Shape | None = None, source: str = "") -> Fill:
    given = run.template.checkpoint.variables.get(target) if run.template else None
    has_value = given is not None and not given.tensor.is_open
    wanted = given.tensor.shape if given is not None and has_value else None
    shape = anew.shape(wanted or old)
    if wanted is not None and shape != wanted:
        message = f"{REINIT} {anew.text} states another shape than the template's {list(wanted)}"
        run.complain("shape", target, message, REINIT, "leave [SHAPE] out: the template tells it")
    value = anew.value if anew.value != "" else "template" if has_value else DEFAULT
    return Fill(target, value, None, shape, REINIT, source)


def _shapes(source: Checkpoint, move: Move) -> Sequence[Shape | None]:
    """The shapes that a move's targets would have had, None where that takes a template."""
    tensors = [source.variables[name].tensor for name in move.sources]
    if not move.operations:
        return [tensor.shape for tensor in tensors]
    wanted = [None] * len(move.targets)
    try:
        steps = resolve(
            move.operations, [t.shape for t in tensors], [t.dtype for t in tensors], wanted, reverse=move.reverse
        )
    except MappingError:
        return wanted
    return steps[-1].shapes if steps else [tensor.shape for tensor in tensors]


def _compiled(option: str, text: str, names: Names) -> Pattern:
    try:
        return compile_pattern(text, Scope(separators=(names.separator, names.separator)))
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from error


def _unused(option: str, text: str, what: str, names: Iterable[str], hint: str = "") -> Issue:
    """A pattern that fits nothing, and the names that it may mean."""
    near = get_close_matches(text.rpartition("=")[0] or text, dict.fromkeys(names), _SHOWN, _NEAR)
    hint = hint or (f"did you mean {' or '.join(near)}?" if near else "`ckptmigrate inspect` lists the names")
    return Issue("unused", "error", text, f"no {what} fits {text}", hint, option)
