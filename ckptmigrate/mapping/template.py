"""Template: names and structure of a checkpoint, with all left open that varies between models of one architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ckptmigrate.mapping.braces import compile_pattern
from ckptmigrate.mapping.pattern import Pattern
from ckptmigrate.objects import Node
from ckptmigrate.table import Checkpoint, Structure, Tensor, Variable

OPEN = "depth"  # the hole whose text is left open


def open_template(checkpoint: Checkpoint, depths: Sequence[str] = ()) -> Checkpoint:
    """A template to ship with a mapping: no values, shapes open, names with holes where they hold channel counts.

    Args:
        checkpoint: A checkpoint of the target model, without optimizers.
        depths: Patterns of names with an integer hole `{depth:int}`, the part of the name that is left open.

    Raises:
        ValueError: A pattern is wrong, or fits a name in two ways.

    >>> from ckptmigrate.dtypes import FLOAT32
    >>> from pathlib import Path
    >>> from ckptmigrate.table import Tensor
    >>> conv = Variable("conv", Tensor((1, 1, 8, 64), FLOAT32), "conv", aliases={"full_name": ("maps/conv_64/kernel",)})
    >>> opened = open_template(Checkpoint(Path(), "tf2", {"conv": conv}), ["{m:path}/conv_{depth:int}/{leaf}"])
    >>> opened.variables["conv"].aliases
    {'full_name': ('maps/conv_{depth:int}/kernel',)}
    """
    patterns = [compile_pattern(text) for text in depths]
    variables = [_opened(variable, patterns) for variable in checkpoint.variables.values()]
    graph = checkpoint.structure.objects
    objects = replace(graph, nodes=tuple(_node(node, patterns) for node in graph.nodes)) if graph else None
    structure = Structure(objects=objects, layout=checkpoint.structure.layout)
    return Checkpoint(checkpoint.path, "template", {v.name: v for v in variables}, structure=structure)


def _opened(variable: Variable, patterns: Sequence[Pattern]) -> Variable:
    aliases = {s: tuple(_open_name(name, patterns) for name in names) for s, names in variable.aliases.items()}
    tensor = Tensor((), variable.tensor.dtype, is_open=True)
    return Variable(variable.name, tensor, variable.key, variable.role, variable.trainable, aliases)


def _node(node: Node, patterns: Sequence[Pattern]) -> Node:
    attributes = tuple(replace(a, full_name=_open_name(a.full_name, patterns)) for a in node.attributes)
    return replace(node, attributes=attributes)


def _open_name(name: str, patterns: Sequence[Pattern]) -> str:
    """The name with its depth left open."""
    for pattern in patterns:
        found = pattern.bindings(name)
        if len(found) > 1:
            raise ValueError(f"{name} fits {pattern.text} in two ways")
        if found:
            return pattern.render({**found[0], OPEN: f"{{{OPEN}:int}}"})
    return name
