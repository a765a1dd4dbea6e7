"""In which order a list-based optimizer has the variables it trains: as a list tells, a graph, or names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple

from ckptmigrate.formats.object_paths import depth_first, paths_of
from ckptmigrate.formats.object_view import variable_names
from ckptmigrate.optimizers.list_layout import LISTED
from ckptmigrate.table import Checkpoint, OptimizerState

_NUMBERED = re.compile(r"(?:layer_with_weights-)?(\d{1,9})", re.ASCII)
# Weights of one layer as Keras makes them; name-based files have them by the alphabet.
_MADE = ("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "gamma", "beta", "bias")


class Order(NamedTuple):
    """The trained variables, by name, and what tells their order."""

    names: tuple[str, ...]
    told_by: Literal["list", "graph", "names"]


def trained_order(
    state: OptimizerState, held: Collection[str], checkpoint: Checkpoint, template: Checkpoint | None
) -> Order:
    """The order for a state of dialect keras2 or keras3.

    Args:
        state: The state.
        held: The variables that it or its averages have slots of.
        checkpoint: What it belongs to.
        template: The template, whose optimizer's list, then whose graph is asked first.
    """
    lists = [_listed(template, state.name)] if template is not None else []
    for names in [*lists, tuple(n for n in _owners(state) if n in held)]:
        if set(held) <= set(names):
            return Order(names, "list")
    graph = (template or checkpoint).structure.objects
    if graph is not None:
        paths = paths_of(graph)
        found = variable_names(graph, paths)
        names = tuple(found[n] for n in depth_first(graph, paths.optimizers) if found.get(n) in held)
        if set(held) <= set(names):
            return Order(names, "graph")
    return Order(tuple(by_layers(name for name in checkpoint.variables if name in held)), "names")


def _listed(template: Checkpoint, name: str) -> tuple[str, ...]:
    """The variables that the template's optimizer of that name trains, else its only one."""
    told = {s.name: s for s in _all(template.optimizers) if s.dialect in LISTED and s.order and s.kind != "ema"}
    state = told.get(name) or (next(iter(told.values())) if len(told) == 1 else None)
    return tuple(_owners(state)) if state is not None else ()


def _all(states: Iterable[OptimizerState]) -> Iterator[OptimizerState]:
    for state in states:
        yield state
        if state.wraps is not None:
            yield state.wraps


def _owners(state: OptimizerState) -> dict[str, None]:
    return dict.fromkeys(key.variable for key in state.order)


def by_layers(names: Iterable[str]) -> list[str]:
    """Paths in the order of layers: numbered ones by number, others as they come, own weights before inner layers.

    >>> by_layers(["m/layer_with_weights-10/kernel", "m/layer_with_weights-2/bias", "m/layer_with_weights-2/kernel"])
    ['m/layer_with_weights-2/kernel', 'm/layer_with_weights-2/bias', 'm/layer_with_weights-10/kernel']
    """
    listed = [name.split("/") for name in names]
    seen: dict[tuple[int, str], int] = {}
    ranks: list[list[tuple[int, int]]] = []
    leaves: dict[int, set[str]] = defaultdict(set)
    for parts in listed:
        above, rank = 0, []
        for part in parts[:-1]:
            above = seen.setdefault((above, part), len(seen) + 1)
            number = _NUMBERED.fullmatch(part)
            rank.append((1, int(number[1]) if number else above))
        leaves[above].add(parts[-1].removeprefix("_"))
        ranks.append([*rank, (0, above)])
    known = {above for above, here in leaves.items() if here <= set(_MADE)}
    made = [
        _MADE.index(parts[-1].removeprefix("_")) if rank[-1][1] in known else at
        for at, (parts, rank) in enumerate(zip(listed, ranks, strict=True))
    ]
    order = sorted(range(len(listed)), key=lambda at: [*ranks[at][:-1], (0, made[at])])
    return ["/".join(listed[at]) for at in order]
