"""Scalars of name-based optimizers: which beta powers belong to which slots, and the loss scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.adam import POWERS, block_of, read_step
from ckptmigrate.optimizers.catalog import LOSS_SCALE
from ckptmigrate.optimizers.owners import without_part
from ckptmigrate.optimizers.scalars import scalar_value
from ckptmigrate.table import OptimizerState, Stored, Tensor

T = TypeVar("T")

_POWER = re.compile(r"(?:(?P<scope>.*)/)?(?P<name>beta[12]_power)(?:_(?P<number>[0-9]{1,6}))?", re.DOTALL | re.ASCII)


class Powers(NamedTuple):
    """The beta powers that one Adam created, or the one of an AdaMax: in which scope, and the number behind them."""

    scope: str
    number: int
    powers: dict[str, Stored]  # beta1_power, and of an Adam beta2_power

    @property
    def is_pair(self) -> bool:
        """True for an Adam's."""
        return len(self.powers) == len(POWERS)


def is_power(key: str) -> bool:
    """True for the name of a beta power, in any scope."""
    return "_power" in key and _POWER.fullmatch(key) is not None


def stored_powers(tensors: Mapping[str, Tensor], taken: frozenset[str]) -> list[Powers]:
    """All powers of the file, in order of scope and number."""
    pairs: dict[tuple[str, int], dict[str, Stored]] = {}
    for key, tensor in tensors.items():
        found = _POWER.fullmatch(key) if "_power" in key else None
        if found and key not in taken and tensor.size == 1 and tensor.dtype.is_float:
            where = (found["scope"] or "", int(found["number"] or 0))
            pairs.setdefault(where, {})[found["name"]] = Stored(key, tensor)
    return [Powers(*where, powers) for where, powers in sorted(pairs.items()) if POWERS[0] in powers]


def with_powers(
    states: Sequence[OptimizerState], powers: Sequence[Powers], issues: list[Issue]
) -> list[OptimizerState]:
    """The Adams of `states`, given their powers, and the AdaMaxes: by scope, else in the order both were created in.

    Powers that can't be told apart all go to the first Adam without any, which then has no step unless they agree.
    """
    given = _given(states, ("adam", "adamw"), [p for p in powers if p.is_pair], issues)
    given |= _given(states, ("adamax",), [p for p in powers if not p.is_pair], issues)
    return [_with(state, given.get(i, ())) for i, state in enumerate(states)]


def _given(
    states: Sequence[OptimizerState], kinds: Sequence[str], pairs: Sequence[Powers], issues: list[Issue]
) -> dict[int, list[Powers]]:
    given: dict[int, list[Powers]] = {}
    adams = [i for i, state in enumerate(states) if state.kind in kinds]
    by_scope = _grouped((_scope(states[i]), i) for i in adams)
    for scope, found in _grouped((pair.scope, pair) for pair in pairs).items():
        if scope and len(found) == len(by_scope.get(scope, ())) == 1:
            given[by_scope[scope][0]] = found
    paired = {found[0].scope for found in given.values()}
    rest = [pair for pair in pairs if pair.scope not in paired]
    free = [i for i in adams if i not in given]
    if len(free) == len(rest) and (len(free) == 1 or _in_one_series([states[i] for i in free])):
        given |= {i: [pair] for i, pair in zip(free, rest, strict=True)}
    elif free and rest:
        given[free[0]] = rest
        issues += _unclear(states[free[0]], len(free), rest)
    return given


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for name, member in pairs:
        groups.setdefault(name, []).append(member)
    return groups


def _scope(state: OptimizerState) -> str:
    """The scope that stands in front of the variables in the keys of the slots."""
    key, stored = next(iter(state.slots.items()))
    return without_part(stored.key.rpartition("/")[0], key.variable)[: -len(key.variable) - 1]


def _in_one_series(states: Sequence[OptimizerState]) -> bool:
    """True for optimizers of one title that train the same variables: `Adam`, `Adam_2`."""
    return len({frozenset(key.variable for key in state.slots) for state in states}) == 1


def _with(state: OptimizerState, pairs: Sequence[Powers]) -> OptimizerState:
    if not pairs:
        return state
    scalars = dict(state.scalars)
    for index, pair in enumerate(pairs):
        scalars |= {f"{name}_{index}" if index else name: stored for name, stored in pair.powers.items()}
    return replace(state, scalars=scalars, step=read_step(scalars, state.hyper).step)


def _unclear(state: OptimizerState, adams: int, pairs: Sequence[Powers]) -> list[Issue]:
    values = {tuple(scalar_value(pair.powers.get(name)) for name in POWERS) for pair in pairs}
    if len(values) == 1 and adams == 1:
        return []
    keys = ", ".join(pair.powers[POWERS[0]].key for pair in pairs[:4])
    text = (
        f"{len(pairs)} sets of beta powers ({keys}), {adams} of {state.kind} slots: names can't tell which go together."
    )
    hint = block_of(state.name)
    return [Issue("guess", "warning", state.name, text, hint)]


def with_loss_scale(states: Sequence[OptimizerState], tensors: Mapping[str, Tensor]) -> list[OptimizerState]:
    """Loss scaling exists once a graph: it goes to the first optimizer."""
    found = {name: Stored(name, tensors[name]) for name in LOSS_SCALE if name in tensors and tensors[name].shape == ()}
    first = next((i for i, state in enumerate(states) if state.kind != "ema"), None)
    if first is None or len(found) < len(LOSS_SCALE):
        return list(states)
    return [replace(s, scalars={**s.scalars, **found}) if i == first else s for i, s in enumerate(states)]
