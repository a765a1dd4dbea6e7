"""Writing object-based bundles that `tf.train.Checkpoint(...).restore` finds everything in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ckptmigrate.dtypes import STRING
from ckptmigrate.formats import bundles
from ckptmigrate.formats.format import WriteOptions, Written
from ckptmigrate.formats.object_composition import Composition, compose
from ckptmigrate.issues import Issue
from ckptmigrate.objects import GRAPH_KEY
from ckptmigrate.table import Checkpoint, Stored, Tensor
from ckptmigrate.wire.object_graph import encode_graph


class Tf2Writer:
    """Writes `NAME.index` and its data files, the object graph among them."""

    dialects: tuple[str, ...] = ("keras-legacy", "tf1", "keras2", "keras3")
    holds_averages = True

    def check(self, checkpoint: Checkpoint, options: WriteOptions) -> tuple[Issue, ...]:
        """What can't be held: reserved keys, names that lead to one object, slots in lists that the template lacks."""
        composed = compose(checkpoint, options.template)
        issues = [*bundles.key_issues(composed.stored), *composed.issues]
        if options.template is None:
            issues += _inside_optimizers(checkpoint, composed)
        if options.template is not None and options.template.structure.objects is not None:
            known = {a.key for node in options.template.structure.objects.nodes for a in node.attributes}
            loose = [(s.name, stored.key) for s in checkpoint.optimizers for stored in s.unbound]
            issues += [
                Issue(
                    "slot", "loss", key, f"{name}: nothing tells whose slot this is, and the template has no such key"
                )
                for name, key in loose
                if key not in known
            ]
        return tuple(issues)

    def outputs(self, name: str) -> tuple[str, ...]:
        """Glob patterns of the files."""
        return bundles.outputs(name)

    def keys(self, checkpoint: Checkpoint) -> Mapping[tuple[str, str, str], str]:
        """Its files tell optimizers apart."""
        return {}

    def write(self, checkpoint: Checkpoint, folder: Path, name: str, options: WriteOptions) -> Written:
        """Writes the bundle."""
        composed = compose(checkpoint, options.template)
        graph = np.empty((), object)
        graph[()] = encode_graph(composed.graph)
        stored = [*composed.stored, Stored(GRAPH_KEY, Tensor.of(graph, STRING))]
        return bundles.write_bundle(folder, name, stored, options)


def _inside_optimizers(checkpoint: Checkpoint, composed: Composition) -> Iterator[Issue]:
    """Variables that were given a path where only an optimizer's own values are: they would be taken for such."""
    tensors = {id(v.tensor): v for v in checkpoint.variables.values()}
    named = {s.key: v for s in composed.stored if (v := tensors.get(id(s.tensor))) is not None and v.key != s.key}
    nodes = composed.graph.nodes
    own = (a.key for node in nodes if node.slots for child in node.children for a in nodes[child.node].attributes)
    folders = {key.partition("/.ATTRIBUTES/")[0].rpartition("/")[0] for key in own if key not in named} - {""}
    for key, variable in named.items():
        if any(key.startswith(f"{folder}/") for folder in folders):
            message = "its path lies in an optimizer, among the optimizer's own values"
            yield Issue("conflict", "error", variable.name, message, "a mapping gives it another name")


WRITER = Tf2Writer()
