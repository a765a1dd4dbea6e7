"""Library: the mappings that come with ckptmigrate."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ckptmigrate.errors import MappingError

if TYPE_CHECKING:
    from ckptmigrate.mapping.rules import Mapping
    from ckptmigrate.table import Checkpoint

SUFFIX = ".yaml"


@cache
def root() -> Path:
    """The library's folder: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_mappings"
    return installed if installed.is_dir() else package.parent / "mappings"


@cache
def names() -> tuple[str, ...]:
    """The names of all mappings, such as `od/ssd_mobilenet_v2`."""
    return tuple(sorted(p.relative_to(root()).with_suffix("").as_posix() for p in root().rglob("*" + SUFFIX)))


def find(name: str) -> Path | None:
    """The file of a mapping of the library, or None."""
    name = name.removesuffix(SUFFIX)
    return root() / (name + SUFFIX) if name in names() else None


def show(name: str) -> str:
    """A mapping's text as it is shipped. Raises MappingError when there is none of that name."""
    path = find(name)
    if path is None:
        raise MappingError(f"the library has no mapping {name!r}", hint=suggest(name))
    return path.read_text(encoding="utf-8")


def suggest(name: str) -> str:
    """What to say to somebody who asked for a name that isn't there."""
    close = difflib.get_close_matches(name, names(), 3, 0.5)
    return f"did you mean {', '.join(close)}?" if close else "`ckptmigrate mapping list` shows what there is"


@cache
def mappings() -> tuple[Mapping, ...]:
    """All of them, loaded."""
    from ckptmigrate.mapping.load import load

    return tuple(load(name) for name in names())


def auto(source: Checkpoint) -> str:
    """The name of the one mapping that is meant for a checkpoint: all its `requires` exist, and its formats fit.

    A mapping that includes another candidate beats it.

    Raises:
        MappingError: None is, or several are.
    """
    loaded = [mapping for mapping in mappings() if mapping.source.requires]
    meant = [mapping for mapping in loaded if _is_meant(mapping, source)]
    included = {path for mapping in meant for path in mapping.files[1:]}
    left = [mapping.name for mapping in meant if mapping.path not in included]
    if len(left) == 1:
        return left[0]
    if left:
        raise MappingError(
            f"several mappings of the library are meant for this checkpoint: {', '.join(left)}",
            where=str(source.path),
            hint=f"choose one: --mapping {left[0]}",
        )
    raise MappingError(
        f"no mapping of the library is meant for this checkpoint ({len(loaded)} looked at)",
        where=str(source.path),
        hint="`ckptmigrate mapping list` shows them; mappings/README.md says how to write one",
    )


def _is_meant(mapping: Mapping, source: Checkpoint) -> bool:
    if mapping.source.formats and source.format not in mapping.source.formats:
        return False
    system = mapping.source.names
    every = {n for v in source.variables.values() for s, n in v.names() if s == system or not system}
    return all(
        pattern.text in every if pattern.is_literal else any(pattern.bindings(n) for n in every)
        for pattern in mapping.source.requires
    )
