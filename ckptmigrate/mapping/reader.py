"""Reader: the values of one mapping file, taken from its nodes with a complaint for each that doesn't belong."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ckptmigrate.mapping.nodes import MAX_DIGITS, QUOTE, Complaints, List, Map, Node, Text
from ckptmigrate.mapping.tables import Table

RESERVED = ("int", "path", "nth", "rank")  # kinds of holes: no names for tables


@dataclass(frozen=True)
class Reader:
    """Reads values; what is wrong goes to `complaints`, and something harmless is returned."""

    complaints: Complaints

    def keys(self, node: Map, known: Collection[str], what: str) -> None:
        """Complains of keys that aren't known."""
        for key, _ in node.entries.values():
            if key.text not in known:
                self.complaints.add(key.line, f"{what} has no key {key.text!r}; it takes {', '.join(known)}")

    def text(self, node: Node | None, what: str) -> str:
        """A text."""
        if isinstance(node, Text):
            return node.text
        if node is not None:
            self.complaints.add(node.line, f"{what} is a text", QUOTE)
        return ""

    def texts(self, node: Node | None, what: str) -> list[Text]:
        """A text or a list of texts, as nodes."""
        items = node.items if isinstance(node, List) else [] if node is None else [node]
        for item in items:
            self.text(item, what)
        if isinstance(node, List) and not items:
            self.complaints.add(node.line, f"{what} is empty")
        return [item for item in items if isinstance(item, Text)]

    def word(self, node: Node | None, what: str, words: tuple[str, ...], default: str) -> str:
        """One of some words."""
        if node is None:
            return default
        if isinstance(node, Text) and node.text in words:
            return node.text
        self.complaints.add(node.line, f"{what} is one of {', '.join(words)}")
        return default

    def flag(self, node: Node | None, what: str) -> bool:
        """true or false."""
        return self.word(node, what, ("true", "false"), "false") == "true"

    def integer(self, node: Node | None, what: str) -> int | None:
        """A number without fraction, 0 or more."""
        if node is None:
            return None
        number = node.number if isinstance(node, Text) else None
        if isinstance(number, int) and number >= 0:
            return number
        self.complaints.add(node.line, f"{what} is an integer, 0 or more")
        return None

    def map(self, node: Node | None, what: str) -> Map | None:
        """A mapping; an empty value counts as an empty one."""
        if node is None or isinstance(node, Map):
            return node
        if not (isinstance(node, Text) and node.text == "" and node.is_plain):
            self.complaints.add(node.line, f"{what} is a mapping (key: value)")
        return None

    def pairs(self, node: Node | None, what: str) -> Iterator[tuple[Text, str]]:
        """The entries of a mapping of texts."""
        found = self.map(node, what)
        for key, value in found.entries.values() if found else ():
            yield key, self.text(value, f"{what} of {key.text!r}")

    def items(self, node: Node | None, what: str) -> list[Node]:
        """The items of a list; an empty value counts as an empty one."""
        if isinstance(node, List):
            return node.items
        if node is not None and not (isinstance(node, Text) and node.text == "" and node.is_plain):
            self.complaints.add(node.line, f"{what} is a list")
        return []

    def plain(self, node: Node) -> object:
        """Parameters of operations: numbers where a plain text is one, texts, lists, dicts."""
        if isinstance(node, Text):
            return node.text if node.number is None else node.number
        if isinstance(node, List):
            return [self.plain(item) for item in node.items]
        return {key: self.plain(value) for key, (_, value) in node.entries.items()}

    def table(self, key: Text, node: Node) -> Table | None:
        """One of the four forms of a table."""
        name, where = key.text, self.complaints.where(key.line)
        if name in RESERVED or not (name.isidentifier() and name.isascii()):
            self.complaints.add(key.line, f"{name!r} can't name a table: letters, digits and _, and none of {RESERVED}")
            return None
        if isinstance(node, Map) and set(node.entries) == {"first", "names"} and isinstance(node.get("names"), List):
            first = self.integer(node.get("first"), "`first`") or 0
            left = self._entries(node.get("names"), name)
            numbers = tuple(range(first, first + len(left)))
            return Table(name, (left, tuple(str(n) for n in numbers)), numbers, False, where) if left else None
        if isinstance(node, Map):
            return self._two_sided(name, node, where)
        left = self._entries(node, name)
        return Table(name, (left, left), _integers(self.texts(node, "an entry")), True, where) if left else None

    def _two_sided(self, name: str, node: Map, where: str) -> Table | None:
        left = tuple(node.entries)
        right = [value for _, value in node.entries.values() if isinstance(value, Text)]
        for key, value in node.entries.values():
            if not self.text(value, f"what {key.text!r} becomes") or not key.text:
                self.complaints.add(value.line, f"table {name} has an entry without text", QUOTE)
        if not left or len(right) < len(left):
            if not left:
                self.complaints.add(node.line, f"table {name} is empty")
            return None
        return Table(name, (left, tuple(t.text for t in right)), _integers(right), False, where)

    def _entries(self, node: Node | None, name: str) -> tuple[str, ...]:
        """The names of a list, each once."""
        if not isinstance(node, List) or not node.items:
            self.complaints.add(node.line if node else 0, f"table {name} is a mapping, or a list of at least one name")
            return ()
        seen: dict[str, None] = {}
        for item in self.texts(node, f"an entry of table {name}"):
            if item.text in seen or not item.text:
                self.complaints.add(
                    item.line, f"table {name} has {item.text!r} twice" if item.text else "an empty entry"
                )
            seen[item.text] = None
        return tuple(seen)


def _integers(nodes: list[Text]) -> tuple[int, ...] | None:
    """What the texts are as integers, when all are."""
    numbers = [node.number for node in nodes]
    if all(isinstance(n, int) and len(node.text) <= MAX_DIGITS for n, node in zip(numbers, nodes, strict=True)):
        return tuple(n for n in numbers if isinstance(n, int))
    return None
