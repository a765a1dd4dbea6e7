"""Run: one assignment in the making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.assignment import Assignment, Drop, Fill, Move
from ckptmigrate.mapping.match import Match, Taken, groups
from ckptmigrate.mapping.names import Found, Names
from ckptmigrate.mapping.operations import reversibility
from ckptmigrate.mapping.pairing import Pairs, alike, pair
from ckptmigrate.mapping.pattern import LEADING, Binding, Pattern
from ckptmigrate.mapping.rules import Mapping, Rule
from ckptmigrate.table import LOSSY_ROLES, Variable

_SHOWN = 5  # variables that one could be mistaken for
_COMPARED = 20  # variables that are compared so: of thousands that stay behind, the first tell as much
FOLLOWING_ROLES = frozenset({"counter", "metric", "rng", "iterator"})


@dataclass
class Run:
    """One assignment in the making."""

    source: Names
    template: Names | None
    reverse: bool
    moves: list[Move] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    followers: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    unfilled: list[str] = field(default_factory=list)
    findings: list[Issue] = field(default_factory=list)
    used: set[Rule] = field(default_factory=set)
    stuck: set[Rule] = field(default_factory=set)

    def assignment(self) -> Assignment:
        """What was found; kinds of findings that came up seldom first, so that many of one don't hide them."""
        counts = Counter(issue.kind for issue in self.findings)
        self.findings.sort(key=lambda issue: counts[issue.kind])
        return Assignment(
            tuple(self.moves),
            tuple(self.drops),
            tuple(self.fills),
            tuple(self.followers),
            tuple(self.unmatched),
            tuple(self.unfilled),
            tuple(self.findings),
        )

    def complain(self, kind: str, name: str, message: str, where: str = "", hint: str = "") -> None:
        """Notes an error."""
        self.findings.append(Issue(kind, "error", name, message, hint, where))

    # Keeping names

    def keep_all(self, variables: Sequence[Variable], system: str = "") -> None:
        """Moves variables under their own names, or to those of the template that go by them."""
        pairs = pair(self.source, self.template, variables) if self.template else Pairs()
        self.findings += pairs.issues
        for variable in variables:
            if variable.name in pairs.found:
                self.moves.append(Move((variable.name,), (pairs.found[variable.name],)))
        for variable in variables:
            if variable.name not in pairs.found:
                self.keep(variable, system)

    def keep(self, variable: Variable, system: str = "") -> None:
        """Moves a variable under its own name, or its name in a system of names."""
        if self.template is None:
            own = next((n for s, n in variable.names() if s == system), variable.name)
            self.moves.append(Move((variable.name,), (own,)))
            return
        found = self._namesakes(variable, self.template)
        if len(found) == 1:
            self.moves.append(Move((variable.name,), (found[0].variable.name,), renamed=_renamed(found)))
        elif variable.role in FOLLOWING_ROLES:
            self.followers.append(variable.name)
        elif found:
            twins = ", ".join(f.variable.name for f in found)
            hint = f"a mapping says which is meant; --drop '{variable.name}' leaves it out"
            message = f"several variables of the template go by its names: {twins}"
            self.complain("conflict", variable.name, message, hint=hint)
        else:
            self.unmatched.append(variable.name)
            hint = f"a mapping says what it is called there; --drop '{variable.name}' leaves it out"
            self.complain("unmatched", variable.name, self._nameless(variable, self.template), hint=hint)

    def _nameless(self, variable: Variable, template: Names) -> str:
        """Why a variable stays behind; who it could be mistaken for."""
        message = "no variable of the template goes by its name"
        if len(self.unmatched) > _COMPARED:
            return message
        taken = {target for move in self.moves for target in move.targets}
        others = alike(variable, (v for v in template.checkpoint.variables.values() if v.name not in taken))
        if not others:
            return message
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        return f"{message}; {shown} {'has' if len(others) == 1 else 'have'} its shape there, but that doesn't tell"

    def _namesakes(self, variable: Variable, template: Names) -> list[Found]:
        """The template's variables that go by a variable's name; where there is none, by another of its names."""
        found: dict[str, Found] = {}
        for _, name in self.source.of[variable.name]:
            found |= {f.variable.name: f for f in template.find(name)}
            if name == variable.name and len(found) == 1:
                break
        return list(found.values())

    def leave(self, mapping: Mapping, taken: Sequence[tuple[str, Taken]]) -> None:
        """What becomes of variables that no rule fits."""
        for name, outcome in taken:
            variable = self.source.checkpoint.variables[name]
            if outcome.problem:
                where = outcome.matches[0].rule.where
                self.complain("conflict", name, outcome.problem, where, outcome.hint)
            elif outcome.winner:
                continue
            elif variable.role in FOLLOWING_ROLES:
                self.followers.append(name)
            elif mapping.unmatched == "keep":
                self.keep(variable)
            elif mapping.unmatched == "drop":
                self.drops.append(Drop(name, "no rule fits it (unmatched: drop)", mapping.unmatched_where))
            else:
                self.unmatched.append(name)
                side = "to" if self.reverse else "from"
                hint = f"add a rule with `{side}: {self.source.spoken(name)}`, or leave it out: --drop '{name}'"
                hint = "" if len(self.unmatched) > 1 else hint  # once is enough
                self.complain("unmatched", name, "no rule takes it", mapping.name, hint)

    # Rules

    def exists(self, match: Match) -> bool:
        """Whether the template has everything that a match leads to."""
        rule = match.rule
        if self.template is None or rule.kind != "move" or rule.one_way:
            return True
        try:
            texts = self._render(rule.sources if self.reverse else rule.targets, match.binding)
        except ValueError:
            return False
        return all(self.template.find(text) for text in texts)

    def _render(self, patterns: Sequence[Pattern], binding: Binding) -> list[str]:
        positions = self.template.positions if self.template else None
        return [pattern.render(binding, positions) for pattern in patterns]

    def move(self, taken: Sequence[tuple[str, Taken]]) -> None:
        """The moves and drops of all rules."""
        for (rule, values), members in groups(taken).items():
            self.used.add(rule)
            if rule.kind == "drop":
                self.drops += [Drop(name, rule.why, rule.where) for names in members.values() for name in names]
            elif rule.kind == "fill":
                why = f"was filled with {rule.value}"
                self.drops += [Drop(n, why, rule.where, rule.value) for names in members.values() for n in names]
            elif self._can_go(rule):
                self._move_group(rule, dict(values), members)  # type: ignore[arg-type]

    def _can_go(self, rule: Rule) -> bool:
        """Whether a rule can be used in this direction; said once where it can't."""
        if not self.reverse:
            return True
        no_way = [(op.where, why) for op in rule.operations if (why := reversibility(op, self.template is not None))]
        if rule.one_way:
            no_way.append((rule.where, rule.one_way))
        if no_way and rule not in self.stuck:
            self.stuck.add(rule)
            for where, why in no_way:
                self.complain("irreversible", str(rule), f"can't be used backwards: {why}", where)
        return not no_way

    def _move_group(self, rule: Rule, binding: Binding, members: dict[int, list[str]]) -> None:
        """One use of a rule: a variable for each of its patterns."""
        patterns, results = (rule.targets, rule.sources) if self.reverse else (rule.sources, rule.targets)
        first = next(iter(members.values()))[0]
        try:
            missing = [p.render(binding) for i, p in enumerate(patterns) if i not in members]
            texts = self._render(results, binding)
        except ValueError as error:
            self.complain("conflict", first, str(error), rule.where)
            return
        if missing:
            have = ", ".join(name for names in members.values() for name in names)
            self.complain("incomplete", first, f"{', '.join(missing)} is missing; {have} is there", rule.where)
            return
        twins = next((names for names in members.values() if len(names) > 1), None)
        if twins:
            self.complain("conflict", first, f"several sources for {texts[0]}: {', '.join(twins)}", rule.where)
            return
        sources = tuple(members[i][0] for i in range(len(patterns)))
        found = [self._target(text, sources, rule.where) for text in texts]
        if all(f is not None for f in found):
            there = [f for f in found if f is not None]
            targets = tuple(f if isinstance(f, str) else f.variable.name for f in there)
            renamed = _renamed(f for f in there if isinstance(f, Found))
            self.moves.append(Move(sources, targets, rule.operations, rule.where, self.reverse, renamed))

    def _target(self, text: str, sources: tuple[str, ...], where: str) -> Found | str | None:
        """The template's variable behind a rendered name; without a template that name; else None, and a finding."""
        if self.template is None:
            if not text.startswith(LEADING):
                return text
            hint = "give --template CKPT, a checkpoint of the target model"
            self.complain("conflict", sources[0], f"becomes {text}, which only a template can complete", where, hint)
            return None
        found = self.template.find(text)
        if len(found) == 1:
            return found[0]
        if found:
            twins = ", ".join(f.variable.name for f in found)
            self.complain("conflict", sources[0], f"becomes {text}, which is the name of several: {twins}", where)
        elif all(self.source.checkpoint.variables[name].role in FOLLOWING_ROLES for name in sources):
            message = f"not written: the template has no {text}"
            self.findings.append(Issue("counter", "note", sources[0], message, where=where))
        else:
            hint = (
                "give --template CKPT: this model isn't the template's"
                if self.template.checkpoint.format == "template"
                else ""
            )
            self.complain("conflict", sources[0], f"becomes {text}, which the template doesn't have", where, hint)
        return None

    # Filling

    def fill(self, rules: Sequence[Rule]) -> None:
        """What fill rules give to targets that no rule writes; backwards, the gaps that drops leave."""
        written = {target for move in self.moves for target in move.targets}
        for rule in rules:
            if rule.kind == "fill" and not self.reverse:
                fills = [fill for fill in self._fills(rule) if fill.target not in written]
            elif rule.kind == "drop" and self.reverse and self.template:
                gaps = self.template.fitting(rule.sources[0])
                fills = [Fill(v.name, "template", where=rule.where) for v in gaps if v.name not in written]
            else:
                continue
            self.fills += fills
            written.update(fill.target for fill in fills)
            self.used.update([rule] * bool(fills))

    def _fills(self, rule: Rule) -> list[Fill]:
        pattern, shape = rule.targets[0], rule.shape
        likes: dict[str, str] = {}
        if rule.like is not None:
            for variable in self.source.fitting(rule.like):
                for _, name in self.source.of[variable.name]:
                    for binding in rule.like.bindings(name, self.source.positions):
                        likes.setdefault(self._render([pattern], binding)[0], variable.name)
        if self.template is None:
            texts: dict[str, str | None] = {**likes}
            if not likes and pattern.is_literal:
                texts[pattern.render({})] = None
            return [
                Fill(target, rule.value, like, shape, rule.where)
                for text, like in texts.items()
                if isinstance(target := self._target(text, (text,), rule.where), str)
            ]
        targets = self.template.find(pattern.render({})) if pattern.is_literal else []
        fitting = [f.variable for f in targets] or list(self.template.fitting(pattern))
        by_target = {f.variable.name: like for text, like in likes.items() for f in self.template.find(text)}
        return [Fill(v.name, rule.value, by_target.get(v.name), shape, rule.where) for v in fitting]

    # What is left

    def finish(self) -> None:
        """Two sources for one target; targets that nothing writes."""
        hint = "a mapping can give each a name of its own; --drop PATTERN leaves one out"
        writers: dict[str, Move] = {}
        for move in self.moves:
            for target in move.targets:
                other = writers.setdefault(target, move)
                if other is not move:
                    both = f"{', '.join(other.sources)} ({other.where or 'own name'}) and {', '.join(move.sources)}"
                    self.complain("conflict", target, f"has two sources: {both}", move.where, hint)
        if self.template is None:
            return
        written = set(writers) | {fill.target for fill in self.fills}
        for variable in self.template.checkpoint.variables.values():
            if variable.name not in written and variable.role in LOSSY_ROLES:
                self.unfilled.append(variable.name)
                hint = f"- {{fill: {self.template.spoken(variable.name)}, with: zeros}}  # or ones, a number, template"
                self.complain("unfilled", variable.name, "nothing fills this variable of the template", hint=hint)


def _renamed(found: Iterable[Found]) -> dict[str, dict[str, str]]:
    return {f.variable.name: dict(f.renamed) for f in found if f.renamed}
