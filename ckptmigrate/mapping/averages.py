"""What happens to averages (ExponentialMovingAverage, use_ema): kept beside the raw weights, used, or dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.options import Planning
from ckptmigrate.report import Row
from ckptmigrate.table import OptimizerState, Stored

EMA = "ema"
AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Shadows:
    """The decision.

    Attributes:
        values: `use`: the averages that take the place of raw values, by variable.
        kept: `keep`: the states that go along.
        dropped: Report rows of what isn't written.
    """

    values: Mapping[str, Stored] = field(default_factory=dict)
    kept: tuple[OptimizerState, ...] = ()
    dropped: tuple[Row, ...] = ()


def choose(planning: Planning) -> Shadows:
    """Decides by flag or mapping, else `keep` where the target can hold them, else a loss that names the ways on."""
    source, mode = planning.source, planning.options.averages
    found = tuple(state for state in source.optimizers if state.kind == EMA)
    if not found:
        if mode == "use":
            planning.report(Issue("averages", "warning", "", "--averages use: the source holds no averages"))
        return Shadows()
    names = [key.variable for state in found for key in state.slots]
    if mode == "use":
        return _use(planning, found)
    if mode == "drop":
        return Shadows(dropped=_rows(found, "--averages drop"))
    if not planning.options.holds_averages:
        message = f"{len(names)} averages, which the target can't hold beside the raw weights"
        hint = "--averages use writes them in place of the raw weights, --averages drop leaves them out"
        planning.report(
            Issue("unholdable", "error" if mode == "keep" else "loss", names[0] if names else "", message, hint)
        )
        return Shadows(dropped=_rows(found, "the target can't hold averages"))
    message = f"the weights written are the raw ones; the averages of {len(names)} variables stand beside them"
    planning.report(Issue("averages", "note", "", message, "--averages use writes the averages as the weights"))
    return Shadows(kept=found)


def _use(planning: Planning, found: tuple[OptimizerState, ...]) -> Shadows:
    values: dict[str, Stored] = {}
    rest: list[Row] = []
    for state in found:
        for key, stored in state.slots.items():
            if key.slot == AVERAGE and key.variable not in values:
                values[key.variable] = stored
            else:
                rest.append(Row(key.variable, key.slot, stored.key, "dropped", detail="no average of a variable"))
    raw = [v.name for v in planning.source.variables.values() if v.name not in values and v.role in ("weight", "other")]
    message = f"{len(values)} weights are written from their averages"
    if raw:
        message += f"; {len(raw)} have none and stay raw (first: {raw[0]})"
    planning.report(Issue("averages", "note", "", message))
    scalars = [Row(name, "", s.key, "dropped", detail="averages used") for f in found for name, s in f.scalars.items()]
    return Shadows(values=values, dropped=(*rest, *scalars))


def left_out(shadows: Shadows, written: Collection[str]) -> list[Row]:
    """Rows of the raw values that averages replace, and of the averages of variables that aren't written."""
    return [
        Row(name, "", name, "dropped", detail="its average is written in its place")
        if name in written
        else Row(name, AVERAGE, stored.key, "dropped", detail="its variable isn't written")
        for name, stored in shadows.values.items()
    ]


def _rows(found: tuple[OptimizerState, ...], why: str) -> tuple[Row, ...]:
    return tuple(
        Row(key.variable, key.slot, stored.key, "dropped", detail=why)
        for state in found
        for key, stored in state.slots.items()
    ) + tuple(Row(name, "", s.key, "dropped", detail=why) for state in found for name, s in state.scalars.items())
