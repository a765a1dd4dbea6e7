"""Load: a mapping file with everything it includes, as one Mapping."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ckptmigrate.errors import MappingError
from ckptmigrate.mapping import library
from ckptmigrate.mapping.braces import Scope
from ckptmigrate.mapping.compile import Compiler
from ckptmigrate.mapping.nodes import Complaints, Map, Node, Text, parse_yaml, read_yaml
from ckptmigrate.mapping.reader import Reader
from ckptmigrate.mapping.rules import Example, Mapping, OptimizerBlock, Rule, Side
from ckptmigrate.mapping.tables import SOURCE, TARGET, Table
from ckptmigrate.optimizers import BY_KIND

VERSION = "1"
KEYS = (
    "ckptmigrate", "title", "note", "source", "target", "include", "averages", "unmatched",
    "optimizers", "tables", "rename", "rules", "examples",
)  # fmt: skip
SIDE_KEYS = {
    "source": ("formats", "requires", "vocabulary", "names", "separator", "slots"),
    "target": ("formats", "vocabulary", "names", "separator", "template", "safetensors"),
}
INCLUDE_KEYS = ("file", "source", "target")
OPTIMIZER_KEYS = ("from", "variables", "to", "step", "hyper", "kind")
MAX_FILES = 200  # files times prefixes; includes that double at each level reach it quickly
MAX_LEVELS = 16


@dataclass
class File:
    """One file, under one pair of prefixes."""

    number: int
    path: Path
    reader: Reader
    top: Map
    scope: Scope
    tables: dict[str, Table]
    includes: list[File] = field(default_factory=list)
    found: dict[str, Table | None] = field(default_factory=dict)

    def table(self, name: str) -> Table | None:
        """The table it sees under a name: its own, else its includes'.

        Raises:
            ValueError: Two includes define it differently.
        """
        if name not in self.found:
            self.found[name] = self.tables.get(name) or self._included_table(name)
        return self.found[name]

    def _included_table(self, name: str) -> Table | None:
        first: Table | None = None
        for file in self.includes:
            table = file.table(name)
            if table is not None and first is not None and not table.says_the_same(first):
                raise ValueError(f"table {name} means two things: {first.where} and {table.where}")
            first = first or table
        return first


def load(mapping: str | Path) -> Mapping:
    """Loads a mapping file, or a mapping of the library by its name.

    Raises:
        MappingError: There is none, or it is wrong; `issues` holds every complaint.
    """
    path = Path(mapping)
    shipped = library.find(str(mapping))
    if shipped is not None and not _is_file(path):
        path = shipped
    elif not _is_file(path):
        raise MappingError(
            f"there is no mapping file {path} and no mapping of that name", hint=library.suggest(str(path))
        )
    return _Loader(path).load()


def loads(text: str, name: str) -> Mapping:
    """Loads the text of a mapping file that isn't written yet.

    Args:
        text: What it will hold.
        name: What complaints call it.

    Raises:
        MappingError: It is wrong; `issues` holds every complaint.
    """
    return _Loader(Path(name), text).load()


class _Loader:
    """Reads the tree of files under one mapping, the mapping itself from its text where that is given."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        self.text = text
        self.library = library.root().resolve()
        real = path.resolve()
        self.is_shipped = real.is_relative_to(self.library)
        self.top_path = real
        self.shown = real.relative_to(self.library).as_posix() if self.is_shipped else str(path)
        self.files: list[File] = []
        self.known: dict[tuple[Path, tuple[str, str]], File] = {}
        self.contents: dict[Path, bytes] = {}

    def load(self) -> Mapping:
        top = self._file(self.top_path, self.shown, ("", ""), None, [])
        compilers = [Compiler(file.reader, file.scope, file.number) for file in self.files]
        rules = [
            rule for file, compiler in zip(self.files, compilers, strict=True) for rule in compiler.rules(file.top)
        ]
        mapping = self._mapping(top, compilers[0], tuple(rules))
        complaints = [issue for file in self.files for issue in file.reader.complaints.issues]
        if complaints:
            unique = list(dict.fromkeys(complaints))
            raise MappingError(unique[0].message, where=unique[0].where, hint=unique[0].hint, issues=unique)
        return mapping

    def _file(self, path: Path, shown: str, prefixes: tuple[str, str], parent: File | None, stack: list[Path]) -> File:
        """A file and, behind it, those it includes; each once per pair of prefixes."""
        if (path, prefixes) in self.known:
            return self.known[path, prefixes]
        if self.text is not None and not self.files:
            top, self.contents[path] = parse_yaml(self.text, shown), self.text.encode("utf-8", "surrogatepass")
        else:
            top, self.contents[path] = read_yaml(path, shown)
        reader = Reader(Complaints(shown))
        _check_header(reader, top)
        separators = tuple(_separator(reader, top, side, parent) for side in (SOURCE, TARGET))
        file = File(len(self.files), path, reader, top, Scope(), {})
        file.scope = Scope(file.table, (separators[0], separators[1]), prefixes)
        self.known[path, prefixes] = file
        self.files.append(file)
        tables = reader.map(top.get("tables"), "`tables`")
        for key, node in tables.entries.values() if tables else ():
            if table := reader.table(key, node):
                file.tables[key.text] = table
        include = top.get("include")
        for node in [include] if isinstance(include, Text) else reader.items(include, "`include`"):
            file.includes += self._include(file, node, shown, prefixes, [*stack, path])
        return file

    def _include(
        self, file: File, node: Node, shown: str, prefixes: tuple[str, str], stack: list[Path]
    ) -> Iterator[File]:
        complaints = file.reader.complaints
        if isinstance(node, Map):
            file.reader.keys(node, INCLUDE_KEYS, "an include")
            name = file.reader.text(node.get("file"), "`file`")
            added = [file.reader.text(node.get(side), f"the prefix {side}") for side in ("source", "target")]
        else:
            name, added = file.reader.text(node, "an include"), ["", ""]
        if any(c in prefix for prefix in added for c in "{}") or any(p.startswith(".../") for p in added):
            complaints.add(node.line, "a prefix is plain text, without holes")
            return
        found = self._locate(file.path, name, shown) if name else None
        if found is None:
            complaints.add(node.line, f"includes {name!r}, which doesn't exist", library.suggest(name) if name else "")
        elif not self._may_read(found[0]):
            complaints.add(node.line, f"includes {name!r}, which lies outside of the mapping's folder tree")
        elif found[0] in stack:
            complaints.add(node.line, f"includes {name!r}, which includes this file: a cycle")
        elif len(stack) >= MAX_LEVELS or len(self.files) >= MAX_FILES:
            raise MappingError("includes too many files", where=complaints.where(node.line))
        else:
            yield self._file(found[0], found[1], (prefixes[0] + added[0], prefixes[1] + added[1]), file, stack)

    def _locate(self, including: Path, name: str, shown: str) -> tuple[Path, str] | None:
        """An included file, and what complaints call it: relative to the including file, or a library name."""
        path = including.parent / name
        if path.suffix in (".yaml", ".yml") and _is_file(path):
            beside = os.path.normpath(PurePosixPath(shown).parent / name)
            return path.resolve(), beside
        shipped = library.find(name)
        return (shipped.resolve(), shipped.relative_to(library.root()).as_posix()) if shipped else None

    def _may_read(self, path: Path) -> bool:
        """Inside the library; or in the mapping's folder, or in a folder beside that one."""
        if path.is_relative_to(self.library):
            return True
        folder = self.top_path.parent
        return path.is_relative_to(folder) or (path.is_relative_to(folder.parent) and path.parent != folder.parent)

    def _above(self) -> tuple[frozenset[int], ...]:
        """Per file, those that include it, directly or not."""
        above: list[set[int]] = [set() for _ in self.files]
        changed = True
        while changed:  # a file met first through one includer may get another later
            changed = False
            for file in self.files:
                for included in file.includes:
                    more = above[file.number] | {file.number}
                    changed |= not more <= above[included.number]
                    above[included.number] |= more
        return tuple(frozenset(numbers) for numbers in above)

    def _mapping(self, top: File, compiler: Compiler, rules: tuple[Rule, ...]) -> Mapping:
        read, node = top.reader, top.top
        unmatched = node.entries.get("unmatched")
        digest = hashlib.sha256()
        for content in self.contents.values():
            digest.update(len(content).to_bytes(8, "little") + content)
        return Mapping(
            name=self.shown.removesuffix(library.SUFFIX) if self.is_shipped else Path(self.shown).name,
            path=self.top_path,
            title=read.text(node.get("title"), "`title`"),
            note=read.text(node.get("note"), "`note`"),
            source=self._side(top, compiler, "source"),
            target=self._side(top, compiler, "target"),
            rules=rules,
            above=self._above(),
            averages=_word(read, node, "averages", ("keep", "use", "drop"), ""),
            unmatched=_word(read, node, "unmatched", ("error", "keep", "drop"), "error"),
            unmatched_where=read.complaints.where(unmatched[0].line) if unmatched else "",
            optimizers=tuple(_optimizers(compiler, node)),
            examples=tuple(_examples(read, node)),
            tables=tuple(top.tables.values()),
            files=tuple(self.contents),
            digest=digest.hexdigest(),
        )

    def _side(self, file: File, compiler: Compiler, name: str) -> Side:
        read = file.reader
        node = read.map(file.top.get(name), f"`{name}`")
        if node is None:
            return Side(separator=file.scope.separators[name == "target"])
        requires = [
            compiler.patterns([t.text], [], t.line) for t in read.texts(node.get("requires"), "a required name")
        ]
        template = node.get("template")
        return Side(
            formats=tuple(t.text for t in read.texts(node.get("formats"), "a format")),
            requires=tuple(compiled[0][0] for compiled in requires if compiled),
            vocabulary=tuple(t.text for t in read.texts(node.get("vocabulary"), "a last segment")),
            names=read.text(node.get("names"), "`names`"),
            separator=file.scope.separators[name == "target"],
            slots={key.text: text for key, text in read.pairs(node.get("slots"), "a slot")},
            template=self._template(file, template) if template else None,
            safetensors={key.text: text for key, text in read.pairs(node.get("safetensors"), "an entry")},
        )

    def _template(self, file: File, node: Node) -> Path | None:
        name = file.reader.text(node, "`template`").replace("\0", "\\0")
        path = Path(os.path.realpath(file.path.parent / name))  # Path.resolve raises of links in a circle
        if not self._may_read(path):
            file.reader.complaints.add(node.line, "the template lies outside of the mapping's folder tree")
        elif not _is_file(path):
            file.reader.complaints.add(node.line, f"the template {path.name} doesn't exist")
        return path


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 Path.is_file raises of names that are too long


