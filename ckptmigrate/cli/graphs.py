"""What `inspect` says of the graphs around the variables: tags, signatures, assets, constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptmigrate.cli.text import count
from ckptmigrate.visible import visible

_SHOWN = 8  # signatures, or assets, of one graph


def graph_facts(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines of (what, text) on the graphs that a checkpoint's metadata speaks of; none where it speaks of none."""
    for graph in metadata.get("meta_graphs", ()):
        yield (
            "graph",
            f"{', '.join(map(visible, graph['tags'])) or 'no tag'}: TensorFlow {visible(graph['tensorflow'])}",
        )
        signatures = {name: s for name, s in graph["signatures"].items() if not name.startswith("__")}
        for name, signature in list(signatures.items())[:_SHOWN]:
            yield "signature", f"{visible(name)}({_tensors(signature['inputs'])}) -> {_tensors(signature['outputs'])}"
        yield from _more("signature", len(signatures))
        if assets := graph["assets"]:
            yield "assets", ", ".join(map(visible, assets[:_SHOWN])) + (", ..." if len(assets) > _SHOWN else "")
    if constants := metadata.get("constants"):
        yield "constants", f"{count(constants, 'tensor')} in the graph, which are no variables"
    if others := metadata.get("other_constants", {}).get("count"):
        yield "constants", f"{count(others, 'other')} that can be no weights: integers, scalars, strings"


def _more(what: str, number: int) -> Iterator[tuple[str, str]]:
    if number > _SHOWN:
        yield "", f"and {count(number - _SHOWN, f'more {what}')}"


def _tensors(tensors: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{visible(name)}: {t['dtype']}{_shape(t['shape'])}" for name, t in sorted(tensors.items()))


def _shape(shape: Sequence[int] | None) -> str:
    return "" if shape is None else "[" + ",".join("?" if size < 0 else str(size) for size in shape) + "]"
