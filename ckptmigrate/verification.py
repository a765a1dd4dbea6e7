"""Verification: every planned tensor, computed again from the source, against the bytes that stand in the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckptmigrate import formats
from ckptmigrate.chosen import Chosen, Enter, MappingOptions, choose
from ckptmigrate.compare import EXACT, Finding, Tolerance, compare_group
from ckptmigrate.configured import flavor_of
from ckptmigrate.errors import DamagedError, MappingError, UsageError
from ckptmigrate.flavors import named_for, seen_from
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.issues import Issue, exit_code
from ckptmigrate.mapping.group import Group, Planned
from ckptmigrate.mapping.options import NATURAL, PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan, row_name
from ckptmigrate.optimizers.dialects import PLACEHOLDER
from ckptmigrate.provenance import Made, digest, how_made
from ckptmigrate.renewal import Renewal, family_of, renewed
from ckptmigrate.report import Report, Row
from ckptmigrate.table import Checkpoint, Entry, Tensor

Progress = Callable[[str, int, int], None]

LEVELS = ("bits", "framework", "forward", "resume")
OWN_MODELS = ("forward", "resume")  # levels that run the user's code, and compare nothing else


def no_progress(phase: str, done: int, total: int) -> None:
    """The progress callback that tells nobody."""


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
        return None if found is not None and found.key in claimed - {told} else found  # read as a slot, it may be told


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


def compare(
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


def total_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes of the tensors' elements."""
    return sum(tensor.nbytes for tensor in tensors)


def verify(
    source: str | Path,
    target: str | Path,
    *,
    level: str = "bits",
    model: str = "",
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Progress = no_progress,
    **mapping: Any,
) -> Report:
    """Checks an output against the source it was made from, long after the run that wrote it.

    Args:
        source, target: Paths as people have them.
        level: bits | framework (the real TensorFlow restores the target too; needs the extra) | forward (two models of
            yours, one restored from each side, give the same outputs) | resume (they train on in the same way). The
            last two compare nothing else.
        model: For levels forward and resume: `PKG.MOD:FN`, as docs/forward.md or docs/resume.md describes it. Its code
            is run.
        steps: For level resume: how many steps both sides train.
        rtol, atol: For levels forward and resume: tolerances, see `framework.forward` and `framework.resume`.
        progress: Told the phase, and how much of how much is done.
        mapping: How the one was made from the other, fields of MappingOptions; without a mapping it is the one that the
            target's provenance names.

    Raises:
        CkptMigrateError: A side can't be read.
    """
    told = {name: v for name, v in (("steps", steps), ("rtol", rtol), ("atol", atol)) if v is not None}
    _check_level(level, model, told)
    with ExitStack() as stack:
        a, b = (stack.enter_context(formats.open_checkpoint(path)) for path in (source, target))
        asked = MappingOptions(**mapping)
        if level in OWN_MODELS:
            return _by_own_models(level, a, b, asked, {"model": model, **told})
        asked, made = how_made(b, asked)
        plan, chosen = _plan_against(a, b, asked, made, stack.enter_context)
        kept = stack.enter_context(formats.open_checkpoint(asked.template)) if asked.template else None
        report = _compared(plan, b, chosen, EXACT, made=made, progress=progress, kept=kept)
        if made is not None:
            report = replace(report, issues=(*report.issues, *_of_template(made, kept, report)))
        if level == "framework" and report.exit_code == 0:
            from ckptmigrate.framework import check

            issues, details = check(b)
            passed = exit_code(issues) == 0
            report = replace(
                report,
                verdict="verified" if passed else "differs",
                issues=(*report.issues, *issues),
                details={**report.details, "framework": details},
            )
        return report


def _of_template(made: Made, given: Checkpoint | None, report: Report) -> tuple[Issue, ...]:
    """A target that was made with a template, which isn't given, or another one is."""
    if not made.template or (given is None and report.verdict == "verified"):
        return ()
    if given is None:
        message = "it was made with a template, which may have told names and values"
        return (Issue("template", "warning", "", message, "--template CKPT, the one that it was made with"),)
    if digest(given) != made.template:
        message = "the template isn't, or isn't any more, the one that the target was made with"
        return (Issue("template", "warning", "", message),)
    return ()


def _check_level(level: str, model: str, told: Mapping[str, float]) -> None:
    if level not in LEVELS:
        raise UsageError(f"--level {level}: expected {' | '.join(LEVELS)}")
    if level not in OWN_MODELS and (model or told.keys() - {"steps"}):
        raise UsageError(f"--model, --rtol and --atol are for --level forward and resume, not {level}")
    if level != "resume" and "steps" in told:
        raise UsageError(f"--steps is for --level resume, not {level}")
    if told.get("steps", 1) < 1:
        raise UsageError(f"--steps {told['steps']}: expected at least one step")
    if level in OWN_MODELS and not model:
        hint = f"--model PKG.MOD:FN; docs/{level}.md says what it names"
        raise UsageError(f"--level {level} runs two models of yours, which --model names", hint=hint)


def _by_own_models(level: str, a: Checkpoint, b: Checkpoint, asked: MappingOptions, told: Mapping[str, Any]) -> Report:
    from ckptmigrate.framework.forward import forward
    from ckptmigrate.framework.resume import resume

    report = (forward if level == "forward" else resume)(a, b, **told)
    if asked == MappingOptions():
        return report
    message = "mapping options play no part here: only what the models do is compared"
    return replace(report, issues=(*report.issues, Issue(level, "note", "", message)))