def _check_header(read: Reader, top: Map) -> None:
    version = top.entries.get("ckptmigrate")
    if version is None or not isinstance(version[1], Text):
        raise MappingError("a mapping file begins with `ckptmigrate: 1`", where=read.complaints.where(top.line))
    if version[1].text != VERSION:
        message = f"is written for version {version[1].text} of the mapping language; this program reads {VERSION}"
        raise MappingError(message, where=read.complaints.where(version[0].line), hint="upgrade ckptmigrate")
    read.keys(top, KEYS, "a mapping")
    for name, keys in SIDE_KEYS.items():
        if side := read.map(top.get(name), f"`{name}`"):
            read.keys(side, keys, f"`{name}`")


def _separator(read: Reader, top: Map, side: int, parent: File | None) -> str:
    """The separator a file states, else its includer's, else `/`."""
    inherited = parent.scope.separators[side] if parent else "/"
    name = ("source", "target")[side]
    node = top.get(name)
    stated = node.get("separator") if isinstance(node, Map) else None
    if stated is None:
        return inherited
    text = read.text(stated, "`separator`")
    if len(text) != 1 or text.isalnum() or text in "{}":
        read.complaints.add(stated.line, "`separator` is one character, such as / or .")
        return inherited
    if parent and text != inherited:
        read.complaints.add(
            stated.line, f"{name}s are separated by {text!r} here, by {inherited!r} in the including file"
        )
    return text


