"""Compile: the rules of one mapping file, from nodes to patterns and operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ckptmigrate.errors import MappingError
from ckptmigrate.initialisers import WORDS, is_stated
from ckptmigrate.mapping import operations
from ckptmigrate.mapping.braces import Scope, compile_patterns
from ckptmigrate.mapping.nodes import List, Map, Node, Text
from ckptmigrate.mapping.operations import Operation
from ckptmigrate.mapping.pattern import Pattern
from ckptmigrate.mapping.reader import Reader
from ckptmigrate.mapping.rules import FillValue, Rule

KEYS = {
    "from": ("from", "to", "do", "rank", "first", "optional"),
    "drop": ("drop", "why", "rank", "first", "optional"),
    "fill": ("fill", "with", "like", "shape", "first", "optional"),
}

Compiled = tuple[tuple[Pattern, ...], tuple[Pattern, ...]]


@dataclass(frozen=True)
class Compiler:
    """Compiles the rules of one file.

    Attributes:
        reader: Reads its values and takes complaints.
        scope: Its tables, separators and prefixes.
        file: Its number.
    """

    reader: Reader
    scope: Scope
    file: int

    def rules(self, top: Map) -> Iterator[Rule]:
        """Those of `rename`, then those of `rules`."""
        for key, target in self.reader.pairs(top.get("rename"), "a rename"):
            if target:
                yield from self._checked(
                    Rule("move", (), (), self._where(key.line), self.file), [key.text], [target], key.line
                )
        for node in self.reader.items(top.get("rules"), "`rules`"):
            if isinstance(node, Map):
                yield from self._rule(node)
            else:
                self.reader.complaints.add(
                    node.line, "a rule has the keys from, to and do; or drop and why; or fill and with"
                )

    def patterns(self, sources: Sequence[str], targets: Sequence[str], line: int) -> Compiled | None:
        """The compiled patterns of one rule, or a complaint."""
        try:
            return compile_patterns(sources, targets, self.scope)
        except ValueError as error:
            self.reader.complaints.add(line, str(error))
            return None

    def _where(self, line: int) -> str:
        return self.reader.complaints.where(line)

    def _rule(self, node: Map) -> Iterator[Rule]:
        kind = next((kind for kind in KEYS if kind in node.entries), "")
        line = next(iter(node.entries.values()))[0].line if node.entries else node.line
        if not kind:
            self.reader.complaints.add(line, "a rule begins with from, drop or fill")
            return
        self.reader.keys(node, KEYS[kind], f"a rule with {kind!r}")
        read = self.reader
        common = Rule(
            "move",
            (),
            (),
            self._where(line),
            self.file,
            rank=read.integer(node.get("rank"), "`rank`"),
            first=read.flag(node.get("first"), "`first`"),
            optional=read.flag(node.get("optional"), "`optional`"),
        )
        if kind == "from":
            yield from self._move(common, node, line)
        elif kind == "drop":
            yield from self._drop(common, node, line)
        else:
            yield from self._fill(common, node, line)

    def _move(self, common: Rule, node: Map, line: int) -> Iterator[Rule]:
        sources = [text.text for text in self.reader.texts(node.get("from"), "`from`")]
        targets = [text.text for text in self.reader.texts(node.get("to"), "`to`")]
        if not targets:
            self.reader.complaints.add(line, "a rule with `from` needs `to`")
        steps = tuple(self._operations(node.get("do")))
        if sources and targets:
            yield from self._checked(replace(common, operations=steps), sources, targets, line)

    def _checked(self, rule: Rule, sources: list[str], targets: list[str], line: int) -> Iterator[Rule]:
        """A move, if the holes of its patterns go together."""
        compiled = self.patterns(sources, targets, line)
        if compiled is None:
            return
        left, right = compiled
        if any(pattern.names != left[0].names for pattern in left[1:]):
            self.reader.complaints.add(
                line, "the patterns of a `from` list have the same holes, which tell the groups apart"
            )
            return
        extra = sorted(frozenset().union(*(p.names for p in right)) - left[0].names)
        if extra:
            self.reader.complaints.add(line, f"{{{extra[0]}}} stands in `to` but not in `from`, so it has no value")
            return
        yield replace(rule, sources=left, targets=right, one_way=_one_way(left, right))

    def _drop(self, common: Rule, node: Map, line: int) -> Iterator[Rule]:
        compiled = self.patterns([self.reader.text(node.get("drop"), "`drop`")], [], line)
        why = self.reader.text(node.get("why"), "`why`")
        if not why:
            self.reader.complaints.add(line, "a drop says `why`")
        if compiled:
            yield replace(common, kind="drop", sources=compiled[0], why=why)

    def _fill(self, common: Rule, node: Map, line: int) -> Iterator[Rule]:
        like = node.get("like")
        likes = [self.reader.text(like, "`like`")] if like else []
        compiled = self.patterns(likes, [self.reader.text(node.get("fill"), "`fill`")], line)
        value, shape = self._value(node, line), self._shape(node.get("shape"))
        if compiled is None:
            return
        left, right = compiled
        extra = sorted(right[0].names - left[0].names) if left else []
        if extra:
            self.reader.complaints.add(line, f"{{{extra[0]}}} stands in `fill` but not in `like`, so it has no value")
            return
        yield replace(common, kind="fill", targets=right, like=left[0] if left else None, value=value, shape=shape)

    def _value(self, node: Map, line: int) -> FillValue:
        value = node.get("with")
        if isinstance(value, Text) and value.number is not None:
            return float(value.number)
        if isinstance(value, Text) and (value.text == "template" or is_stated(value.text)):
            return value.text
        message = "a fill needs `with`: a number or template" if value is None else "`with` is a number, template"
        self.reader.complaints.add(line, f"{message}, {', '.join(WORDS)}; normal:0.02 sets the spread")
        return "zeros"

    def _shape(self, node: Node | None) -> tuple[int, ...] | None:
        if node is None:
            return None
        if not isinstance(node, List):
            self.reader.complaints.add(node.line, "`shape` is a list of sizes, such as [3, 3, 16]")
            return None
        sizes = [self.reader.integer(item, "a size") for item in node.items]
        return tuple(size for size in sizes if size is not None)

    def _operations(self, node: Node | None) -> Iterator[Operation]:
        for item in self.reader.items(node, "`do`"):
            where = self._where(item.line)
            if isinstance(item, Map) and len(item.entries) == 1:
                (name, (_, value)) = next(iter(item.entries.items()))
                params = (
                    None if isinstance(value, Text) and value.is_plain and not value.text else self.reader.plain(value)
                )
            elif isinstance(item, Text):
                name, params = item.text, None
            else:
                self.reader.complaints.add(item.line, "an operation is one name with its parameters: `squeeze: [0, 1]`")
                continue
            try:
                yield operations.parse(name, params, where)
            except MappingError as error:
                self.reader.complaints.add(item.line, error.message, error.hint)


def _one_way(left: Sequence[Pattern], right: Sequence[Pattern]) -> str:
    """Why names can't be taken back from `to` to `from`; "" when they can."""
    for pattern in right:
        lost = sorted(left[0].names - pattern.names)
        if lost:
            return f"{{{lost[0]}}} of `from` is missing in `to`"
        if pattern.unsolvable:
            return f"{{{pattern.unsolvable}}} has two unknown integers"
    return ""
