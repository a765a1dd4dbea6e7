"""Verification: every planned tensor, computed again from the source, against the bytes that stand in the output."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptmigrate import formats
from ckptmigrate.chosen import Chosen, Enter, MappingOptions, choose, with_own_slots
from ckptmigrate.compare import EXACT, Tolerance
from ckptmigrate.compare_plan import compare_plan
from ckptmigrate.configured import flavor_of
from ckptmigrate.errors import MappingError, UsageError
from ckptmigrate.flavors import named_for, seen_from
from ckptmigrate.formats.format import WriteOptions
from ckptmigrate.issues import Issue, exit_code
from ckptmigrate.mapping.options import NATURAL, PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan
from ckptmigrate.progress import Progress, no_progress
from ckptmigrate.provenance import Made, digest, how_made
from ckptmigrate.renewal import Renewal, family_of, renewed
from ckptmigrate.report import Report, Row
from ckptmigrate.table import Checkpoint

LEVELS = ("bits", "framework", "forward", "resume")
OWN_MODELS = ("forward", "resume")  # levels that run the user's code, and compare nothing else


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
        return _told_apart(_compared(plan, right, chosen, Tolerance(rtol, atol), progress=progress), asked)


def _told_apart(report: Report, asked: MappingOptions) -> Report:
    """A comparison of equals: nobody made one of the other, so what only one has, or has otherwise, differs."""
    shapes = {issue.name: issue for issue in report.issues if issue.kind == "shape"}

    def told(row: Row) -> Row:
        if row.outcome == "missing" and not asked.mapping:
            return replace(row, detail="only A has it")
        if row.outcome != "extra":
            return row
        if row.name in shapes:
            return replace(row, outcome="differs", detail=shapes[row.name].message.replace("the template's", "B's"))
        return replace(row, detail="only B has it")

    issues = tuple(issue for issue in report.issues if issue.kind != "shape")
    return replace(report, rows=tuple(map(told, report.rows)), issues=issues)


def _plan_against(
    a: Checkpoint, b: Checkpoint, asked: MappingOptions, made: Made | None, enter: Enter
) -> tuple[Plan, Chosen]:
    """Plans `a` with `b` as its template, or as `b` was made from it (`made`) where nothing else is needed for that."""
    renewal = renewed(a, asked, b.format) if not family_of(b) else Renewal(a, asked)
    a, asked, made = renewal.source, renewal.asked, renewal.recalled(made)
    if made is not None and not made.template:
        made = replace(made, flavor=flavor_of(a, b.format, b.path.name, made.flavor))
    a, chosen = _choose(a, b, asked, made, enter)
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


def _choose(
    a: Checkpoint, b: Checkpoint, asked: MappingOptions, made: Made | None, enter: Enter
) -> tuple[Checkpoint, Chosen]:
    """What the options choose, and `a` as the mapping sees it; one that only `b` names may not be found, or not be the
    same any more.
    """
    try:
        a = with_own_slots(a, asked, b.format)
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
        chosen = replace(chosen, issues=(*chosen.issues, Issue("mapping", "warning", chosen.mapping, message)))
    return a, chosen


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
        tolerance: See `compare_plan`.
        made: How it was made, where it says so.
        progress: See `compare_plan`.
        kept: The template it was made with, if any.
    """
    a = plan.source
    writer = formats.by_name(b.format).writer
    keys = writer.keys(plan.result()) if writer is not None else {}
    rows = compare_plan(plan, b, keys, tolerance=tolerance, kept=kept, progress=progress)
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
