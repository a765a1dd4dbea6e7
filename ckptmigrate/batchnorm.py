"""Batch normalisations: which variables belong to one, whoever wrote the file, and what a move leaves behind of it.

Names: tf.layers, slim and Keras (gamma, beta, moving_mean, moving_variance; with renorm also moving_stddev,
renorm_mean, renorm_stddev, and up to TensorFlow 1.14 their weights), Keras 1 (running_mean, running_std), PyTorch
(weight, bias, running_mean, running_var). A layer is told by its statistics; gamma and beta are optional.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Variable

STATISTICS = ("mean", "variance")

# Last segment of a name, without leading underscores -> the part that it is.
_PARTS = {
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "running_mean": "mean",
    "moving_variance": "variance",
    "running_var": "variance",
    "running_std": "variance",  # Keras 1 called the variance so
    **{
        name: name
        for name in ("moving_stddev", "renorm_mean", "renorm_mean_weight", "renorm_stddev", "renorm_stddev_weight")
    },
}
_UPDATED = frozenset({*_PARTS.values(), "batches"}) - {"gamma", "beta"}  # by batches, not by the optimizer
_PYTORCH = {"weight": "gamma", "bias": "beta", "num_batches_tracked": "batches"}
_UNNAMED = re.compile(r"(?P<layer>.*)/(?P<leaf>vars/\d+)", re.ASCII)  # gamma or beta, in files of weights alone
_TWIN = re.compile(r"(?P<leaf>.*moving_(?:mean|variance))_\d+", re.ASCII)
_LAYER = re.compile(r"(?:.*[/._])?(?:batch_?norm(?:alization)?|bn)(?:_?\d+)?", re.ASCII | re.IGNORECASE)
CLASSES = frozenset(
    {"BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization", "BatchNorm"}
)


class BatchNorm(NamedTuple):
    """One batch normalisation.

    Attributes:
        layer: The path in front of its variables' names.
        parts: Part (gamma, beta, mean, variance, renorm_mean...) -> name of the variable, in the file's order; `vars/0`
            where a file of weights doesn't tell whether it is gamma or beta.
        twins: Further statistics under one more number (`moving_mean_1`), which another graph made.
        path: The path through layers by their own names; `layer` where the file tells none.
    """

    layer: str
    parts: Mapping[str, str]
    twins: tuple[str, ...] = ()
    path: str = ""

    @property
    def statistics(self) -> tuple[str, ...]:
        """The variables that batches update, not the optimizer."""
        return (*(name for part, name in self.parts.items() if part in _UPDATED), *self.twins)

    @property
    def lacks(self) -> tuple[str, ...]:
        """Statistics that it must have and hasn't."""
        return tuple(part for part in STATISTICS if part not in self.parts)


def batch_norms(checkpoint: Checkpoint) -> dict[str, BatchNorm]:
    """The batch normalisations of a checkpoint, by layer. Reads names only.

    A layer called BatchNorm, batch_normalization or bn, or of such a class, counts even when all its statistics are
    missing; another with gamma and beta alone is no batch normalisation (LayerNorm has them, too).
    """
    layers: dict[str, dict[str, list[str]]] = {}
    for variable in checkpoint.variables.values():
        layer, leaf = _place(variable)
        if leaf:
            layers.setdefault(layer, {}).setdefault(leaf, []).append(variable.name)
    classes = {layer.name: layer.class_name for layer in checkpoint.structure.layout or ()}
    found = (_group(layer, leaves, checkpoint) for layer, leaves in layers.items())
    return {g.layer: g for g in found if g.parts and (_has_statistics(g) or _is_called_so(g, classes))}


def initial(name: str) -> Literal["zeros", "ones"]:
    """What a variable called so starts with: ones for scales and variances of batch normalisations, else zeros.

    >>> initial("bn/moving_variance"), initial("bn/moving_mean"), initial("dense/kernel")
    ('ones', 'zeros', 'zeros')
    """
    part = _PARTS.get(_leaf(name), "")
    return "ones" if part in ("gamma", "variance", "moving_stddev", "renorm_stddev") else "zeros"


def _place(variable: Variable) -> tuple[str, str]:
    """Layer and leaf of a variable that may be part of a batch normalisation; ("", "") of another."""
    for name in (variable.name, *variable.aliases.get("layer_path", ())):
        separator = "/" if "/" in name or "." not in name else "."
        layer, _, leaf = name.rpartition(separator)
        leaf = leaf.lstrip("_")
        if leaf in _PARTS or leaf in _PYTORCH or _TWIN.fullmatch(leaf):
            return layer, leaf
        if unnamed := _UNNAMED.fullmatch(name):
            return unnamed["layer"], unnamed["leaf"]
    return "", ""


