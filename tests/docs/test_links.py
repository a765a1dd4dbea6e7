"""Every link between the project's own pages leads somewhere, and every page is led to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT

FOLDERS = (ROOT, *(ROOT / name for name in ("docs", "mappings", "fixtures", "benchmarks")))
WRITTEN = sorted(path for folder in FOLDERS for path in folder.glob("*.md"))
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
MENTIONED = re.compile(r"(?<!git-lfs' )\bdocs/[\w-]+\.md")


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What GitHub makes of its headings."""
    titles = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if not link.startswith(("https://", "http://")):
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    assert sorted(set(LINK.findall(prose(index))) & {p.name for p in index.parent.glob("*.md")}) == sorted(
        p.name for p in index.parent.glob("*.md") if p != index
    )


def test_pages_that_are_spoken_of_exist() -> None:
    sources = [*WRITTEN, *(ROOT / "ckptmigrate").rglob("*.py"), *(ROOT / "mappings").rglob("*.yaml")]
    found = {page for source in sources for page in MENTIONED.findall(source.read_text("utf-8"))}
    assert found
    assert [page for page in sorted(found) if not (ROOT / page).is_file()] == []
