"""What is known of a layer: which variables it has, and what it holds; by its configuration, else by the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.formats.keras_layers import WEIGHTS, Weight, weights_of
from ckptmigrate.formats.keras_v3.naming import LAYERS, OLD_LAYERS, counted, snake_case
from ckptmigrate.formats.keras_v3.nodes import Node

CONTAINERS = (LAYERS, OLD_LAYERS)
CELLS = "cells"

_BY_SNAKE = {snake_case(name): name for name in reversed(tuple(WEIGHTS))}
_MODELS = {"sequential": "Sequential", "functional": "Functional", "model": "Model"}
# What a quantised layer has behind its usual variables (`variable_serialization_spec`), by its first one.
_QUANTISED = {"kernel": "kernel_scale", "embeddings": "embeddings_scale"}


@dataclass(frozen=True, slots=True)
class Known:
    """A layer.

    Attributes:
        name: Its own name; "" where only its place is known.
        class_name: Its class; "" where that isn't known.
        own: Its own variables in the order of creation; a None for one whose name isn't known.
        inner: What it holds, by attribute; cells of stacked cells as `cells/0`, `cells/1`...
        layers: A model's layers, in order, where a configuration tells them.
        is_model: Whether it is a model, whose layers stand in a container.
    """

    name: str = ""
    class_name: str = ""
    own: tuple[Weight | None, ...] = ()
    inner: Mapping[str, Known] = field(default_factory=dict)
    layers: tuple[Known, ...] = ()
    is_model: bool = False

    def fits(self, node: Node) -> bool:
        """Whether the file has as many variables as are known of."""
        if len(self.own) != len(node.own):
            return False
        return all(below.fits(found) for name, below in self.inner.items() if (found := child_of(node, name)))


def child_of(node: Node, attribute: str) -> Node | None:
    """What stands under an attribute; tf_keras keeps leading underscores, Keras 3 has properties without them."""
    return node.children.get(attribute) or node.children.get(f"_{attribute}")


def by_config(told: Configured, *, is_trainable: bool = True) -> Known:
    """What a configuration says."""
    is_trainable = is_trainable and told.is_trainable
    if told.layers:
        layers = tuple(by_config(layer, is_trainable=is_trainable) for layer in told.layers)
        return Known(told.name, told.called, layers=layers, is_model=True)
    known = _nested(weights_of(replace(told, inner={}, is_trainable=is_trainable)) or ())
    inner = {name: by_config(held, is_trainable=is_trainable) for name, held in told.inner.items()}
    return replace(known, name=told.name, class_name=told.called, inner={**known.inner, **inner})


def by_file(node: Node, group: str, *, is_quantised: bool) -> Known:
    """What a group's name, the layer's own name and the number of variables say."""
    base, own_base = counted(group)[0], counted(node.label)[0]
    if base in _MODELS or (any(c in node.children for c in CONTAINERS) and own_base in _MODELS):
        return Known(node.label or group, _MODELS.get(base, ""), _unnamed(node), is_model=True)
    class_name = _BY_SNAKE.get(base) or _BY_SNAKE.get(own_base, "")
    if class_name:
        known = _fitted(class_name, node, is_quantised)
        if known is not None:
            return replace(known, name=node.label or group, class_name=class_name)
    return Known(node.label or group, class_name if base in _BY_SNAKE else "", _unnamed(node))


def refitted(known: Known, node: Node, *, is_quantised: bool) -> Known:
    """What is known, where the file has other variables than that: quantised layers, settings that were changed."""
    if known.is_model or known.fits(node):
        return known
    found = _fitted(known.class_name, node, is_quantised) if known.class_name in WEIGHTS else None
    own, inner = (found.own, found.inner) if found else (_unnamed(node), {})
    return replace(known, own=own, inner={**known.inner, **inner})


def _unnamed(node: Node) -> tuple[None, ...]:
    return (None,) * len(node.own)


def _nested(weights: Sequence[Weight]) -> Known:
    """Variables by the object that holds them."""
    own = tuple(weight for weight in weights if "/" not in weight.path)
    below: dict[str, list[Weight]] = {}
    for weight in weights:
        first, _, rest = weight.path.partition("/")
        if rest:
            below.setdefault(first, []).append(replace(weight, path=rest))
    return Known(own=own, inner={name: _nested(held) for name, held in below.items()})


def _fitted(class_name: str, node: Node, is_quantised: bool) -> Known | None:
    """The settings of a class under which it has as many variables as the file; names on which they agree."""
    variants = _variants(class_name, is_quantised)
    fitting = [known for known in variants if known.fits(node)]
    if not fitting:
        return None
    return fitting[0] if fitting[0] is variants[0] else _agreed(fitting)


@cache
def _variants(class_name: str, is_quantised: bool) -> tuple[Known, ...]:
    """A class under all its settings that say which variables it has, the usual ones first."""
    variants: list[Known] = []
    optional = {w.when: w.default for w in WEIGHTS[class_name] if w.when}
    usual = product(*((default, not default) for default in optional.values()))
    for values in usual:
        settings = dict(zip(optional, values, strict=True))
        known = _nested(weights_of(Configured("", class_name, settings)) or ())
        if is_quantised and known.own and (scale := _QUANTISED.get(known.own[0].path if known.own[0] else "")):
            known = replace(known, own=(*known.own, Weight(scale, is_trainable=False)))
        variants.append(known)
    return tuple(variants)


def _agreed(variants: Sequence[Known]) -> Known:
    own = tuple(ways[0] if len(set(ways)) == 1 else None for ways in zip(*(v.own for v in variants), strict=True))
    inner = {name: _agreed([v.inner[name] for v in variants]) for name in variants[0].inner}
    return Known(own=own, inner=inner)
