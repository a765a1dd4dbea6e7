"""What a checkpoint holds, as plain data: the JSON document of `inspect`, runs of names, statistics of values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmigrate.dtypes import STRING, VARIANT
from ckptmigrate.errors import CkptMigrateError, UsageError
from ckptmigrate.mapping.braces import compile_pattern
from ckptmigrate.mapping.names import Names
from ckptmigrate.table import Checkpoint, OptimizerState, Stored, Tensor, Variable

SCALAR_BYTES = 64  # what may be read without being asked for: counters and hyperparameters, no weights
MAX_RANGES = 4  # a hole names at most this many ranges, so that a line stays a line
CHUNK = 1 << 20  # elements looked at in one go

_NUMBER = re.compile(r"(0|[1-9]\d{0,14})(?!\d)")  # `007` is text; so is anything longer than a counter ever gets


@dataclass(frozen=True, slots=True)
class Run:
    """Names that differ only in numbers, on one line: `block_{0..16}_expand/kernel`.

    Attributes:
        text: The line; the name itself when it stands alone.
        names: The names it stands for, in the order given.
    """

    text: str
    names: tuple[str, ...]


def collapse(names: Sequence[str], signatures: Sequence[Hashable] = ()) -> tuple[Run, ...]:
    """Runs of names that differ only in numbers; a run stands for exactly its names, in the place of the first.

    Numbers that move together (`unit_1 -> block_0`, `unit_2 -> block_1`) are one range, others are a product of ranges.

    Args:
        names: Any texts.
        signatures: One per name; names with different ones never share a run.

    >>> [(run.text, len(run.names)) for run in collapse(["a_0/w", "a_1/w", "a_2/w", "b"])]
    [('a_{0..2}/w', 3), ('b', 1)]
    """
    groups: dict[tuple[tuple[str, ...], Hashable], list[tuple[int, tuple[int, ...]]]] = {}
    for position, name in enumerate(names):
        texts, numbers = _split(name)
        signature = signatures[position] if signatures else None
        groups.setdefault((texts, signature), []).append((position, numbers))
    found: list[tuple[int, Run]] = []
    for (texts, _), members in groups.items():
        for text, positions in _boxes(texts, members):
            found.append((positions[0], Run(text, tuple(names[p] for p in positions))))
    return tuple(run for _, run in sorted(found, key=lambda pair: pair[0]))


def _split(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The texts around a name's numbers, and the numbers."""
    texts, numbers, end = [], [], 0
    for match in re.finditer(r"\d+", name):
        if _NUMBER.fullmatch(match.group()):
            texts.append(name[end : match.start()])
            numbers.append(int(match.group()))
            end = match.end()
    return (*texts, name[end:]), tuple(numbers)


_Box = tuple[tuple[int, ...], ...]  # the values of each independent number