def _group(layer: str, leaves: Mapping[str, list[str]], checkpoint: Checkpoint) -> BatchNorm:
    is_pytorch = "running_mean" in leaves or "running_var" in leaves
    is_told = any(_PARTS.get(leaf) in STATISTICS for leaf in leaves)
    parts: dict[str, str] = {}
    twins: list[str] = []
    for leaf, names in leaves.items():
        part = _PARTS.get(leaf) or (_PYTORCH.get(leaf) if is_pytorch else None)
        if part is None and is_told and leaf.startswith("vars/"):
            part = leaf
        if part is not None:
            parts.setdefault(part, names[0])
        elif (twin := _TWIN.fullmatch(leaf)) is not None:
            own = twin["leaf"]
            twins += names if own in leaves else ()
            if own not in leaves:
                parts.setdefault(_PARTS[own], names[0])
    first = checkpoint.variables[next(iter(leaves.values()))[0]]
    path = next(iter(first.aliases.get("layer_path", ())), "").rpartition("/")[0]
    return BatchNorm(layer, parts, tuple(twins), path or layer)


def _has_statistics(group: BatchNorm) -> bool:
    return any(part in group.parts for part in STATISTICS)


def _is_called_so(group: BatchNorm, classes: Mapping[str, str]) -> bool:
    return _LAYER.fullmatch(group.layer) is not None or classes.get(group.layer) in CLASSES


def torn(
    source: Checkpoint, dropped: Mapping[str, str], targets: Mapping[str, Sequence[str]], *, has_template: bool
) -> list[Issue]:
    """What a move makes of batch normalisations: left behind in part, or parts that go to different ones.

    Args:
        source: The checkpoint that is moved.
        dropped: Name of a variable that is left out -> file:line of the rule, or the flag.
        targets: Name of a moved variable -> the names that it gets.
        has_template: Whether a template says which variables the target has.

    Returns:
        An error for each of which one part is dropped while another moves. With a template, where all that stays
        behind is a gamma or beta (scale=False), it is a loss: outputs stay the same only where gamma is 1 and beta 0.
        A warning for each whose parts go to several layers, which equal shapes don't show.
    """
    issues = []
    for group in batch_norms(source).values():
        moved = [name for name in group.parts.values() if name in targets]
        replaced = {twin.rpartition("_")[0] for twin in group.twins if twin in targets}
        gone = {part: n for part, n in group.parts.items() if n in dropped and n not in replaced}
        if gone and moved:
            issues.append(_left_behind(group.layer, gone, moved, dropped, has_template))
        homes = {layer for name in moved for layer in _homes(targets[name])}
        if len(homes) > 1:
            message = f"parts of one batch normalisation go to different ones: {', '.join(sorted(homes))}"
            issues.append(Issue("batchnorm", "warning", group.layer, message, "see the rules that move them"))
    return issues


def half_anew(source: Checkpoint, renewed: Collection[str], kept: Collection[str]) -> list[Issue]:
    """A loss for each batch normalisation of which one statistic starts anew while the other goes on.

    Args:
        source: The checkpoint that is moved.
        renewed, kept: Names of its variables that start anew, and that are moved.
    """
    issues = []
    for group in batch_norms(source).values():
        statistics = [group.parts[part] for part in STATISTICS if part in group.parts]
        new, old = ([name for name in statistics if name in names] for names in (renewed, kept))
        if new and old:
            message = f"{_leaf(new[0])} starts anew while {_leaf(old[0])} goes on: no batch was normalised so"
            issues.append(Issue("incomplete", "loss", group.layer, message, f"--reinit '{old[0]}' as well"))
    return issues


def _left_behind(
    layer: str, gone: Mapping[str, str], moved: Sequence[str], dropped: Mapping[str, str], has_template: bool
) -> Issue:
    where, leaves = dropped[next(iter(gone.values()))], ", ".join(_leaf(name) for name in gone.values())
    rest = ", ".join(_leaf(name) for name in moved)
    if has_template and not _UPDATED & gone.keys():
        message = f"drops {leaves} of a batch normalisation: outputs stay the same only where gamma is 1 and beta is 0"
        return Issue("incomplete", "loss", layer, message, "--allow-loss goes on without", where)
    message = f"tears a batch normalisation apart: drops {leaves} and moves {rest}"
    hint = "drop the whole of it or nothing; --reinit PATTERN starts parts of the target anew"
    return Issue("incomplete", "error", layer, message, hint, where)


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _homes(names: Iterable[str]) -> Iterator[str]:
    """The layers in which those of the names stand that are parts of a batch normalisation."""
    for name in names:
        layer, _, leaf = name.rpartition("/")
        if leaf.lstrip("_") in _PARTS:
            yield layer