def diff(
    a: str | Path,
    b: str | Path,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    progress: Progress = no_progress,
    **mapping: Any,
) -> Report:
    """Compares two checkpoints tensor by tensor, under a mapping where one is given.

    Args:
        a, b: Paths as people have them.
        rtol, atol: Tolerances; both 0 compares bits.
        progress: Told the phase, and how much of how much is done.
        mapping: How names of `a` become names of `b`, fields of MappingOptions.
    """
    with ExitStack() as stack:
        left, right = (stack.enter_context(formats.open_checkpoint(path)) for path in (a, b))
        asked = MappingOptions(**mapping)
        plan, chosen = _plan_against(left, right, asked, None, stack.enter_context)
        return _compared(plan, right, chosen, Tolerance(rtol, atol), progress=progress)


def _plan_against(
    a: Checkpoint, b: Checkpoint, asked: MappingOptions, made: Made | None, enter: Enter
) -> tuple[Plan, Chosen]:
    """Plans `a` with `b` as its template, or as `b` was made from it (`made`) where nothing else is needed for that."""
    renewal = renewed(a, asked, b.format) if not family_of(b) else Renewal(a, asked)
    a, asked, made = renewal.source, renewal.asked, renewal.recalled(made)
    if made is not None and not made.template:
        made = replace(made, flavor=flavor_of(a, b.format, b.path.name, made.flavor))
    chosen = _choose(a, b, asked, made, enter)
    if not asked.template and (made is None or not made.template):  # then no value came from a template
        fills = tuple(replace(f, value="zeros") if f.value == "template" else f for f in chosen.assignment.fills)
        chosen = replace(chosen, assignment=replace(chosen.assignment, fills=fills))
    writer, flags = formats.by_name(b.format).writer, made or Made()
    natural = writer.dialects if writer is not None and made is not None else ()
    stored = tuple({o.dialect: None for o in b.optimizers}) if chosen.template is not None else ()
    options = PlanOptions(
        target_format=b.format,
        dialects=stored or natural,
        holds_averages=made is None or writer is None or writer.holds_averages,
        averages=asked.averages or chosen.averages,
        optimizer=flags.optimizer,
        dialect=flags.dialect,
        natural=NATURAL.get(flags.flavor, ""),
        hyper=flags.hyper,
        dtype=flags.dtype,
        blocks=chosen.blocks,
        seed=asked.seed,
        is_comparison=True,
    )
    chosen, plan = renewal.completed(chosen, make_plan(a, chosen.assignment, chosen.template, options))
    if writer is not None and made is not None:
        unheld = writer.check(plan.result(), WriteOptions(template=chosen.template, flavor=flags.flavor))
        plan = plan.without({i.name for i in unheld if i.kind == "unholdable"}, f"{b.format} can't hold it")
    return plan, chosen


def _choose(a: Checkpoint, b: Checkpoint, asked: MappingOptions, made: Made | None, enter: Enter) -> Chosen:
    """What the options choose; a mapping that only `b` names may not be found, or not be the same any more."""
    try:
        flavor = made.flavor if made is not None else ""
        repeats = made is not None and made.repeats(asked)
        chosen = choose(a, asked, enter, template=None if repeats else b, seen=seen_from(b.format, flavor))
        chosen = named_for(a, chosen, b.format, flavor) if repeats else chosen
    except MappingError as error:
        if made is not None and made.mapping == asked.mapping and error.where == "":
            message = f"it says that it was made with the mapping {made.mapping}: {error.message}"
            raise MappingError(message, where=str(b.path), hint="say where it is: --mapping FILE") from error
        raise
    if made is not None and chosen.mapping and made.digest not in ("", chosen.provenance.get("digest")):
        message = "the mapping isn't, or isn't any more, the one that the target was made with"
        return replace(chosen, issues=(*chosen.issues, Issue("mapping", "warning", chosen.mapping, message)))
    return chosen


def _compared(
    plan: Plan,
    b: Checkpoint,
    chosen: Chosen,
    tolerance: Tolerance,
    *,
    made: Made | None = None,
    progress: Progress,
    kept: Checkpoint | None = None,
) -> Report:
    """The report of a plan against the checkpoint `b`.

    Args:
        plan, chosen: What should stand there, and why.
        b: What stands there.
        tolerance: See `compare`.
        made: How it was made, where it says so.
        progress: See `compare`.
        kept: The template it was made with, if any.
    """
    a = plan.source
    writer = formats.by_name(b.format).writer
    keys = writer.keys(plan.result()) if writer is not None else {}
    rows = compare(plan, b, keys, tolerance=tolerance, kept=kept, progress=progress)
    left_out = made.left_out if made is not None else frozenset()
    rows += [_untaken(name, name in left_out, b.format) for name in chosen.assignment.unmatched]
    issues = [i for i in (*a.issues, *b.issues, *chosen.issues, *plan.issues) if i.kind not in _AS_ROWS | _ADVICE]
    passed = all(row.outcome in ("equal", "filled", "dropped") for row in rows)
    return Report(
        source={"path": str(a.path), "format": a.format, "files": [str(f) for f in a.files]},
        target={"path": str(b.path), "format": b.format, "files": [str(f) for f in b.files]},
        verdict="verified" if passed and exit_code(issues, allow_loss=True) == 0 else "differs",
        rows=tuple(rows),
        issues=tuple(issues),
        allow_loss=True,
    )


def _untaken(name: str, is_left_out: bool, target: str) -> Row:
    if is_left_out:
        return Row(name, "", name, "dropped", detail=f"{target} can't hold it: left out when it was made")
    return Row(name, "", name, "missing", detail="no rule takes it")


_AS_ROWS = frozenset({"unmatched", "unfilled"})  # findings that a comparison shows as rows
_ADVICE = frozenset({"approximate", "hyper", "rate"})  # for who converts; it was said then