def _boxes(texts: tuple[str, ...], members: list[tuple[int, tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The members as few products of ranges: (line, positions)."""
    if len(members) == 1 or len({numbers for _, numbers in members}) < len(members):
        for position, numbers in members:
            yield _render(texts, [((n,), 0) for n in numbers]), (position,)
        return
    links = _links([numbers for _, numbers in members])
    axes = sorted({axis for axis, _ in links})
    singles: dict[_Box, tuple[int, ...]] = {
        tuple((numbers[a],) for a in axes): (position,) for position, numbers in members
    }
    merged = min((_merge(singles, order) for order in (range(len(axes)), range(len(axes))[::-1])), key=len)
    for box, positions in merged.items():
        values = dict(zip(axes, box, strict=True))
        yield _render(texts, [(values[axis], shift) for axis, shift in links]), positions


def _links(columns: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """For each number: the first number it moves together with, and how far it is from that one."""
    links: list[tuple[int, int]] = []
    for i in range(len(columns[0])):
        shifts = ((j, {row[i] - row[j] for row in columns}) for j in range(i + 1))
        axis, shift = next((j, s) for j, s in shifts if len(s) == 1 and (j == i or links[j] == (j, 0)))
        links.append((axis, shift.pop()))
    return links


def _merge(singles: Mapping[_Box, tuple[int, ...]], order: Iterable[int]) -> dict[_Box, tuple[int, ...]]:
    boxes = dict(singles)
    for axis in order:
        rows: dict[_Box, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
        for box, positions in boxes.items():
            rows.setdefault((*box[:axis], *box[axis + 1 :]), []).append((box[axis], positions))
        boxes = {}
        for rest, parts in rows.items():
            values = tuple(sorted(v for part, _ in parts for v in part))
            positions = tuple(sorted(p for _, part in parts for p in part))
            box = (*rest[:axis], values, *rest[axis:])
            boxes[box] = positions
    return boxes


def _render(texts: tuple[str, ...], holes: Sequence[tuple[tuple[int, ...], int]]) -> str:
    out = [texts[0]]
    for (values, shift), text in zip(holes, texts[1:], strict=True):
        out += [ranges([v + shift for v in values]), text]
    return "".join(out)


def ranges(values: Sequence[int]) -> str:
    """Sorted integers as a person writes them: `{0..3,5}`; one of them is itself.

    >>> ranges([0, 1, 2, 3, 5]), ranges([7])
    ('{0..3,5}', '7')
    """
    if len(values) == 1:
        return str(values[0])
    spans: list[list[int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    texts = [str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}..{b}" for a, b in spans]
    if len(texts) > MAX_RANGES:
        texts = [*texts[:2], "...", texts[-1]]
    return "{" + ",".join(texts) + "}"


def spread(shapes: Iterable[tuple[int, ...]]) -> str:
    """The shape that shapes of one rank share, with the range where an extent differs.

    >>> spread([(3, 3, 16, 32), (3, 3, 32, 32)]), spread([()])
    ('[3,3,16..32,32]', '[]')
    """
    extents = [sorted(set(extent)) for extent in zip(*shapes, strict=True)]
    return "[" + ",".join(str(e[0]) if len(e) == 1 else f"{e[0]}..{e[-1]}" for e in extents) + "]"


def fitting(checkpoint: Checkpoint, text: str) -> frozenset[str]:
    """The names of the variables that a pattern of the mapping language fits, by any of their names.

    Raises:
        UsageError: It is no pattern.
    """
    names = Names(checkpoint)
    try:
        pattern = compile_pattern(text)
    except ValueError as error:
        raise UsageError(
            f"{text} is no pattern: {error}", hint="'block_{n:int}/{leaf}', '{scope:path}/kernel'"
        ) from error
    return frozenset(variable.name for variable in names.fitting(pattern))


def value(tensor: Tensor) -> Any:
    """The value of a scalar of at most 64 bytes as JSON can hold it; None when it is larger or can't be read."""
    if tensor.is_open or tensor.shape != () or tensor.dtype is VARIANT or tensor.nbytes > SCALAR_BYTES:
        return None
    try:
        element = tensor.read()[()]
    except CkptMigrateError:
        return None
    if isinstance(element, bytes):
        return element.decode("utf-8", "backslashreplace")
    if tensor.dtype.is_float:
        return _number(float(element), tensor)
    return element.item() if np.dtype(type(element)).kind in "biu" else str(element)


def _number(number: float, tensor: Tensor) -> float | str:
    """The shortest decimal that is this float32, not its 17 digits; JSON has no word for NaN and infinities."""
    if not math.isfinite(number):
        return str(number)
    return number if tensor.dtype.name == "float64" else float(str(np.float32(number)))


def statistics(tensor: Tensor) -> dict[str, Any]:
    """Looks at every element, a million at a time: min, max, mean, std of the finite ones; zeros, NaN and Inf counts.

    Strings and variants have a count only; of complex numbers the absolute values are taken.
    """
    if tensor.is_open or tensor.dtype in (STRING, VARIANT):
        return {"elements": tensor.size}
    flat = tensor.read().reshape(-1)
    count, mean, m2, zeros, nans, infs = 0, 0.0, 0.0, 0, 0, 0
    low, high = math.inf, -math.inf
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        part = np.abs(part).astype(np.float64) if part.dtype.kind == "c" else part.astype(np.float64)
        zeros, nans, infs = (
            zeros + int((part == 0).sum()),
            nans + int(np.isnan(part).sum()),
            infs + int(np.isinf(part).sum()),
        )
        part = part[np.isfinite(part)]
        if not part.size:
            continue
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        # Chan's update: the squares of a large mean would swallow a small deviation
        delta, total = float(part.mean()) - mean, count + part.size
        m2 += float(part.var()) * part.size + delta * delta * count * part.size / total
        mean, count = mean + delta * part.size / total, total
    numbers = {"min": low, "max": high, "mean": mean, "std": math.sqrt(m2 / count)} if count else {}
    return {"elements": int(flat.size), **numbers, "zeros": zeros, "nan": nans, "inf": infs}


def inspect_json(
    checkpoint: Checkpoint, *, keep: Callable[[Variable], bool] = lambda variable: True, stats: bool = False
) -> dict[str, Any]:
    """The JSON document of `inspect` (design section 5). Reads small scalars, no more without `stats`.

    Args:
        checkpoint: Any checkpoint.
        keep: Which variables to list, with their slots.
        stats: Read every listed tensor and add its statistics.
    """
    kept = {v.name: v for v in checkpoint.variables.values() if keep(v)}
    everything = len(kept) == len(checkpoint.variables)

    def listed(variable: str) -> bool:
        return variable in kept or (everything and variable not in checkpoint.variables)

    return {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "files": [str(f) for f in checkpoint.files],
        "metadata": dict(checkpoint.metadata),
        "variables": [_variable(v, stats) for v in kept.values()],
        "optimizers": [_optimizer(state, listed, stats) for state in checkpoint.optimizers],
        "issues": [issue.to_json() for issue in checkpoint.issues],
    }


def _variable(variable: Variable, stats: bool) -> dict[str, Any]:
    tensor = variable.tensor
    document = {
        "name": variable.name,
        "key": variable.key,
        "dtype": tensor.dtype.name,
        "shape": None if tensor.is_open else list(tensor.shape),
        "nbytes": tensor.nbytes,
        "role": variable.role,
        "trainable": variable.trainable,
        "aliases": {system: list(names) for system, names in variable.aliases.items()},
        "copies": list(variable.copies),
    }
    if variable.role == "counter":
        document["value"] = value(tensor)
    return document | ({"stats": statistics(tensor)} if stats else {})


def _optimizer(state: OptimizerState, listed: Callable[[str], bool], stats: bool) -> dict[str, Any]:
    def stored(item: Stored) -> dict[str, Any]:
        tensor = item.tensor
        numbers = {"stats": statistics(tensor)} if stats else {}
        return {"key": item.key, "dtype": tensor.dtype.name, "shape": list(tensor.shape), **numbers}

    document: dict[str, Any] = {
        "name": state.name,
        "kind": state.kind,
        "dialect": state.dialect,
        "step": state.step,
        "hyper": dict(state.hyper),
        "scalars": [{"name": n, **stored(s), "value": value(s.tensor)} for n, s in state.scalars.items()],
        "slots": [
            {"variable": k.variable, "slot": k.slot, **stored(s)} for k, s in state.slots.items() if listed(k.variable)
        ],
    }
    if state.unbound:
        document["unbound"] = [stored(s) for s in state.unbound]
    if state.wraps is not None:
        document["wraps"] = _optimizer(state.wraps, listed, stats)
    if state.parent:
        document["parent"] = state.parent
    return document
