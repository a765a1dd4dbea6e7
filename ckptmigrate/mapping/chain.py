"""Chain: a plan made from another plan's result, told and verified as one plan from the first one's source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ckptmigrate.mapping.group import Group, Planned
from ckptmigrate.mapping.plan import Plan
from ckptmigrate.report import Row


def chained(first: Plan, second: Plan) -> Plan:
    """One plan for two.

    Args:
        first: Every group of it has one output.
        second: Made from the first one's result, with other metadata and structure perhaps; every group has one source.

    Returns:
        The second plan, with what the first one made each of its sources from.
    """
    made = {_label(p): p.group for p in first.planned if p.group is not None}
    planned = tuple(replace(p, group=_behind(p.group, made)) if p.group else p for p in second.planned)
    left_out = tuple(_told(row, made) for row in second.dropped)
    return replace(second, planned=planned, dropped=(*first.dropped, *left_out))


def _label(planned: Planned) -> str:
    """What the second plan calls what the first one made."""
    if planned.slot:
        return planned.name if planned.slot == "?" else f"{planned.name}:{planned.slot}"
    return f"{planned.optimizer}.{planned.name}" if planned.optimizer else planned.name


def _told(row: Row, made: Mapping[str, Group]) -> Row:
    """What the second plan leaves out, as the first one's source calls it."""
    group = made.get(f"{row.name}:{row.slot}" if row.slot not in ("", "?") else row.name)
    return row if group is None else replace(row, source=", ".join(group.labels))


def _behind(group: Group, made: Mapping[str, Group]) -> Group:
    """A group whose steps follow those that made its source."""
    (label,) = group.labels
    front = made.get(label, Group(group.labels, group.sources))
    return Group(front.labels, front.sources, (*front.steps, *group.steps))
