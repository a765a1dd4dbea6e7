"""Averages: there, and not used; or the other way round."""

from __future__ import annotations

from collections.abc import Iterator

from ckptmigrate.doctor.case import EMA, Case
from ckptmigrate.doctor.scan import agree
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.issues import Issue
from ckptmigrate.table import OptimizerState


def examine_averages(case: Case) -> Iterator[Issue]:
    """Averages beside raw weights, which is what a restore takes."""
    wanted = _wanted(case)
    states = [state for state in case.checkpoint.optimizers if state.kind == EMA]
    if not states and wanted:
        message = "the pipeline evaluates moving averages (use_moving_averages), and the checkpoint holds none"
        yield Issue("averages", "error", "", message, "set use_moving_averages: false")
    for state in states:
        if state.slots and not _is_applied(case, state):
            yield _beside(case, state, wanted)


def _beside(case: Case, state: OptimizerState, wanted: bool | None) -> Issue:
    message = (
        f"averages of {len(state.slots):,} variables stand beside the raw weights: a restore takes the raw ones, and "
        "does worse where it was the averages that were evaluated"
    )
    if state.dialect == "tf1":
        other = "Saver(ExponentialMovingAverage(decay).variables_to_restore()) restores the averages in TF1"
    else:
        other = "Keras puts them in place at the end of fit() only (use_ema, finalize_variable_values)"
    hint = f"{case.convert('--averages', 'use')}\n{other}"
    severity = "note" if wanted is False else "warning"
    return Issue("averages", severity, state.name, message, hint)  # type: ignore[arg-type]


def _is_applied(case: Case, state: OptimizerState) -> bool:
    """Whether the variables are the averages already, bit for bit."""
    variables = case.checkpoint.variables
    try:
        return all(
            key.variable in variables and agree(stored.tensor, variables[key.variable].tensor)
            for key, stored in state.slots.items()
        )
    except CkptMigrateError:
        return False


def _wanted(case: Case) -> bool | None:
    """What the pipeline says; None where there is none, or it doesn't say."""
    told = case.pipeline.text_of("eval_config", "use_moving_averages") if case.pipeline is not None else None
    return None if told is None else told == "true"
