"""A plan against the output that was made by it: where each planned tensor stands, and whether it is equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from ckptmigrate.compare import EXACT, Finding, Tolerance, compare_group
from ckptmigrate.errors import DamagedError
from ckptmigrate.mapping.group import Group, Planned
from ckptmigrate.mapping.plan import Plan, row_name
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.progress import Progress, no_progress
from ckptmigrate.report import Row
from ckptmigrate.table import Checkpoint, Entry


@dataclass(frozen=True, slots=True)
class Places:
    """The tensors of an output by their place, and by their stored key."""

    by_place: Mapping[tuple[str, str, str], Entry]
    by_label: Mapping[tuple[str, str], Entry | None]
    by_key: Mapping[str, Entry]

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Places:
        """Indexes a checkpoint's rows; a label that two optimizers share stands for None."""
        places: dict[tuple[str, str, str], Entry] = {}
        labels: dict[tuple[str, str], Entry | None] = {}
        keys: dict[str, Entry] = {}
        for entry in checkpoint.rows():
            places[entry.optimizer, entry.name, entry.slot] = entry
            label = entry.name, entry.slot or ("." if entry.optimizer else "")
            labels[label] = None if label in labels else entry
            keys[entry.key] = entry
        return cls(places, labels, keys)

    def find(
        self, planned: Planned, keys: Mapping[tuple[str, str, str], str], claimed: Set[str], name: str
    ) -> Entry | None:
        """Where a planned tensor stands: under the key or name its writer gives, else at its place, else by variable
        and slot (name-based files keep no names of optimizers), else under the key it kept, which may be its name.

        Args:
            planned, keys, claimed: As `_found` has them.
            name: What its variable is called in the output.
        """
        told = keys.get(planned.place, "\0")
        found = self.by_key.get(told)
        if found is not None and found.slot == planned.slot and found.name.startswith(planned.name):
            return found  # of two pairs of powers the second is read as beta1_power_1
        if (found := self.by_place.get((planned.optimizer, told, planned.slot))) is not None:
            return found
        label = name, planned.slot or ("." if planned.optimizer else "")
        key = planned.key or ("" if planned.slot or planned.optimizer else planned.name)
        place = planned.optimizer, name, planned.slot
        found = self.by_place.get(place) or self.by_label.get(label) or self.by_key.get(key)
        is_anothers = found is not None and found.key in claimed - {told}
        return None if is_anothers else found


def _found(
    planned: Sequence[Planned], written: Checkpoint, keys: Mapping[tuple[str, str, str], str]
) -> dict[tuple[str, str, str], Entry]:
    """Where every planned tensor stands; no two at one place."""
    places, claimed = Places.of(written), frozenset(keys.values())
    found: dict[tuple[str, str, str], Entry] = {}
    taken: set[str] = set()
    called: dict[str, str] = {}  # variable -> its name in the output, which its slots go by
    for p in planned:
        entry = places.find(p, keys, claimed, called.get(p.name, p.name) if p.slot else p.name)
        if entry is not None and entry.key not in taken:
            found[p.place] = entry
            taken.add(entry.key)
            if not p.optimizer:
                called[p.name] = entry.name
    return found


def compare_plan(
    plan: Plan,
    written: Checkpoint,
    keys: Mapping[tuple[str, str, str], str],
    *,
    tolerance: Tolerance = EXACT,
    kept: Checkpoint | None = None,
    progress: Progress = no_progress,
) -> list[Row]:
    """The report's rows: every planned tensor compared, what is missing, what is extra, what was left out.

    Args:
        plan: What should stand there.
        written: The output, opened again.
        keys: The keys that its writer gives, see `formats.format.Writer.keys`.
        tolerance: For `diff`; verification is exact.
        kept: The template, some of whose values may stand in the output although nobody planned them: a SavedModel's
            graph wants all of its variables.
        progress: Told how far it is.

    Raises:
        DamagedError: Bytes of either side don't fit their checksum.
    """
    found = _found(plan.planned, written, keys)
    findings: dict[tuple[str, str, str], Finding] = {}
    groups = list(_groups(plan.planned))
    for number, (group, members) in enumerate(groups):
        progress("verify", number, len(groups))
        tensors = {p.index: entry.tensor for p in members if (entry := found.get(p.place)) is not None}
        try:
            results = compare_group(group, tensors, tolerance)
        except DamagedError as error:
            error.where = error.where or members[0].source or members[0].name
            raise
        findings |= {p.place: results[p.index] for p in members if p.index in results}
    progress("verify", len(groups), len(groups))
    rows = [_row(p, findings.get(p.place, Finding("missing"))) for p in plan.planned]
    accounted = {entry.key for entry in found.values()}
    stays = _by_key(kept) if kept is not None and kept.format == written.format else {}
    unplanned = [e for e in written.rows() if _is_extra(e, accounted)]
    return rows + list(plan.dropped) + [_unplanned(e, stays.get(e.key)) for e in unplanned]


def _groups(planned: Sequence[Planned]) -> Iterator[tuple[Group, list[Planned]]]:
    """Planned tensors that are outputs of one group together; those with a stated value one by one."""
    members: dict[int, list[Planned]] = {}
    for p in planned:
        if p.group is None:
            yield Group((), (p.tensor,)), [p]
        else:
            members.setdefault(id(p.group), []).append(p)
    for together in members.values():
        group = together[0].group
        assert group is not None
        yield group, together


def _row(planned: Planned, finding: Finding) -> Row:
    outcome = "filled" if planned.origin == "filled" and finding.outcome == "equal" else finding.outcome
    detail = "; ".join(text for text in (planned.detail, finding.detail) if text)
    return Row(row_name(planned), planned.slot, planned.source, outcome, planned.steps, finding.proof, detail)


def _is_extra(entry: Entry, accounted: set[str]) -> bool:
    """Whether nobody planned this tensor. What writers make anew is no extra, there and from there.

    That is TF2's save_counter, and what lists have in the place of a slot that isn't.
    """
    made = entry.name.startswith(f"{PLACEHOLDER}/") if entry.optimizer else entry.name == "save_counter"
    return entry.key not in accounted and not made


def _by_key(checkpoint: Checkpoint) -> dict[str, Entry]:
    return {entry.key: entry for entry in checkpoint.rows()}


def _unplanned(entry: Entry, kept: Entry | None) -> Row:
    """The row of a tensor that nobody planned: a value that stayed the template's, bit for bit, or an extra one."""
    name = entry.name if entry.slot else entry.label
    if kept is not None:
        finding = compare_group(Group((), (kept.tensor,)), {0: entry.tensor})[0]
        if finding.outcome == "equal":
            return Row(name, entry.slot, "", "filled", detail="stays the template's")
    return Row(name, entry.slot, "", "extra", detail=f"nobody planned it: {entry.key}")
