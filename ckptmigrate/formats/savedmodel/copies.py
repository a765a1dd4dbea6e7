"""Weights that stand in a SavedModel twice: Keras 3's `export()` keeps two lists of them, in different orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from ckptmigrate.formats.object_paths import BOOKKEEPING_EDGES
from ckptmigrate.issues import Issue
from ckptmigrate.table import Variable

_Like = tuple[str, str, tuple[int, ...]]  # own name, dtype, shape


def fold_copies(variables: Mapping[str, Variable]) -> tuple[dict[str, Variable], tuple[Issue, ...]]:
    """Variables with each weight once, its other keys as `copies`; values are never looked at.

    Two are one weight when they stand in different lists under the same own name, dtype and shape, and no other in
    those lists does. Weights that can't be told apart so stay apart, and an issue says so.
    """
    alike: dict[_Like, list[Variable]] = defaultdict(list)
    for variable in variables.values():
        own = variable.aliases.get("full_name", ("",))[0]
        if own and _list_of(variable) in BOOKKEEPING_EDGES:
            alike[own, variable.tensor.dtype.name, variable.tensor.shape].append(variable)
    kept, twins = dict(variables), []
    for (own, _, _), found in alike.items():
        lists = {_list_of(v) for v in found}
        if len(lists) == len(found) > 1:
            first, *others = found
            kept[first.name] = replace(first, copies=tuple(v.key for v in others))
            for other in others:
                del kept[other.name]
        elif len(lists) > 1:
            twins.append(own)
    if not twins:
        return kept, ()
    message = f"{len(twins)} names belong to several weights of one shape, so their copies can't be told: "
    return kept, (Issue("twins", "warning", "", message + ", ".join(twins[:20])),)


def _list_of(variable: Variable) -> str:
    """The list that a variable's name begins with: `variables` of `variables/3`."""
    head, _, tail = variable.name.partition("/")
    return head if tail.isdecimal() else ""
