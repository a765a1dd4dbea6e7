"""Loss scaling: a pair of scalars beside an optimizer's own, which Keras 3 keeps in an optimizer around it.

TF1, legacy Keras and tf_keras have `current_loss_scale` and `good_steps`; Keras 3's LossScaleOptimizer the same as
`dynamic_scale` and `step_counter`, beside a step of 0 and a rate of 0 that nothing reads, and the optimizer within.
Files of tf_keras tell of the wrapper, too, but leave its scalars out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ckptmigrate.dtypes import FLOAT32, INT64
from ckptmigrate.optimizers.catalog import LOSS_SCALE
from ckptmigrate.table import OptimizerState, Stored, Tensor

WRAPPER = "loss_scale"
INNER = "inner_optimizer"
OUTER = f"{WRAPPER}/"  # before the wrapper's own scalars, where one state holds all

# The wrapper's scalars in its own order -> what they are called beside those of the optimizer within.
WRAPPER_SCALARS: Mapping[str, str] = {
    "iter": f"{OUTER}iter",
    "learning_rate": f"{OUTER}learning_rate",
    "step_counter": "good_steps",
    "dynamic_scale": "current_loss_scale",
}
_FIRST_SCALE = 2.0**15  # Keras' default
_IDLE = {
    "good_steps": Stored("", Tensor.of(np.zeros((), np.int64), INT64)),
    "current_loss_scale": Stored("", Tensor.of(np.array(_FIRST_SCALE, np.float32), FLOAT32)),
    f"{OUTER}iter": Stored("", Tensor.of(np.zeros((), np.int64), INT64)),
    f"{OUTER}learning_rate": Stored("", Tensor.of(np.zeros((), np.float32), FLOAT32)),
}


def is_scaled(state: OptimizerState) -> bool:
    """Whether it scales the loss."""
    return all(name in state.scalars for name in LOSS_SCALE)


def is_wrapped(states: Sequence[OptimizerState], name: str) -> bool:
    """Whether there is an optimizer in the one of that name."""
    return any(state.name == f"{name}/{INNER}" for state in states)


def folded(states: Sequence[OptimizerState]) -> list[OptimizerState]:
    """One state for each wrapper and the optimizer within, under the wrapper's name; others as they are."""
    flat = [one for state in states for one in _unnested(state)]
    by_name = {state.name: state for state in flat}
    pairs = {
        state.name: inner
        for state in flat
        if state.kind == WRAPPER and not state.slots and (inner := by_name.get(f"{state.name}/{INNER}"))
    }
    within = {inner.name for inner in pairs.values()}
    return [_joined(s, pairs[s.name]) if s.name in pairs else s for s in flat if s.name not in within]


def _unnested(state: OptimizerState) -> tuple[OptimizerState, ...]:
    return (state,) if state.wraps is None else (replace(state, wraps=None), *_unnested(state.wraps))


def _joined(outer: OptimizerState, inner: OptimizerState) -> OptimizerState:
    own = {WRAPPER_SCALARS.get(name, OUTER + name): stored for name, stored in outer.scalars.items()}
    unbound = (*inner.unbound, *outer.unbound)
    return replace(inner, name=outer.name, scalars={**inner.scalars, **own}, unbound=unbound)


def parted(state: OptimizerState) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """The wrapper's scalars under their own names, completed, and those of the optimizer within."""
    taken = {*WRAPPER_SCALARS.values()}
    within = {name: stored for name, stored in state.scalars.items() if name not in taken}
    if state.dialect != "keras3":
        return {}, within
    return {name: {**_IDLE, **state.scalars}[flat] for name, flat in WRAPPER_SCALARS.items()}, within