def _word(read: Reader, node: Map, key: str, words: tuple[str, ...], default: str) -> Any:
    return read.word(node.get(key), f"`{key}`", words, default)


def _optimizers(compiler: Compiler, top: Map) -> Iterator[OptimizerBlock]:
    read = compiler.reader
    for node in read.items(top.get("optimizers"), "`optimizers`"):
        if not isinstance(node, Map):
            read.complaints.add(node.line, f"an optimizer is a mapping with {', '.join(OPTIMIZER_KEYS)}")
            continue
        read.keys(node, OPTIMIZER_KEYS, "an optimizer")
        variables = node.get("variables")
        compiled = compiler.patterns([read.text(variables, "`variables`")], [], node.line) if variables else None
        hyper: dict[str, float] = {}
        given = read.map(node.get("hyper"), "`hyper`")
        for key, value in given.entries.values() if given else ():
            number = value.number if isinstance(value, Text) else None
            if number is None:
                read.complaints.add(value.line, f"{key.text} is a decimal number, such as 0.0001")
            else:
                hyper[key.text] = float(number)
        yield OptimizerBlock(
            source=read.text(node.get("from"), "`from`"),
            variables=compiled[0][0] if compiled else None,
            target=read.text(node.get("to"), "`to`"),
            step=read.text(node.get("step"), "`step`"),
            hyper=hyper,
            where=read.complaints.where(node.line),
            kind=read.word(node.get("kind"), "`kind`", tuple(BY_KIND), ""),
        )


def _examples(read: Reader, top: Map) -> Iterator[Example]:
    found = read.map(top.get("examples"), "`examples`")
    for key, value in found.entries.values() if found else ():
        targets = tuple(t.text for t in read.texts(value, "what an example becomes"))
        yield Example(key.text, targets, read.complaints.where(key.line))
