"""Score: a drafted mapping, loaded and run as any other, against what is known of the pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ckptmigrate.mapping.assign import assign
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.rules import Mapping
from ckptmigrate.table import Checkpoint
from judging.case import Case, outputs

Drafter = Callable[[Checkpoint, Checkpoint], str]
_LARGE = 4_000_000  # elements, above which operations are compared as they are written
_APART = 1e8  # between the numbers of one source and the next
_HARMLESS = frozenset({"unmatched", "unfilled"})  # what is left open


@dataclass(frozen=True)
class Score:
    """What became of a case.

    Attributes:
        right, abstained: Numbers of target variables that are known to come from the source.
        wrong: What is wrong, one line each; also a rule that can't be run, and a source dropped that is needed.
        lines: Of the draft, without comments and blank ones.
        seconds: That drafting took.
    """

    right: int
    abstained: int
    wrong: tuple[str, ...]
    lines: int
    seconds: float


def score(case: Case, mode: str, draft: Drafter, folder: Path) -> Score:
    """Drafts a case and judges it.

    Args:
        case: The case.
        mode: names | shapes | values.
        draft: Two checkpoints -> the mapping file's text.
        folder: For the file.
    """
    source, target = case.seen(mode)
    started = time.perf_counter()
    text = draft(source, target)
    seconds = time.perf_counter() - started
    path = folder / "draft.yaml"
    path.write_text(text, "utf-8")
    found = assign(Mapping.load(path), source, target)
    wrong = [f"{i.name}: {i.message} ({i.where})" for i in found.findings if _is_wrong(i.severity, i.kind)]
    written = {name: move for move in found.moves for name in move.targets}
    judged = {name: _fault(case, name, move) for name, move in written.items()}
    if mode == "values":
        judged = {name: fault and _unlike(source, target, name, written[name], fault) for name, fault in judged.items()}
    wrong += [fault for fault in judged.values() if fault]
    wrong += [f"{fill.target}: filled with {fill.value} ({fill.where})" for fill in found.fills]
    needed = {name for move in case.truth.values() for name in move.sources}
    wrong += [f"{drop.source}: dropped ({drop.where})" for drop in found.drops if drop.source in needed]
    right = sum(not fault for fault in judged.values())
    told = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return Score(right, len(case.truth.keys() - written.keys()), tuple(wrong), len(told), seconds)


def _unlike(source: Checkpoint, target: Checkpoint, name: str, move: Move, fault: str) -> str:
    """The fault, unless the very same bits arrive: nobody can tell such twins apart."""
    arrays = [source.variables[label].tensor.read() for label in move.sources]
    arrives = outputs(move, arrays)[move.targets.index(name)]
    return "" if np.array_equal(arrives, target.variables[name].tensor.read()) else fault


def _is_wrong(severity: str, kind: str) -> bool:
    return severity == "error" and kind not in _HARMLESS


def _fault(case: Case, name: str, move: Move) -> str:
    """What is wrong with a move of the draft; "" for nothing."""
    true = case.truth.get(name)
    told = f"{name}: from {', '.join(move.sources)} {[str(op) for op in move.operations]} ({move.where})"
    if true is None:
        return f"{told}, which nothing is known to become"
    if move.sources != true.sources:
        return f"{told}, is from {', '.join(true.sources)}"
    if not (move.operations or true.operations):
        return ""
    tensors = [case.source.variables[source].tensor for source in move.sources]
    if sum(tensor.size for tensor in tensors) > _LARGE:
        same = list(map(str, move.operations)) == list(map(str, true.operations))
    else:
        numbered = [np.arange(t.size, dtype=np.float64).reshape(t.shape) + _APART * i for i, t in enumerate(tensors)]
        ours, theirs = (outputs(m, numbered)[m.targets.index(name)] for m in (move, true))
        same = ours.shape == theirs.shape and np.array_equal(ours, theirs)
    return "" if same else f"{told}, is by {[str(op) for op in true.operations]}"
