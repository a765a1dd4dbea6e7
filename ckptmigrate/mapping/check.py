"""Check: what can be said of a mapping without a checkpoint: there and back, examples, what shapes can't prove."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ckptmigrate.issues import Issue, Severity
from ckptmigrate.mapping.assignment import Assignment
from ckptmigrate.mapping.match import Matcher, Taken
from ckptmigrate.mapping.operations import reversibility, unproven
from ckptmigrate.mapping.pattern import LEADING, Binding, Pattern, Value
from ckptmigrate.mapping.reading import Formula, Hole
from ckptmigrate.mapping.rules import Mapping, Rule, Side
from ckptmigrate.table import Checkpoint

Verdict = Literal["reversible", "needs template", "one-way"]

MAX_TRIALS = 2000  # names made from one rule
MAX_RANGE = 40  # integers tried of a range


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """What was found about one rule.

    Attributes:
        where, text: file:line and the rule in one line.
        verdict, reason: Whether it can be used backwards, and why not.
        unproven: What equal shapes don't prove; only comparing the models' outputs does.
    """

    where: str
    text: str
    verdict: Verdict
    reason: str = ""
    unproven: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict


class Check(NamedTuple):
    """The outcome of checking a mapping.

    Attributes:
        mapping: The mapping.
        rules: One for each of its rules, included ones behind its own.
        findings: Of its names and examples; with a checkpoint also the assignment's.
        assignment: What it makes of the checkpoint, if one was given.
    """

    mapping: Mapping
    rules: tuple[RuleCheck, ...]
    findings: tuple[Issue, ...]
    assignment: Assignment | None = None


def check(
    mapping: Mapping, source: Checkpoint | None = None, template: Checkpoint | None = None, *, strict: bool = False
) -> Check:
    """Checks a mapping: maps made-up names there and back, runs its examples, and says what shapes can't prove.

    Args:
        mapping: The mapping.
        source: A checkpoint to try it on.
        template: A checkpoint of the target model to try it with.
        strict: Make errors of warnings.
    """
    trial = _Trial(mapping, "error" if strict else "warning")
    rules = tuple(trial.rule(rule) for rule in mapping.rules)
    findings = trial.findings + run_examples(mapping)
    assignment = mapping.assign(source, template) if source else None
    return Check(mapping, rules, (*findings, *(assignment.findings if assignment else ())), assignment)


def static_matcher(mapping: Mapping, *, reverse: bool = False) -> Matcher:
    """A matcher for names that belong to no checkpoint: a rank is the number itself."""
    return Matcher(mapping.rules, mapping.above, reverse=reverse)


def run_examples(mapping: Mapping) -> list[Issue]:
    """An error for each of the mapping's examples that doesn't come out as written."""
    matcher = static_matcher(mapping)
    found = []
    for example in mapping.examples:
        taken = matcher.take([example.source])
        if taken.winner is None:
            message = taken.problem or "no rule takes it"
        else:
            texts = tuple(pattern.render(taken.winner.binding) for pattern in taken.winner.rule.targets)
            message = "" if texts == example.targets else f"becomes {', '.join(texts) or 'nothing'}"
        if message:
            expected = f"; the example says {', '.join(example.targets)}"
            found.append(Issue("mapping", "error", example.source, message + expected, where=example.where))
    return found


class _Trial:
    """Made-up names of every rule, mapped there and back."""

    def __init__(self, mapping: Mapping, severity: Severity) -> None:
        self.mapping = mapping
        self.severity = severity
        self.forward = static_matcher(mapping)
        self.backward = static_matcher(mapping, reverse=True)
        self.findings: list[Issue] = []

    def rule(self, rule: Rule) -> RuleCheck:
        """One rule's verdict; what goes wrong there or back becomes a finding."""
        verdict, reason = self._by_itself(rule)
        ambiguous = self._round_trip(rule, verdict == "one-way") if rule.kind == "move" else ""
        if ambiguous and verdict != "one-way":
            verdict, reason = "needs template", reason or ambiguous
        return RuleCheck(rule.where, str(rule), verdict, reason, _unproven(rule))

    def _by_itself(self, rule: Rule) -> tuple[Verdict, str]:
        """The verdict, as far as the rule alone decides it."""
        if rule.kind == "drop":
            return "needs template", "what it drops isn't in the target"
        if rule.one_way:
            return "one-way", rule.one_way
        for has_template in (True, False):
            for operation in rule.operations:
                if why := reversibility(operation, has_template):
                    return ("one-way" if has_template else "needs template"), why
        if any(pattern.has_leading for pattern in rule.sources):
            return "needs template", "`.../` in `from` stands for segments that only a template knows"
        if any(_has_rank(pattern) for pattern in rule.sources):
            return "needs template", "a rank in `from` stands for a number that only a template knows"
        return "reversible", ""

    def _round_trip(self, rule: Rule, is_one_way: bool) -> str:
        """Maps made-up names there and back; why names don't lead back to this rule, or ""."""
        problems: dict[str, list[str]] = {}
        ambiguous = ""
        for binding in _bindings(rule):
            try:
                sources = [pattern.render(binding) for pattern in rule.sources]
                targets = [pattern.render(binding) for pattern in rule.targets]
            except ValueError:
                continue  # a difference that comes out negative for this number
            self._check_vocabulary(rule, sources, self.mapping.source)
            self._check_vocabulary(rule, targets, self.mapping.target)
            there = [self.forward.take([_whole(s, rule.sources[0])], rule.rank) for s in sources]
            if any(t.winner and t.winner.rule is not rule for t in there):
                continue  # another rule is meant to win here
            for source, taken in zip(sources, there, strict=True):
                if message := _astray(taken, rule, binding):
                    problems.setdefault(message, []).append(source)
            for target in [] if is_one_way else targets:
                taken = self.backward.take([_whole(target, rule.targets[0])], rule.rank)
                if message := _astray(taken, rule, binding):
                    ambiguous = ambiguous or f"backwards {target}: {message}"
        for message, names in problems.items():
            more = f" (and {len(names) - 1} more names)" if len(names) > 1 else ""
            self._note(rule, f"{names[0]}: {message}{more}")
        if ambiguous:
            self._note(rule, ambiguous)
        return ambiguous

    def _check_vocabulary(self, rule: Rule, names: Sequence[str], side: Side) -> None:
        for name in names:
            last = name.rpartition(side.separator)[2]
            if side.vocabulary and last not in side.vocabulary:
                self._note(rule, f"{name} ends with {last!r}, which isn't in the vocabulary")

    def _note(self, rule: Rule, message: str) -> None:
        issue = Issue("mapping", self.severity, str(rule), message, where=rule.where)
        if issue not in self.findings:
            self.findings.append(issue)


def _astray(taken: Taken, rule: Rule, binding: Binding) -> str:
    """How a made-up name isn't taken by the rule and the values it was made from; "" when it is."""
    if taken.winner is None:
        return taken.problem or "no rule takes it"
    if taken.winner.rule is not rule:
        return f"{taken.winner.rule.where} ({taken.winner.rule}) takes it"
    return "" if taken.winner.binding == binding else "the holes get other values"


def _whole(text: str, pattern: Pattern) -> str:
    """A rendered name with segments in the place of a leading `.../`."""
    return text.replace(LEADING, f"some{pattern.separator}", 1) if text.startswith(LEADING) else text


def _has_rank(pattern: Pattern) -> bool:
    return any(isinstance(token, (Hole, Formula)) and token.form == "rank" for token in pattern.tokens)


def _bindings(rule: Rule) -> Iterator[Binding]:
    """Values for a rule's holes: every table entry, integers 0..2 or the range."""
    pattern = rule.sources[0]
    names = sorted(pattern.names)
    values = [_values(pattern.holes[name]) for name in names]
    for choice in itertools.islice(itertools.product(*values), MAX_TRIALS):
        yield dict(zip(names, choice, strict=True))


def _values(hole: Hole) -> Sequence[Value]:
    if hole.table is not None:
        return range(len(hole.texts or hole.table.columns[0]))
    if hole.form == "text":
        return [f"some{hole.name}"]
    if hole.form == "path":
        return [("some", hole.name)]
    return range(hole.low, min(hole.high, hole.low + MAX_RANGE) + 1 if hole.high is not None else 3)


def _unproven(rule: Rule) -> tuple[str, ...]:
    """What equal shapes don't prove of a rule."""
    found = [why for operation in rule.operations if (why := unproven(operation))]
    holes = rule.sources[0].holes if rule.sources else {}
    for table in {hole.table.name: hole.table for hole in holes.values() if hole.table}.values():
        if not table.rejoin and sum(a != b for a, b in zip(*table.columns, strict=True)) > 1:
            found.append(f"entries of table {table.name} that have equal shapes could be exchanged")
    return tuple(dict.fromkeys(found))
